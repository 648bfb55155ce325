//! Each thing that a disk promises, and each that goes wrong with it.

mod contract;
mod faults;
mod power;
mod reference;

use super::{Disk, File};
use crate::random::Random;

fn random(seed: u64) -> Random {
    Random::new(seed, "disk")
}

/// A file with these bytes, all of it safe.
fn safe_file(disk: &Disk, name: &str, bytes: &[u8]) -> File {
    let file = disk.create(name).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
    disk.sync_names().unwrap();
    file
}

/// So many sectors of 512 bytes: of ones, of twos, and so on.
fn sectors(count: u8) -> Vec<u8> {
    (1..=count).flat_map(|number| [number; 512]).collect()
}
