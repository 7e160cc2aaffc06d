//! talc, for one thread.

use crate::{Memory, SIZE};
use talc::DefaultBinning;
use talc::cell::TalcSyncCell;
use talc::source::Claim;

static mut MEMORY: Memory = Memory([0; SIZE]);
// SAFETY: one thread; memory that nothing else uses.
#[global_allocator]
static HEAP: TalcSyncCell<Claim, DefaultBinning> = unsafe { TalcSyncCell::new(talc::cell::TalcCell::new(Claim::array(&raw mut MEMORY.0))) };
