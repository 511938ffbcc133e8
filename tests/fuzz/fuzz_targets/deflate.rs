//! See `src/deflate.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| websock_fuzz::deflate::run(data));
