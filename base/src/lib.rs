#![no_std]
#![doc = include_str!("../README.md")]

#[cfg(feature = "os")]
pub mod bitmap;
#[cfg(feature = "os")]
pub mod boot;
#[cfg(feature = "os")]
pub mod cacheline;
#[cfg(feature = "os")]
pub mod classes;
#[cfg(feature = "os")]
pub mod clock;
#[cfg(feature = "os")]
pub mod config;
#[cfg(all(feature = "os", target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom)))]
mod elf;
#[cfg(feature = "os")]
pub mod environment;
pub mod fault;
#[cfg(feature = "os")]
pub mod knobs;
#[cfg(feature = "os")]
pub mod meta;
#[cfg(feature = "os")]
pub mod name;
#[cfg(feature = "os")]
pub mod pages;
#[cfg(feature = "os")]
pub mod pass;
#[cfg(feature = "os")]
pub mod percpu;
pub mod several;
#[cfg(feature = "os")]
pub mod slabinfo;
#[cfg(feature = "os")]
pub mod slots;
pub mod source;
#[cfg(feature = "os")]
pub mod stats;
#[cfg(feature = "os")]
pub mod sync;
#[cfg(feature = "os")]
pub mod topology;
#[cfg(feature = "os")]
pub mod typed;
