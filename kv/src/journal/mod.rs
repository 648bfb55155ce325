//! What a node must not forget, on a disk.

pub mod contract;
pub mod disk;
#[cfg(feature = "server")]
pub mod folder;
