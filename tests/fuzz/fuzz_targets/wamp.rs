//! See `src/wamp.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| websock_fuzz::wamp::run(data));
