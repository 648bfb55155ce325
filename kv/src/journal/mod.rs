//! What a node must not forget, on a disk: a journal of entries in segments, which are cleaned and used again.

mod clean;
pub mod contract;
pub mod damage;
pub mod disk;
mod error;
#[cfg(feature = "server")]
pub mod folder;
pub mod format;
pub mod log;
pub mod scan;
mod states;

pub use self::{
    clean::Tidied,
    error::{Error, Place},
};

#[cfg(all(test, feature = "server"))]
mod tests;
