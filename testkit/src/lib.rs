//! Test tools shared by the kmem allocators.
//!
//! * [`Shadow`] is an oracle of the address space: it knows every live block,
//!   refuses overlaps and verifies the contents of each block.
//! * [`Op`] is the one language in which tests, property tests, fuzz targets
//!   and stress runs describe what an allocator has to do.
//! * [`Subject`] is what the drivers talk to; [`GlobalSubject`] and
//!   [`FixedSubject`] adapt a `GlobalAlloc` and an object cache.
//! * [`run`], [`property`] and [`stress`] are the drivers.
//! * [`child`] runs a test body in a process of its own, to test aborts and
//!   start-up configuration; [`cpu`] pins threads; [`forks`] forks beside them.
//!
//! The drivers take `&dyn Subject`, so all their code is compiled in this
//! package: raising its `opt-level` in the dev profile speeds up every user.
//!
//! ```
//! use kmem_testkit::{GlobalSubject, Profile, ops, run_or_panic};
//! use std::alloc::System;
//!
//! let report = run_or_panic(&GlobalSubject::new(&System), &ops(1, 1000, Profile::Small));
//! assert_eq!(report.allocs, report.frees);
//! ```

#[cfg(feature = "arbitrary")]
mod arb;
mod block;
pub mod child;
pub mod cpu;
mod driver;
mod exec;
mod fixed;
pub mod forks;
mod generate;
mod op;
mod oracle;
mod pattern;
mod profile;
mod rng;
mod shadow;
mod shards;
mod strategy;
mod stress;
mod subject;
mod violation;
mod worker;

pub use block::Block;
pub use driver::{Failure, RunConfig, run, run_or_panic, run_with};
pub use exec::Report;
pub use fixed::FixedSubject;
pub use generate::{OpGen, ops};
pub use op::{MAX_ALIGN, MAX_SIZE, Op, op_list};
pub use pattern::SAMPLE_ABOVE;
pub use profile::Profile;
pub use proptest;
pub use rng::SplitMix64;
pub use shadow::Shadow;
pub use shards::ShadowShards;
pub use strategy::{property, strategy};
pub use stress::{Place, StressConfig, StressFailure, stress, stress_or_panic};
pub use subject::{GlobalSubject, Hooks, Subject};
pub use violation::{Extent, Mismatch, Violation};
