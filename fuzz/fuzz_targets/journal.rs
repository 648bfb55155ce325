#![no_main]
//! The body is in `tests::fuzz`, where stable Rust replays the corpus.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::journal(data));
