//! What the tests of real processes share: the binary, clusters of processes, and histories.

pub mod cluster;
pub mod fuzz;
