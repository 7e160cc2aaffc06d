//! See the module of that name.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kmem_fuzz::slob::run(data));
