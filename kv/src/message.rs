//! What nodes say to each other.
//!
//! Every message may be lost, delayed, repeated and reordered. Each carries its sender's epoch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    record::{Record, Version},
    ring::Ring,
    types::{Epoch, Key, Micros, OpId, Slot},
};

/// A message with its sender's epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Message {
    /// The epoch of the shard (or of the topology) that sent it, when it sent it.
    pub epoch: Epoch,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Body {
    /// Coordinator to owner: store this and acknowledge.
    Write {
        /// Whom to answer.
        op: OpId,
        /// The key.
        key: Key,
        /// The record, with the coordinator's version.
        record: Record,
    },
    /// Owner to coordinator: my journal holds that record, or a newer one.
    Written {
        /// The write's operation.
        op: OpId,
    },
    /// Coordinator to owner: what do you hold?
    Read {
        /// Whom to answer.
        op: OpId,
        /// The key.
        key: Key,
    },
    /// Owner to coordinator: what I hold.
    Found {
        /// The read's operation.
        op: OpId,
        /// The record, a tombstone included.
        record: Option<Record>,
    },
    /// Owner to coordinator: your epoch is over. Nothing was done.
    Fenced {
        /// The refused operation.
        op: OpId,
    },
    /// Owner to owner: the digests of all slots that we share and that one of the sender's shards
    /// has. A slot that is not listed is empty at the sender.
    Digests {
        /// The sender's shard.
        shard: u16,
        /// The sender's number of shards: it has the slots `slot % shards == shard`.
        shards: u16,
        /// Slots with their digests, ascending.
        digests: Vec<(Slot, u64)>,
    },
    /// Owner to owner: the versions that I hold of a range of a slot's keys.
    Versions {
        /// The slot.
        slot: Slot,
        /// The range's start, not part of it. None: from the first key.
        after: Option<Key>,
        /// The range's end, part of it. None: to the last key.
        upto: Option<Key>,
        /// The sender's keys in the range, ascending.
        versions: Vec<(Key, Version)>,
    },
    /// Owner to owner: records that you lack, and keys whose records I lack.
    Delta {
        /// The slot of all these keys.
        slot: Slot,
        /// Records to merge.
        records: Vec<(Key, Record)>,
        /// Keys whose records to send.
        want: Vec<Key>,
    },
    /// What time is it at your place?
    Probe {
        /// The asking shard.
        shard: u16,
        /// The asker's monotonic clock.
        sent: Micros,
    },
    /// The answer to a probe.
    ProbeReply {
        /// The asking shard.
        shard: u16,
        /// The asker's monotonic clock, as it was sent.
        sent: Micros,
        /// The wall clock of the one who answers.
        now: Timestamp,
    },
    /// Send me your ring: it is newer than mine.
    RingRequest,
    /// My ring.
    Ring(Arc<Ring>),
}

/// Who in a node a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The shard that has this slot.
    Slot(Slot),
    /// This shard.
    Shard(u16),
    /// Every shard: each takes the part that concerns its slots.
    EveryShard,
    /// The topology.
    Topology,
}

impl Body {
    /// Who in a node whose ring has `size` slots this is for.
    pub fn recipient(&self, size: u16) -> Recipient {
        match self {
            Body::Write { key, .. } | Body::Read { key, .. } => {
                Recipient::Slot(crate::ring::slot_of(key.as_str(), size))
            }
            Body::Written { op } | Body::Found { op, .. } | Body::Fenced { op } => {
                Recipient::Shard(op.shard)
            }
            Body::Digests { .. } => Recipient::EveryShard,
            Body::Versions { slot, .. } | Body::Delta { slot, .. } => Recipient::Slot(*slot),
            // Any shard can tell the time: slots are numbers, and this one spreads the work.
            Body::Probe { shard, .. } => Recipient::Slot(Slot(*shard)),
            Body::ProbeReply { shard, .. } => Recipient::Shard(*shard),
            Body::RingRequest | Body::Ring(_) => Recipient::Topology,
        }
    }

    /// A short name for logs and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Body::Write { .. } => "write",
            Body::Written { .. } => "written",
            Body::Read { .. } => "read",
            Body::Found { .. } => "found",
            Body::Fenced { .. } => "fenced",
            Body::Digests { .. } => "digests",
            Body::Versions { .. } => "versions",
            Body::Delta { .. } => "delta",
            Body::Probe { .. } => "probe",
            Body::ProbeReply { .. } => "probe-reply",
            Body::RingRequest => "ring-request",
            Body::Ring(_) => "ring",
        }
    }
}
