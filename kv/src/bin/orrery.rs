//! `orrery`: the server and its command line.

use std::process::ExitCode;

/// The memory of many clients is in small pieces, between others that stay: the system's allocator kept most of
/// it when they were gone (measured: 299 of 355 MB; this one 33 of 339).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kv::cli::main()
}
