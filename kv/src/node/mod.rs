//! A node: shards and topology, each behind a lock, and the gate that holds effects back until the
//! journal has what they rest on.
//!
//! The way of an input: [`Node::request`] or [`Node::message`] sorts it into a [`Batch`];
//! [`Node::run`] takes one lock per machine that has inputs, runs them, releases the lock, and leaves
//! what may leave now in the [`Outbox`]; [`Node::flush`] hands that to the world.

pub mod commit;
pub mod config;
pub mod delivery;
mod eras;
mod gate;
pub mod locks;
mod outbox;
mod page;
mod pauses;
mod ports;
pub mod pulse;
pub mod queue;
pub mod recover;
mod rewrite;
mod run;
mod split;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use self::{
    eras::{Era, Pause},
    outbox::{Batch, Outbox},
    page::{Page, RingMoves},
    ports::{Alarm, Ports, Position},
    state::Node,
};
