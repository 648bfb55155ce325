//! What messages say: to logs, to scripts and to stories.

use std::fmt;

use kv::core::{
    message::Body,
    record::Record,
    types::{Incarnation, Key, OpId},
};

/// What a message says, in a few words.
pub struct Said<'a>(pub &'a Body);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.name();
        match self.0 {
            Body::Write { op, key, record } => {
                write!(f, "{name} {}.{} {key} = {record}", op.shard, op.sequence)
            }
            Body::Read { op, key } => write!(f, "{name} {}.{} {key}", op.shard, op.sequence),
            Body::Written { op } | Body::Fenced { op } => {
                write!(f, "{name} {}.{}", op.shard, op.sequence)
            }
            Body::Found { op, record } => {
                write!(f, "{name} {}.{} ", op.shard, op.sequence)?;
                match record {
                    Some(record) => write!(f, "{record}"),
                    None => f.write_str("nothing"),
                }
            }
            Body::Digests { shard, shards, digests, .. } => {
                write!(f, "{name} of shard {shard}/{shards}: {digests:x?}")
            }
            Body::Differ { shard, part, parts, slots, .. } => {
                write!(f, "{name} of shard {part}/{parts} for {shard}: {slots:?}")
            }
            Body::Versions { ranges, .. } => {
                f.write_str(name)?;
                ranges
                    .iter()
                    .try_for_each(|range| write!(f, " {} {:?}", range.slot, range.versions))
            }
            Body::Newer { parts, .. } => {
                f.write_str(name)?;
                parts.iter().try_for_each(|part| {
                    write!(f, " {} {:?} want {:?}", part.slot, part.records, part.want)
                })
            }
            Body::Delta { slot, records } => write!(f, "{name} {slot} {records:?}"),
            Body::Probe { sent, .. } => write!(f, "{name} {}", sent.0),
            Body::ProbeReply { sent, now, .. } => write!(f, "{name} {} {now}", sent.0),
            Body::Pull { wants, .. } => write!(f, "{name} {} slots", wants.len()),
            Body::Pulled { parts, .. } => {
                let records: usize = parts.iter().map(|part| part.records.len()).sum();
                write!(f, "{name} {} slots, {records} records", parts.len())
            }
            Body::Offer { offers, .. } => {
                let versions: usize = offers.iter().map(|offer| offer.3.len()).sum();
                write!(f, "{name} {} slots, {versions} versions", offers.len())
            }
            Body::Wanted { wants, .. } => {
                let keys: usize = wants.iter().map(|want| want.3.len()).sum();
                write!(f, "{name} {keys} keys of {} slots", wants.len())
            }
            Body::Prepare { ballot } | Body::Accepted { ballot } => write!(f, "{name} {ballot}"),
            Body::Promise { ballot, accepted } => {
                write!(f, "{name} {ballot}")?;
                match accepted {
                    Some((accepted, _)) => write!(f, ", accepted {accepted}"),
                    None => Ok(()),
                }
            }
            Body::Accept { ballot, ring } => write!(f, "{name} {ballot} {}", ring.epoch()),
            Body::Refused { ballot, promised } => write!(f, "{name} {ballot}, promised {promised}"),
            Body::RingRequest | Body::Synced => f.write_str(name),
            Body::IsNewest { era } | Body::Newest { era } => write!(f, "{name} era {era}"),
            Body::Ring(ring) => write!(f, "{name} {}", ring.epoch()),
            Body::Gossip(bytes) => write!(f, "{name} of {} bytes", bytes.len()),
        }
    }
}

/// Whether a message is about records: a story may tell of those.
pub fn is_about_records(body: &Body) -> bool {
    match body {
        Body::Write { .. }
        | Body::Written { .. }
        | Body::Read { .. }
        | Body::Found { .. }
        | Body::Fenced { .. }
        | Body::Versions { .. }
        | Body::Newer { .. }
        | Body::Delta { .. }
        | Body::Pulled { .. }
        | Body::Offer { .. }
        | Body::Wanted { .. } => true,
        Body::Digests { .. }
        | Body::Differ { .. }
        | Body::Probe { .. }
        | Body::ProbeReply { .. }
        | Body::Pull { .. }
        | Body::Prepare { .. }
        | Body::Promise { .. }
        | Body::Accept { .. }
        | Body::Accepted { .. }
        | Body::Refused { .. }
        | Body::Synced
        | Body::RingRequest
        | Body::Ring(_)
        | Body::Gossip(_)
        | Body::IsNewest { .. }
        | Body::Newest { .. } => false,
    }
}

/// The key that a message is about, where it is about one.
pub fn key_of(body: &Body) -> Option<&Key> {
    match body {
        Body::Write { key, .. } | Body::Read { key, .. } => Some(key),
        _ => None,
    }
}

/// How a script names a message: what it is, and of which operation, as `write 1.0`: the first of the sender's
/// or the receiver's first incarnation.
pub fn name(body: &Body) -> String {
    let name = body.name();
    let of = |op: &OpId| {
        let first = |incarnation| OpId::first_of(op.shard, Incarnation(incarnation)).sequence;
        let incarnation = op.sequence / first(1);
        format!("{name} {incarnation}.{}", op.sequence % first(1))
    };
    match body {
        Body::Write { op, .. }
        | Body::Written { op }
        | Body::Read { op, .. }
        | Body::Found { op, .. }
        | Body::Fenced { op } => of(op),
        Body::Digests { .. }
        | Body::Differ { .. }
        | Body::Versions { .. }
        | Body::Newer { .. }
        | Body::Delta { .. }
        | Body::Pull { .. }
        | Body::Pulled { .. }
        | Body::Offer { .. }
        | Body::Wanted { .. }
        | Body::Synced
        | Body::Probe { .. }
        | Body::ProbeReply { .. }
        | Body::RingRequest
        | Body::IsNewest { .. }
        | Body::Newest { .. }
        | Body::Gossip(_)
        | Body::Ring(_) => name.to_string(),
        Body::Prepare { ballot }
        | Body::Promise { ballot, .. }
        | Body::Accept { ballot, .. }
        | Body::Accepted { ballot }
        | Body::Refused { ballot, .. } => format!("{name} {ballot}"),
    }
}

/// The records that a message carries, with their keys. What a read found says of which key by its read.
pub fn records(body: &Body) -> Vec<(&Key, &Record)> {
    match body {
        Body::Write { key, record, .. } => vec![(key, record)],
        Body::Delta { records, .. } => records.iter().map(|(key, record)| (key, record)).collect(),
        Body::Newer { parts, .. } => {
            let records = parts.iter().flat_map(|part| &part.records);
            records.map(|(key, record)| (key, record)).collect()
        }
        Body::Pulled { parts, .. } => {
            let records = parts.iter().flat_map(|part| &part.records);
            records.map(|(key, record)| (key, record)).collect()
        }
        Body::Written { .. }
        | Body::Read { .. }
        | Body::Found { .. }
        | Body::Fenced { .. }
        | Body::Digests { .. }
        | Body::Differ { .. }
        | Body::Versions { .. }
        | Body::Probe { .. }
        | Body::ProbeReply { .. }
        | Body::Pull { .. }
        | Body::Offer { .. }
        | Body::Wanted { .. }
        | Body::Prepare { .. }
        | Body::Promise { .. }
        | Body::Accept { .. }
        | Body::Accepted { .. }
        | Body::Refused { .. }
        | Body::Synced
        | Body::RingRequest
        | Body::Ring(_)
        | Body::Gossip(_)
        | Body::IsNewest { .. }
        | Body::Newest { .. } => Vec::new(),
    }
}

/// What a message does, where that is not said by what it carries.
pub fn verb(body: &Body) -> &'static str {
    match body {
        Body::Write { .. } => "write",
        Body::Written { .. } => "acknowledged",
        Body::Read { .. } => "read",
        Body::Found { .. } => "found",
        Body::Fenced { .. } => "refused, for its ring is newer",
        Body::Newer { .. } | Body::Delta { .. } => "compared, and sent",
        Body::Pulled { .. } => "pulled",
        Body::Digests { .. }
        | Body::Differ { .. }
        | Body::Versions { .. }
        | Body::Probe { .. }
        | Body::ProbeReply { .. }
        | Body::Pull { .. }
        | Body::Offer { .. }
        | Body::Wanted { .. }
        | Body::Prepare { .. }
        | Body::Promise { .. }
        | Body::Accept { .. }
        | Body::Accepted { .. }
        | Body::Refused { .. }
        | Body::Synced
        | Body::RingRequest
        | Body::Ring(_)
        | Body::Gossip(_)
        | Body::IsNewest { .. }
        | Body::Newest { .. } => body.name(),
    }
}
