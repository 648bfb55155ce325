//! What messages say: to scripts and to stories.

use kv::core::{
    message::{Body, KeyAnswer, KeyRequest, ShardBody, SlotsAnswer, SlotsRequest, TopologyBody},
    record::Record,
    types::{Incarnation, Key, OpId},
};

/// Whether a message is about records: a story may tell of those.
pub fn is_about_records(body: &Body) -> bool {
    match body {
        Body::KeyRequest(_) => true,
        Body::Shard(body) => match body {
            ShardBody::KeyAnswer(_) | ShardBody::Delta { .. } => true,
            ShardBody::SlotsRequest { request, .. } => match request {
                SlotsRequest::Versions { .. } | SlotsRequest::Offer { .. } => true,
                SlotsRequest::Digests { .. } | SlotsRequest::Pull { .. } => false,
            },
            ShardBody::SlotsAnswer { answer, .. } => match answer {
                SlotsAnswer::Newer { .. }
                | SlotsAnswer::Pulled { .. }
                | SlotsAnswer::Wanted { .. } => true,
                SlotsAnswer::Differ { .. } => false,
            },
            ShardBody::Probe { .. } | ShardBody::ProbeReply { .. } => false,
        },
        Body::Topology(_) | Body::Gossip(_) => false,
    }
}

/// The key that a message is about, where it is about one.
pub fn key_of(body: &Body) -> Option<&Key> {
    let Body::KeyRequest(request) = body else { return None };
    Some(request.key())
}

/// How a script names a message: what it is, and of which operation, as `write 1.0`: the first of the sender's
/// or the receiver's first incarnation.
pub fn name(body: &Body) -> String {
    let name = body.name();
    let of = |op: OpId| {
        let first = |incarnation| OpId::first_of(op.shard, Incarnation(incarnation)).sequence;
        let incarnation = op.sequence / first(1);
        format!("{name} {incarnation}.{}", op.sequence % first(1))
    };
    match body {
        Body::Topology(TopologyBody::Paxos(paxos)) => format!("{name} {}", paxos.ballot()),
        body => body.op().map_or_else(|| name.to_string(), of),
    }
}

/// The records that a message carries, with their keys. What a read found says of which key by its read.
pub fn records(body: &Body) -> Vec<(&Key, &Record)> {
    match body {
        Body::KeyRequest(KeyRequest::Write { key, record, .. }) => vec![(key, record)],
        Body::KeyRequest(KeyRequest::Read { .. }) => Vec::new(),
        Body::Shard(body) => records_of_shard(body),
        Body::Topology(_) | Body::Gossip(_) => Vec::new(),
    }
}

fn records_of_shard(body: &ShardBody) -> Vec<(&Key, &Record)> {
    let all = |records| -> Vec<_> {
        let records: &Vec<(Key, Record)> = records;
        records.iter().map(|(key, record)| (key, record)).collect()
    };
    match body {
        ShardBody::Delta { records, .. } => all(records),
        ShardBody::SlotsAnswer { answer, .. } => match answer {
            SlotsAnswer::Newer { parts, .. } => {
                parts.iter().flat_map(|part| all(&part.records)).collect()
            }
            SlotsAnswer::Pulled { parts } => {
                parts.iter().flat_map(|part| all(&part.records)).collect()
            }
            SlotsAnswer::Differ { .. } | SlotsAnswer::Wanted { .. } => Vec::new(),
        },
        ShardBody::KeyAnswer(_)
        | ShardBody::SlotsRequest { .. }
        | ShardBody::Probe { .. }
        | ShardBody::ProbeReply { .. } => Vec::new(),
    }
}

/// What a message does, where that is not said by what it carries.
pub fn verb(body: &Body) -> &'static str {
    match body {
        Body::KeyRequest(_) => body.name(),
        Body::Shard(shard) => match shard {
            ShardBody::KeyAnswer(KeyAnswer::Written { .. }) => "acknowledged",
            ShardBody::KeyAnswer(KeyAnswer::Found { .. }) => "found",
            ShardBody::KeyAnswer(KeyAnswer::Fenced { .. }) => "refused, for its ring is newer",
            ShardBody::Delta { .. }
            | ShardBody::SlotsAnswer { answer: SlotsAnswer::Newer { .. }, .. } => {
                "compared, and sent"
            }
            ShardBody::SlotsRequest { .. }
            | ShardBody::SlotsAnswer {
                answer:
                    SlotsAnswer::Differ { .. } | SlotsAnswer::Pulled { .. } | SlotsAnswer::Wanted { .. },
                ..
            }
            | ShardBody::Probe { .. }
            | ShardBody::ProbeReply { .. } => body.name(),
        },
        Body::Topology(_) | Body::Gossip(_) => body.name(),
    }
}
