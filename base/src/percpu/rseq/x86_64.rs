//! The restartable sequences for x86-64 Linux.
//!
//! Each primitive is one critical section with a single committing store, its last instruction. If the thread is preempted, migrated
//! or gets a signal inside it, the kernel continues at the abort label, which starts again. What the sequences rely on:
//!
//! * Input registers are never written, and every scratch register is loaded after the restart label.
//! * The id that picks the row is read inside the section; while the section runs, no other thread has that id.
//! * The signature stands in the four bytes before the abort label.
//! * Nothing but `rseq_cs` of the thread's area is ever written.
//!
//! `table` points to a [`super::super::Table`]; its offsets are part of the code, see `offsets` there. Queue words are addressed
//! through one register without index, so that the processor forwards the last store to the next load.

use super::super::table::{MASKS, PAIRS, Slot, Table};
use super::super::word::{Turns, Word};
use crate::config::CPU_ROW_SHIFT;
use core::arch::asm;

/// The head of every critical section: descriptor 771 of section 772..773 with abort handler 774, restart at 775. Arms the section
/// and leaves the offset of the row in `{t}`. Jumps to `$none` if there are no restartable sequences or no row.
macro_rules! enter {
    ($none:literal) => {
        concat!(
            ".pushsection __rseq_cs, \"aw\"\n",
            ".balign 32\n",
            "771: .long 0, 0\n",
            ".quad 772f, 773f-772f, 774f\n",
            ".popsection\n",
            ".pushsection .text.unlikely, \"ax\"\n",
            ".long 0x53053053\n",
            "774: jmp 775f\n",
            ".popsection\n",
            "775:\n",
            "mov {v}, [{table} + 8]\n",
            "test {v}, {v}\n",
            "jz ",
            $none,
            "\n",
            "lea {t}, [rip + 771b]\n",
            "mov fs:[{v}], {t}\n",
            "772:\n",
            "mov {t}, [{table} + 16]\n",
            "mov {t:e}, fs:[{t}]\n",
            "cmp {t:e}, [{table} + 24]\n",
            "jae ",
            $none,
            "\n",
            "shl {t}, 16\n",
        )
    };
}

/// Puts the top of the spare sheaf into `{v}`. Jumps to `$none` unless the epoch at `{control}` is `{epoch}` and the spare word of the pair
/// at `{t}` is `{old}`.
macro_rules! top_of_spare {
    ($none:literal) => {
        concat!(
            "cmp [{table} + {control}], {epoch:e}\n",
            "jne ",
            $none,
            "\n",
            "cmp [{t} + 8], {old}\n",
            "jne ",
            $none,
            "\n",
            "mov {v}, {old}\n",
            "and {v}, -8\n",
        )
    };
}

/// Commits the pair at `{t}`: the top in `{v}` becomes the main word, and what was that, with `{turns}`, the spare one.
macro_rules! exchange {
    () => {
        concat!(
            "movq {w}, {v}\n",
            "mov {v}, [{t}]\n",
            "or {v}, {turns}\n",
            "movq {x}, {v}\n",
            "punpcklqdq {w}, {x}\n",
            "movdqa [{t}], {w}\n",
        )
    };
}

/// Takes the newest object of the main word of `slot`; null if it has none or there is no row.
#[inline(always)]
pub(in crate::percpu) fn pop(table: &Table, slot: Slot) -> *mut u8 {
    let object: *mut u8;
    // SAFETY: reads and writes queue words of the caller's own row, atomically with respect to it; see the module.
    unsafe {
        asm!(
            enter!("776f"),
            "mov {o}, [{table}]",
            "lea {t}, [{t} + {slot} * 8 + {pairs}]",
            "add {t}, {o}",
            "mov {v}, [{t}]",
            "mov {o}, [{o} + {v} - 8]",
            "test {o}, {o}",
            "jz 773f",
            "sub {v}, 8",
            "mov [{t}], {v}",
            "773:",
            ".pushsection .text.unlikely, \"ax\"",
            "776: xor {o:e}, {o:e}",
            "jmp 773b",
            ".popsection",
            table = in(reg) table,
            slot = in(reg) slot.doubled(),
            pairs = const PAIRS,
            t = out(reg) _,
            v = out(reg) _,
            o = out(reg) object,
            options(nostack),
        );
    }
    object
}

/// Adds `object` to the main word of `slot`; false if the sheaf is full or there is none.
#[inline(always)]
pub(in crate::percpu) fn push(table: &Table, slot: Slot, object: *mut u8) -> bool {
    // SAFETY: as for `pop`. The slot written is above the top, so that an aborted store is overwritten or ignored. The mask is read
    // inside the section: who changes it interrupts the section first.
    unsafe {
        asm!(
            enter!("{none}"),
            "mov {b}, [{table}]",
            "lea {t}, [{t} + {slot} * 8 + {pairs}]",
            "add {t}, {b}",
            "mov {v}, [{t}]",
            "test [{table} + {slot} * 8 + {masks}], {v}",
            "jz {none}",
            "mov [{b} + {v}], {object}",
            "add {v}, 8",
            "mov [{t}], {v}",
            "773:",
            table = in(reg) table,
            slot = in(reg) slot.doubled(),
            pairs = const PAIRS,
            object = in(reg) object,
            t = out(reg) _,
            v = out(reg) _,
            b = out(reg) _,
            masks = const MASKS,
            none = label { return false },
            options(nostack),
        );
    }
    true
}

/// Takes an object from the spare sheaf of `slot` and makes that sheaf the main one, in exchange for the one that was. Null if the spare
/// word is not `old`, or holds nothing, the epoch at `control` is no longer `epoch`, or there is no row.
#[inline]
pub(in crate::percpu) fn rotate_pop(table: &Table, slot: Slot, control: usize, epoch: u32, old: Word, turns: Turns) -> *mut u8 {
    let object: *mut u8;
    // SAFETY: as for `pop`. Both words change in one store.
    unsafe {
        asm!(
            enter!("776f"),
            "mov {o}, [{table}]",
            "lea {t}, [{t} + {slot} * 8 + {pairs}]",
            "add {t}, {o}",
            top_of_spare!("776f"),
            "mov {o}, [{o} + {v} - 8]",
            "test {o}, {o}",
            "jz 773f",
            "sub {v}, 8",
            exchange!(),
            "773:",
            ".pushsection .text.unlikely, \"ax\"",
            "776: xor {o:e}, {o:e}",
            "jmp 773b",
            ".popsection",
            table = in(reg) table,
            slot = in(reg) slot.doubled(),
            pairs = const PAIRS,
            control = in(reg) control,
            epoch = in(reg) epoch,
            old = in(reg) old.0,
            turns = in(reg) turns.bits(),
            t = out(reg) _,
            v = out(reg) _,
            o = out(reg) object,
            w = out(xmm_reg) _,
            x = out(xmm_reg) _,
            options(nostack),
        );
    }
    object
}

/// Adds `object` to the spare sheaf of `slot`, which `old` says has room, and makes that sheaf the main one, in exchange for the one that
/// was. False if the spare word is not `old`, the epoch at `control` is no longer `epoch`, or there is no row.
#[inline]
pub(in crate::percpu) fn rotate_push(
    table: &Table,
    slot: Slot,
    control: usize,
    epoch: u32,
    old: Word,
    turns: Turns,
    object: *mut u8,
) -> bool {
    // SAFETY: as for `push`. Both words change in one store.
    unsafe {
        asm!(
            enter!("{none}"),
            "mov {b}, [{table}]",
            "lea {t}, [{t} + {slot} * 8 + {pairs}]",
            "add {t}, {b}",
            top_of_spare!("{none}"),
            "mov [{b} + {v}], {object}",
            "add {v}, 8",
            exchange!(),
            "773:",
            table = in(reg) table,
            slot = in(reg) slot.doubled(),
            pairs = const PAIRS,
            control = in(reg) control,
            epoch = in(reg) epoch,
            old = in(reg) old.0,
            turns = in(reg) turns.bits(),
            object = in(reg) object,
            t = out(reg) _,
            v = out(reg) _,
            b = out(reg) _,
            w = out(xmm_reg) _,
            x = out(xmm_reg) _,
            none = label { return false },
            options(nostack),
        );
    }
    true
}

/// Replaces the word at `off` by `new` if it is `old` and the epoch at `control` is still `epoch`. Returns the row if so.
#[inline]
pub(in crate::percpu) fn swap_if(table: &Table, off: usize, control: usize, epoch: u32, old: u64, new: u64) -> Option<u32> {
    let word: usize;
    // SAFETY: as for `pop`.
    unsafe {
        asm!(
            enter!("776f"),
            "add {t}, {off}",
            "add {t}, [{table}]",
            "cmp [{table} + {control}], {epoch:e}",
            "jne 776f",
            "cmp [{t}], {old}",
            "jne 776f",
            "mov [{t}], {new}",
            "773:",
            ".pushsection .text.unlikely, \"ax\"",
            "776: xor {t:e}, {t:e}",
            "jmp 773b",
            ".popsection",
            table = in(reg) table,
            off = in(reg) off,
            control = in(reg) control,
            epoch = in(reg) epoch,
            old = in(reg) old,
            new = in(reg) new,
            t = out(reg) word,
            v = out(reg) _,
            options(nostack),
        );
    }
    (word != 0).then(|| row_of(table, word))
}

/// The row that the word at address `word` is in.
fn row_of(table: &Table, word: usize) -> u32 {
    ((word - table.base().addr()) >> CPU_ROW_SHIFT) as u32
}

/// Takes the first block off the chain at `off`: the word becomes what the block's first eight bytes hold. Returns the old word and the
/// row; nothing if the chain is empty, the epoch at `control` is no longer `epoch`, or there is no row.
#[inline]
pub(in crate::percpu) fn unchain(table: &Table, off: usize, control: usize, epoch: u32) -> Option<(u64, u32)> {
    let (head, word): (u64, usize);
    // SAFETY: as for `pop`; a block on the chain stays mapped even when somebody else has just taken it.
    unsafe {
        asm!(
            enter!("776f"),
            "add {t}, {off}",
            "add {t}, [{table}]",
            "xor {o:e}, {o:e}",
            "cmp [{table} + {control}], {epoch:e}",
            "jne 773f",
            "mov {o}, [{t}]",
            "test {o}, {o}",
            "jz 773f",
            "mov {v}, {o}",
            "shl {v}, 16",
            "shr {v}, 16",
            "mov {v}, [{v}]",
            "mov [{t}], {v}",
            "773:",
            ".pushsection .text.unlikely, \"ax\"",
            "776: xor {o:e}, {o:e}",
            "jmp 773b",
            ".popsection",
            table = in(reg) table,
            off = in(reg) off,
            control = in(reg) control,
            epoch = in(reg) epoch,
            t = out(reg) word,
            v = out(reg) _,
            o = out(reg) head,
            options(nostack),
        );
    }
    (head != 0).then(|| (head, row_of(table, word)))
}

/// The id of this thread's row right now.
#[inline]
pub(in crate::percpu) fn row(table: &Table) -> u32 {
    let row: u32;
    // SAFETY: reads the thread's restartable-sequence area, whose place `table` knows.
    unsafe {
        asm!(
            "mov {t}, [{table} + 16]",
            "mov {row:e}, fs:[{t}]",
            table = in(reg) table,
            t = out(reg) _,
            row = lateout(reg) row,
            options(nostack, readonly, preserves_flags),
        );
    }
    row
}
