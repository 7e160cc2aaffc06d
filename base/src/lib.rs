#![no_std]
#![doc = include_str!("../README.md")]

pub mod bitmap;
pub mod classes;
pub mod clock;
pub mod config;
pub mod fault;
pub mod knobs;
pub mod meta;
pub mod pages;
pub mod percpu;
pub mod source;
pub mod sync;
pub mod topology;
