//! The server: a node with sockets. tokio executes; what waits for what is decided by our own queues.
//!
//! A process may live several times: one that its peers know as another process, or that finds itself
//! evicted, joins anew as another member, with the same ports.

mod accept;
pub mod admin;
mod admission;
mod clients;
mod clocks;
mod commands;
mod door;
mod frames;
mod home;
mod identity;
mod info;
mod join;
mod life;
mod links;
mod memory;
mod outcomes;
mod pauses;
mod peers;
mod pipeline;
pub mod places;
mod ports;
mod process;
mod rate;
mod recall;
mod rest;
mod rings;
mod serve;
mod session;
mod settings;
mod state;
mod timers;
mod transactions;
mod waiting;
mod waves;
mod writer;

pub use self::{
    home::members_in,
    identity::secret_seed,
    serve::serve,
    settings::{Durability, Ended, NO_PLACE_YET, Settings, Start},
};
