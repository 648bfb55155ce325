//! What the nodes of a simulation live in: clocks that lie, a network that loses, a disk.

pub mod clock;
pub mod disk;
pub mod network;
