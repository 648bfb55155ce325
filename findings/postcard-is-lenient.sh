#!/usr/bin/env bash
# postcard 1.1.3: several byte strings decode as one value.
#
# A good engineer would guess that `from_bytes` takes exactly the bytes that `to_allocvec` writes: the format is
# documented, it has no optional parts, and bytes that are left over look like an error (serde_json has one).
#
# What happens: bytes behind the value are ignored, and a number may be written longer than need be. So bytes
# cannot be compared, hashed or signed in place of values, and a frame that is followed by something else passes.
# `take_from_bytes` gives back what is left over; numbers that are too long are told only by encoding once more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
postcard = { version = "=1.1.3", default-features = false, features = ["use-std"] }
TOML
cat > src/main.rs <<'RUST'
fn main() {
    let written = postcard::to_stdvec(&5u32).unwrap();
    assert_eq!(written, [5]);
    for bytes in [&[5u8][..], &[5, 9, 9], &[0x85, 0x00], &[0x85, 0x80, 0x00]] {
        let read: Result<u32, _> = postcard::from_bytes(bytes);
        println!("{bytes:02x?} is read as {read:?}");
        assert_eq!(read, Ok(5), "another behaviour than was found");
    }
}
RUST
cargo tree --quiet --depth 1 --prefix none | tail -n +2
cargo run --quiet
echo "postcard 1.1.3: four byte strings are the number 5"
