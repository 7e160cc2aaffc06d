#![no_std]
#![doc = include_str!("../README.md")]

pub mod bitmap;
pub mod classes;
pub mod clock;
pub mod config;
pub mod fault;
pub mod pages;
pub mod sync;

// What follows stands on statics and system calls, which loom cannot model.
#[cfg(not(loom))]
pub mod knobs;
#[cfg(not(loom))]
pub mod meta;
#[cfg(not(loom))]
pub mod percpu;
#[cfg(not(loom))]
pub mod source;
#[cfg(not(loom))]
pub mod topology;
