//! What shards say to each other.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::core::{
    record::{Record, Version},
    time::{Micros, Timestamp},
    types::{Key, OpId, Slot},
};

/// What a shard says to another, but for [`KeyRequest`].
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum ShardBody {
    /// Owner to coordinator: how a request about a key went.
    KeyAnswer(KeyAnswer),
    /// A shard of a member to all shards of another: each takes the part that concerns its slots.
    SlotsRequest {
        /// The asking shard.
        shard: u16,
        /// What it asks.
        request: SlotsRequest,
    },
    /// One of those shards to the one that asked.
    SlotsAnswer {
        /// The asking shard.
        shard: u16,
        /// The answer.
        answer: SlotsAnswer,
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
}

/// What a coordinator asks of an owner, about a key.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum KeyRequest {
    /// Store this and acknowledge.
    Write {
        /// Whom to answer.
        op: OpId,
        /// Whether it is the second issue of this write, under a greater version.
        again: bool,
        /// The key.
        key: Key,
        /// The record, with the coordinator's version.
        record: Record,
    },
    /// What do you hold?
    Read {
        /// Whom to answer.
        op: OpId,
        /// The key.
        key: Key,
    },
}

/// What an owner answers to a coordinator.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum KeyAnswer {
    /// My journal holds that record, or a newer one.
    Written {
        /// The write's operation.
        op: OpId,
        /// Which issue of the write is answered, as in the request.
        again: bool,
        /// The version that I hold, where it is newer than the write's own.
        newer: Option<Version>,
    },
    /// What I hold.
    Found {
        /// The read's operation.
        op: OpId,
        /// The record, a tombstone included.
        record: Option<Record>,
    },
    /// Your epoch is over. Nothing was done.
    Fenced {
        /// The refused operation.
        op: OpId,
    },
}

/// What a member asks another about many slots: anti-entropy, and what is handed over when owners change.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum SlotsRequest {
    /// Owner to owner: the digests of all slots that we share and that one of the sender's shards
    /// has. A slot that is not listed is empty at the sender.
    Digests {
        /// The sender's number of shards: it has the slots `slot % shards == shard`.
        shards: u16,
        /// The number of the comparison.
        pass: u64,
        /// Slots with their digests, ascending.
        digests: Vec<(Slot, u64)>,
    },
    /// Owner to owner: the versions that I hold of slots that differ.
    Versions {
        /// The number of the comparison.
        pass: u64,
        /// The versions.
        ranges: Vec<Range>,
    },
    /// New owner to old owner: send me what you hold of these slots.
    Pull {
        /// What the asker lacks.
        lacks: Vec<Lack>,
    },
    /// Who no longer owns a slot to who owns it: these are the versions that I hold. Have you all?
    Offer {
        /// The versions.
        ranges: Vec<Range>,
    },
}

/// What is answered about many slots.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum SlotsAnswer {
    /// The answer to digests, of each shard that has slots in common with the one that asks: which slots differ.
    Differ {
        /// The number of the comparison.
        pass: u64,
        /// The shard that answers.
        part: u16,
        /// Its node's number of shards.
        parts: u16,
        /// The slots, each with the number of its records at the one that answers.
        slots: Vec<(Slot, u32)>,
    },
    /// The answer to versions: the records that you lack, and keys whose records I lack.
    Newer {
        /// The number of the comparison.
        pass: u64,
        /// For each range an answer.
        parts: Vec<Compared>,
    },
    /// Old owner to new owner: what I hold.
    Pulled {
        /// The parts.
        parts: Vec<Part>,
    },
    /// The answer to offers: which of the keys I hold only older versions of.
    Wanted {
        /// The same, with the keys. None: I have all.
        wants: Vec<Want>,
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

/// A slot that a new owner pulls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lack {
    /// The slot.
    pub slot: Slot,
    /// The last key that it has pulled. None: it begins with the first.
    pub after: Option<Key>,
    /// The digest of what it holds of the slot.
    pub digest: u64,
}

/// What an owner wants of a range of a slot's keys whose versions were offered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Want {
    /// The slot.
    pub slot: Slot,
    /// The range's start, as in the offer.
    pub after: Option<Key>,
    /// The range's end, as in the offer.
    pub upto: Option<Key>,
    /// The keys that the owner lacks, or holds only older versions of.
    pub keys: Vec<Key>,
}

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

impl ShardBody {
    /// A short name for logs and tables.
    pub fn name(&self) -> &'static str {
        match self {
            ShardBody::KeyAnswer(answer) => answer.into(),
            ShardBody::SlotsRequest { request, .. } => request.into(),
            ShardBody::SlotsAnswer { answer, .. } => answer.into(),
            body => body.into(),
        }
    }
}

impl KeyRequest {
    /// Whom to answer.
    pub fn op(&self) -> OpId {
        match self {
            KeyRequest::Write { op, .. } | KeyRequest::Read { op, .. } => *op,
        }
    }

    /// The key.
    pub fn key(&self) -> &Key {
        match self {
            KeyRequest::Write { key, .. } | KeyRequest::Read { key, .. } => key,
        }
    }
}

impl KeyAnswer {
    /// The operation that is answered.
    pub fn op(&self) -> OpId {
        match self {
            KeyAnswer::Written { op, .. }
            | KeyAnswer::Found { op, .. }
            | KeyAnswer::Fenced { op } => *op,
        }
    }
}

impl From<KeyAnswer> for ShardBody {
    fn from(answer: KeyAnswer) -> Self {
        ShardBody::KeyAnswer(answer)
    }
}

/// What it says, in a few words.
impl fmt::Display for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, op): (&str, _) = (self.into(), self.op());
        write!(f, "{name} {}.{} {}", op.shard, op.sequence, self.key())?;
        match self {
            KeyRequest::Write { record, again: false, .. } => write!(f, " = {record}"),
            KeyRequest::Write { record, again: true, .. } => write!(f, " = {record}, again"),
            KeyRequest::Read { .. } => Ok(()),
        }
    }
}

/// What it says, in a few words.
impl fmt::Display for ShardBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            ShardBody::KeyAnswer(answer) => answer.say_more(f),
            ShardBody::SlotsRequest { shard, request } => request.say_more(*shard, f),
            ShardBody::SlotsAnswer { shard, answer } => answer.say_more(*shard, f),
            ShardBody::Delta { slot, records } => write!(f, " {slot} {records:?}"),
            ShardBody::Probe { sent, .. } => write!(f, " {}", sent.0),
            ShardBody::ProbeReply { sent, now, .. } => write!(f, " {} {now}", sent.0),
        }
    }
}

impl KeyAnswer {
    fn say_more(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {}.{}", self.op().shard, self.op().sequence)?;
        match self {
            KeyAnswer::Written { again, newer, .. } => {
                f.write_str(if *again { " again" } else { "" })?;
                newer.iter().try_for_each(|newer| write!(f, ", but holds {newer}"))
            }
            KeyAnswer::Fenced { .. } => Ok(()),
            KeyAnswer::Found { record: Some(record), .. } => write!(f, " {record}"),
            KeyAnswer::Found { record: None, .. } => f.write_str(" nothing"),
        }
    }
}

impl SlotsRequest {
    fn say_more(&self, shard: u16, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotsRequest::Digests { shards, digests, .. } => {
                write!(f, " of shard {shard}/{shards}: {digests:x?}")
            }
            SlotsRequest::Versions { ranges, .. } => ranges
                .iter()
                .try_for_each(|range| write!(f, " {} {:?}", range.slot, range.versions)),
            SlotsRequest::Pull { lacks } => write!(f, " {} slots", lacks.len()),
            SlotsRequest::Offer { ranges } => {
                let versions: usize = ranges.iter().map(|range| range.versions.len()).sum();
                write!(f, " {} slots, {versions} versions", ranges.len())
            }
        }
    }
}

impl SlotsAnswer {
    fn say_more(&self, shard: u16, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotsAnswer::Differ { part, parts, slots, .. } => {
                write!(f, " of shard {part}/{parts} for {shard}: {slots:?}")
            }
            SlotsAnswer::Newer { parts, .. } => parts.iter().try_for_each(|part| {
                write!(f, " {} {:?} want {:?}", part.slot, part.records, part.want)
            }),
            SlotsAnswer::Pulled { parts } => {
                let records: usize = parts.iter().map(|part| part.records.len()).sum();
                write!(f, " {} slots, {records} records", parts.len())
            }
            SlotsAnswer::Wanted { wants } => {
                let keys: usize = wants.iter().map(|want| want.keys.len()).sum();
                write!(f, " {keys} keys of {} slots", wants.len())
            }
        }
    }
}
