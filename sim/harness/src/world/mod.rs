//! What nodes live in: clocks that lie, a network that loses, a disk, power that fails.

pub mod clock;
mod cluster;
pub mod disk;
pub mod host;
mod journals;
pub mod network;
mod own;
mod power;
mod queue;
mod waiting;

pub(crate) use self::own::Ending;
pub use self::{
    cluster::{INVARIANT, Turn, World},
    queue::Wake,
};
