//! What nodes say to each other.
//!
//! Every message may be lost, delayed, repeated and reordered. Each carries its sender's epoch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::{
    record::{Record, Version},
    ring::Ring,
    time::{Micros, Timestamp},
    types::{Ballot, Epoch, Key, OpId, Slot},
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
        /// The number of the comparison.
        pass: u64,
        /// Slots with their digests, ascending.
        digests: Vec<(Slot, u64)>,
    },
    /// The answer to digests, of each shard that has slots in common with the one that asks: which slots differ.
    Differ {
        /// The asking shard.
        shard: u16,
        /// The number of the comparison.
        pass: u64,
        /// The shard that answers.
        part: u16,
        /// Its node's number of shards.
        parts: u16,
        /// The slots, each with the number of its records at the one that answers.
        slots: Vec<(Slot, u32)>,
    },
    /// Owner to owner: the versions that I hold of slots that differ.
    Versions {
        /// The asking shard.
        shard: u16,
        /// The number of the comparison.
        pass: u64,
        /// The versions.
        ranges: Vec<Range>,
    },
    /// The answer to versions: the records that you lack, and keys whose records I lack.
    Newer {
        /// The asking shard.
        shard: u16,
        /// The number of the comparison.
        pass: u64,
        /// For each range an answer.
        parts: Vec<Compared>,
    },
    /// Owner to owner: records that you lack.
    Delta {
        /// The slot of all these keys.
        slot: Slot,
        /// Records to merge.
        records: Vec<(Key, Record)>,
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
    /// New owner to old owner: send me what you hold of these slots.
    Pull {
        /// The asking shard.
        shard: u16,
        /// Slots, with the last key that the asker has of each, and the digest of what it holds.
        wants: Vec<(Slot, Option<Key>, u64)>,
    },
    /// Old owner to new owner: what I hold.
    Pulled {
        /// The asking shard.
        shard: u16,
        /// The parts.
        parts: Vec<Part>,
    },
    /// Who no longer owns a slot to who owns it: these are the versions that I hold. Have you all?
    Offer {
        /// The asking shard.
        shard: u16,
        /// The offers.
        offers: Vec<Offer>,
    },
    /// The answer to offers: which of the keys I hold only older versions of.
    Wanted {
        /// The asking shard.
        shard: u16,
        /// The same, with the keys. None: I have all.
        wants: Vec<Want>,
    },
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
    /// This node has done what the joint ring asks of it.
    Synced,
    /// Send me your ring: it is newer than mine.
    RingRequest,
    /// My ring.
    Ring(Arc<Ring>),
    /// Detector to detector: what SWIM has to say.
    Gossip(Vec<u8>),
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

/// The versions of a range of a slot's keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    /// The slot.
    pub slot: Slot,
    /// The range's start, not part of it. None: from the first key.
    pub after: Option<Key>,
    /// The range's end, part of it. None: to the last key.
    pub upto: Option<Key>,
    /// The sender's keys in the range, ascending.
    pub versions: Vec<(Key, Version)>,
}

/// How a range compares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Compared {
    /// The slot.
    pub slot: Slot,
    /// The range's start.
    pub after: Option<Key>,
    /// Up to where it was compared: to the range's end, or less far, where it holds too much for one answer.
    pub upto: Option<Key>,
    /// The slot is compared to its last key.
    pub is_last: bool,
    /// Records that the other side lacks, or has only older versions of.
    pub records: Vec<(Key, Record)>,
    /// Keys of which this side lacks that version.
    pub want: Vec<Key>,
}

impl Compared {
    /// An answer that says nothing of a range: it is to be asked about again, or (`is_last`) not at all.
    pub fn nothing(range: Range, is_last: bool) -> Self {
        let Range { slot, after, .. } = range;
        let (upto, records, want) = (after.clone(), Vec::new(), Vec::new());
        Self { slot, after, upto, is_last, records, want }
    }
}

/// Versions of a slot: behind which key, up to which (none: to the last), and what there is.
pub type Offer = (Slot, Option<Key>, Option<Key>, Vec<(Key, Version)>);

/// The answer: which of them the owner lacks, or holds only older versions of.
pub type Want = (Slot, Option<Key>, Option<Key>, Vec<Key>);

/// Records of a slot, as far as they fit into a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// The slot.
    pub slot: Slot,
    /// The key before the first one.
    pub after: Option<Key>,
    /// Records, ascending by key.
    pub records: Vec<(Key, Record)>,
    /// Nothing follows.
    pub is_last: bool,
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
    /// The detector.
    Detector,
}

impl Body {
    /// Who in a node whose ring has `size` slots this is for.
    pub fn recipient(&self, size: u16) -> Recipient {
        match self {
            Body::Write { key, .. } | Body::Read { key, .. } => {
                Recipient::Slot(crate::core::ring::slot_of(key.as_str(), size))
            }
            Body::Written { op } | Body::Found { op, .. } | Body::Fenced { op } => {
                Recipient::Shard(op.shard)
            }
            Body::Digests { .. }
            | Body::Versions { .. }
            | Body::Pull { .. }
            | Body::Offer { .. } => Recipient::EveryShard,
            Body::Differ { shard, .. }
            | Body::Newer { shard, .. }
            | Body::Pulled { shard, .. }
            | Body::Wanted { shard, .. } => Recipient::Shard(*shard),
            Body::Delta { slot, .. } => Recipient::Slot(*slot),
            // Any shard can tell the time: slots are numbers, and this one spreads the work.
            Body::Probe { shard, .. } => Recipient::Slot(Slot(*shard)),
            Body::ProbeReply { shard, .. } => Recipient::Shard(*shard),
            Body::Prepare { .. }
            | Body::Promise { .. }
            | Body::Accept { .. }
            | Body::Accepted { .. }
            | Body::Refused { .. }
            | Body::Synced
            | Body::RingRequest
            | Body::Ring(_)
            | Body::IsNewest { .. }
            | Body::Newest { .. } => Recipient::Topology,
            Body::Gossip(_) => Recipient::Detector,
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
            Body::Differ { .. } => "differ",
            Body::Versions { .. } => "versions",
            Body::Newer { .. } => "newer",
            Body::Delta { .. } => "delta",
            Body::Probe { .. } => "probe",
            Body::ProbeReply { .. } => "probe-reply",
            Body::Pull { .. } => "pull",
            Body::Pulled { .. } => "pulled",
            Body::Offer { .. } => "offer",
            Body::Wanted { .. } => "wanted",
            Body::Prepare { .. } => "prepare",
            Body::Promise { .. } => "promise",
            Body::Accept { .. } => "accept",
            Body::Accepted { .. } => "accepted",
            Body::Refused { .. } => "refused",
            Body::Synced => "synced",
            Body::RingRequest => "ring-request",
            Body::Ring(_) => "ring",
            Body::Gossip(_) => "gossip",
            Body::IsNewest { .. } => "is-newest",
            Body::Newest { .. } => "newest",
        }
    }
}
