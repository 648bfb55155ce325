//! What a server is told, and how it ends.

use std::{fmt, net::SocketAddr, path::PathBuf};

use super::{identity, places::Places};
use crate::{core::quorum::Level, log::Lost, node::config::NodeConfig, wire::Join};

/// What a process says of its ring while it has none.
pub const NO_PLACE_YET: &str = "this process is not a member of a ring yet; ask a member, or later";

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens for clients.
    pub client: String,
    /// Where it listens for peers.
    pub peer: String,
    /// Where clients are told to connect. Port 0 stands for the one that was free.
    pub advertise_client: String,
    /// Where peers connect: this node's address in the ring.
    pub advertise_peer: String,
    /// How it comes to be a member.
    pub start: Start,
    /// Where its journal is. None: it keeps nothing.
    pub data: Option<PathBuf>,
    /// What an acknowledgement waits for.
    pub durability: Durability,
    /// Whether it goes on though what is damaged is nowhere else.
    pub accept_loss: bool,
    /// How many connections there may be at a time.
    pub places: Places,
    /// Bytes that all client connections together may hold.
    pub most_client_memory: usize,
    /// Lines of the log that were lost.
    pub lost_lines: Lost,
    /// The level of reads where a connection does not choose.
    pub default_read: Level,
    /// The level of writes where a connection does not choose.
    pub default_write: Level,
    /// The node's settings.
    pub node: NodeConfig,
    /// For tests and trials: how far the wall clock that the node goes by is ahead of the machine's.
    pub clock_offset_ms: i64,
}

impl Settings {
    /// What a process that wants a place says of itself: each time it is a new one.
    pub(super) fn join(&self, client: String) -> Join {
        Join { address: self.advertise_peer.clone(), client, instance: identity::random() }
    }

    /// Where clients are told to connect, once the port is known.
    pub(super) fn told_to_clients(&self, listens: SocketAddr) -> String {
        match self.advertise_client.strip_suffix(":0") {
            Some(host) => format!("{host}:{}", listens.port()),
            None => self.advertise_client.clone(),
        }
    }
}

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Durability {
    /// For the disk: what was acknowledged outlives a loss of power.
    #[default]
    Always,
    /// For nothing: what was acknowledged in the last 100 ms may be lost with the power, and what was acknowledged in
    /// the last few milliseconds when the process is killed.
    Interval,
    /// For nothing, and nothing is synced but what cleaning needs: the system writes when it likes.
    None,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.into())
    }
}

/// How a server comes to be a member.
#[derive(Clone, Debug)]
pub enum Start {
    /// A new cluster is formed.
    Form {
        /// The members of the first ring, the same on each node.
        members: Vec<String>,
        /// R.
        replication: usize,
    },
    /// It joins one that runs.
    Join {
        /// The peer addresses of some of its members.
        members: Vec<String>,
    },
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Drained,
    /// It left the ring: the others have all that it held.
    Left,
    /// Its join was given up by the members.
    Cancelled,
}
