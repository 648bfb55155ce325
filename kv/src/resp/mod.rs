//! The protocol of Redis clients: framing, replies and commands. Pure and bounded: no I/O, and no
//! memory by a length that a client declares.
//!
//! Source: Redis serialization protocol specification, RESP2 and RESP3.

pub mod args;
pub mod command;
pub mod docs;
mod entries;
mod entry;
pub mod frame;
pub mod http;
pub mod inline;
pub mod reply;
pub mod table;
