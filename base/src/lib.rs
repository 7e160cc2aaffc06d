#![no_std]
#![doc = include_str!("../README.md")]

pub mod bitmap;
pub mod boot;
pub mod cacheline;
pub mod classes;
pub mod clock;
pub mod config;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu", not(loom)))]
mod elf;
pub mod environment;
pub mod fault;
pub mod knobs;
pub mod meta;
pub mod name;
pub mod pages;
pub mod percpu;
pub mod slabinfo;
pub mod slots;
pub mod source;
pub mod stats;
pub mod sync;
pub mod topology;
