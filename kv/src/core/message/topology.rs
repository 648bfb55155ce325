//! What topologies say to each other.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::core::{ring::Ring, types::Ballot};

/// What a topology says to another.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum TopologyBody {
    /// About the ring after ours.
    Paxos(Paxos),
    /// This node has done what the joint ring asks of it.
    Synced,
    /// Send me your ring: it is newer than mine.
    RingRequest,
    /// My ring.
    Ring(Arc<Ring>),
    /// I stood still for a while. Is my ring the newest that you know?
    IsNewest {
        /// The asker's era.
        era: u64,
    },
    /// It is.
    Newest {
        /// The asker's era.
        era: u64,
    },
}

/// How the members agree on the ring after theirs.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Paxos {
    /// Promise to take no proposal for the ring after ours below this ballot.
    Prepare {
        /// The proposal.
        ballot: Ballot,
    },
    /// I promise.
    Promise {
        /// The proposal.
        ballot: Ballot,
        /// What I took before.
        accepted: Option<(Ballot, Arc<Ring>)>,
    },
    /// Take this ring as the one after ours.
    Accept {
        /// The proposal.
        ballot: Ballot,
        /// The ring.
        ring: Arc<Ring>,
    },
    /// I took it.
    Accepted {
        /// The proposal.
        ballot: Ballot,
    },
    /// I promised a higher ballot.
    Refused {
        /// The proposal that is refused.
        ballot: Ballot,
        /// What I promised.
        promised: Ballot,
    },
}

impl TopologyBody {
    /// A short name for logs and tables.
    pub fn name(&self) -> &'static str {
        match self {
            TopologyBody::Paxos(paxos) => paxos.into(),
            body => body.into(),
        }
    }

    /// Whether it brings a ring.
    pub fn has_ring(&self) -> bool {
        match self {
            TopologyBody::Ring(_)
            | TopologyBody::Paxos(Paxos::Promise { .. } | Paxos::Accept { .. }) => true,
            TopologyBody::Paxos(
                Paxos::Prepare { .. } | Paxos::Accepted { .. } | Paxos::Refused { .. },
            )
            | TopologyBody::Synced
            | TopologyBody::RingRequest
            | TopologyBody::IsNewest { .. }
            | TopologyBody::Newest { .. } => false,
        }
    }
}

impl Paxos {
    /// The proposal that it is about.
    pub fn ballot(&self) -> Ballot {
        match self {
            Paxos::Prepare { ballot }
            | Paxos::Promise { ballot, .. }
            | Paxos::Accept { ballot, .. }
            | Paxos::Accepted { ballot }
            | Paxos::Refused { ballot, .. } => *ballot,
        }
    }
}

impl From<Paxos> for TopologyBody {
    fn from(paxos: Paxos) -> Self {
        TopologyBody::Paxos(paxos)
    }
}

/// What it says, in a few words.
impl fmt::Display for TopologyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            TopologyBody::Paxos(paxos) => paxos.say_more(f),
            TopologyBody::RingRequest | TopologyBody::Synced => Ok(()),
            TopologyBody::IsNewest { era } | TopologyBody::Newest { era } => {
                write!(f, " era {era}")
            }
            TopologyBody::Ring(ring) => write!(f, " {}", ring.epoch()),
        }
    }
}

impl Paxos {
    fn say_more(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {}", self.ballot())?;
        match self {
            Paxos::Prepare { .. } | Paxos::Accepted { .. } => Ok(()),
            Paxos::Promise { accepted: Some((accepted, _)), .. } => {
                write!(f, ", accepted {accepted}")
            }
            Paxos::Promise { accepted: None, .. } => Ok(()),
            Paxos::Accept { ring, .. } => write!(f, " {}", ring.epoch()),
            Paxos::Refused { promised, .. } => write!(f, ", promised {promised}"),
        }
    }
}
