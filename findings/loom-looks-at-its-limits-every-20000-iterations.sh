#!/usr/bin/env bash
# loom 0.7.3: a limit of ten interleavings does not stop a check of thousands.
#
# A good engineer would guess that `max_permutations` (LOOM_MAX_PERMUTATIONS) ends a check after so many
# interleavings, and `max_duration` (LOOM_MAX_DURATION) after so long: that is how one bounds the time of a check.
#
# What happens: both are looked at only when a checkpoint would be written, every `checkpoint_interval` iterations,
# 20,000 by default, with a checkpoint file or without. A check of fewer interleavings never notices either limit.
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
loom = "=0.7.3"
TOML
cat > src/main.rs <<'RUST'
use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use loom::{model::Builder, sync::atomic::AtomicU8, sync::Arc, thread};

/// How many interleavings of two threads that write to one place are run.
fn interleavings(bound: impl Fn(&mut Builder)) -> usize {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    RUN.store(0, SeqCst);
    let mut builder = Builder::new();
    bound(&mut builder);
    builder.check(|| {
        RUN.fetch_add(1, SeqCst);
        let place = Arc::new(AtomicU8::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let place = place.clone();
                thread::spawn(move || (0..4).for_each(|value| place.store(value, SeqCst)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    RUN.load(SeqCst)
}

fn main() {
    let all = interleavings(|_| {});
    let ten = interleavings(|builder| builder.max_permutations = Some(10));
    let no_time = interleavings(|builder| builder.max_duration = Some(Duration::ZERO));
    let ten_looked_at = interleavings(|builder| {
        builder.max_permutations = Some(10);
        builder.checkpoint_interval = 1;
    });
    println!("without a limit: {all} interleavings");
    println!("at most 10: {ten}; within no time at all: {no_time}");
    println!("at most 10, looked at after each: {ten_looked_at}");
    assert!(all > 30 && all < 20_000, "another number of interleavings than was found");
    assert_eq!((ten, no_time), (all, all), "another behaviour than was found");
    assert!(ten_looked_at <= 10, "another behaviour than was found");
}
RUST
cargo tree --quiet --depth 1 --prefix none | tail -n +2
cargo run --quiet
echo "loom: the limits are looked at every checkpoint_interval iterations, 20,000 by default"
