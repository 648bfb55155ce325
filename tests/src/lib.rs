//! What the tests of real processes share: processes, clusters of them, and histories; and the bodies
//! of the fuzz targets.

pub mod cluster;
pub mod fuzz;
pub mod history;
pub mod process;
pub mod rings;
