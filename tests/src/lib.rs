//! What the tests of real processes share: processes, clusters of them, and histories, and load
//! under which the ring changes; and the bodies of the fuzz targets.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the runner of the tests takes it")]

pub mod cluster;
pub mod documents;
pub mod fuzz;
pub mod history;
pub mod kills;
pub mod load;
pub mod process;
pub mod rings;
pub mod rolling;
