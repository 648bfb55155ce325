//! The event log of a run: hashed in sweeps, written as text for people and for comparisons.
//!
//! Both ways see the same events in the same order, so equal texts are equal hashes.

use std::{
    fmt,
    fmt::Write as _,
    hash::{Hash, Hasher},
    sync::Arc,
};

use kv::{
    core::{
        env::{Note, Reply, Timer},
        message::{Body, Message},
        ring::{Change, Ring},
        types::NodeId,
    },
    node::Machine,
};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    scenario::{Action, FaultKind},
    script::Step,
    world::network::Fate,
};

/// Something that happened.
#[derive(Hash)]
pub enum Event<'a> {
    /// A node sent a message.
    Sent(u64, NodeId, NodeId, &'a Message, Fate),
    /// A message arrived.
    Arrived(u64, NodeId),
    /// A message arrived at a node that does not run.
    ArrivedNowhere(u64, NodeId),
    /// The script lost a message.
    LostByScript(u64, NodeId),
    /// A timer fired.
    Fired(NodeId, Machine, Timer),
    /// A journal was synced, so many entries are durable.
    Synced(NodeId, u64),
    /// A client asked.
    Invoked(usize, u32, NodeId, &'a Action),
    /// A client was answered.
    Answered(usize, &'a Reply),
    /// A client was not answered: the node does not run, crashed, or is silent.
    Unanswered(usize, &'static str),
    /// The core took a branch that is seldom taken.
    Noted(NodeId, Note),
    /// A fault began.
    FaultBegan(&'a FaultKind),
    /// A fault ended.
    FaultEnded(&'a FaultKind),
    /// A node stopped, and so many entries were lost.
    Stopped(NodeId, usize),
    /// A node started.
    Started(NodeId),
    /// A node was asked for a change of the ring.
    Changed(NodeId, &'a Change),
    /// A step of the script is taken.
    Script(usize, &'a Step),
    /// The run went on to another phase.
    Phase(&'static str),
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Sent(id, from, to, message, fate) => {
                write!(f, "{from} -> {to} #{id} {} {} {fate:?}", message.epoch, Said(&message.body))
            }
            Event::Arrived(id, to) => write!(f, "{to} <- #{id}"),
            Event::ArrivedNowhere(id, to) => write!(f, "{to} is down, #{id} is lost"),
            Event::LostByScript(id, to) => write!(f, "{to} never gets #{id}"),
            Event::Fired(node, machine, timer) => write!(f, "{node} {machine:?} {timer:?}"),
            Event::Synced(node, upto) => write!(f, "{node} synced {upto}"),
            Event::Invoked(op, client, node, action) => {
                write!(f, "op{op} c{client} asks {node}: {action:?}")
            }
            Event::Answered(op, reply) => match reply {
                Reply::Written(version) => write!(f, "op{op} written {version}"),
                Reply::Found(Some(record)) => write!(f, "op{op} found {record}"),
                Reply::Found(None) => write!(f, "op{op} found nothing"),
                Reply::Failed(failure) => write!(f, "op{op} failed {failure:?}"),
            },
            Event::Unanswered(op, why) => write!(f, "op{op} unanswered: {why}"),
            Event::Noted(node, note) => write!(f, "{node} {note:?}"),
            Event::FaultBegan(kind) => write!(f, "fault begins: {kind:?}"),
            Event::FaultEnded(kind) => write!(f, "fault ends: {kind:?}"),
            Event::Stopped(node, lost) => write!(f, "{node} stops, {lost} entries lost"),
            Event::Started(node) => write!(f, "{node} starts"),
            Event::Changed(node, change) => write!(f, "{node} is asked for {change:?}"),
            Event::Script(at, step) => write!(f, "step {at}: {step}"),
            Event::Phase(phase) => write!(f, "--- {phase}"),
        }
    }
}

/// What a message says, in a few words.
struct Said<'a>(&'a Body);

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

/// What a story may tell of a run.
#[derive(Clone, Debug)]
pub enum Happened {
    /// A node sent a message about records.
    Sent(u64, NodeId, NodeId, Message, Fate),
    /// A message arrived.
    Arrived(u64),
    /// A message arrived at a node that does not run.
    ArrivedNowhere(u64),
    /// The script lost a message.
    LostByScript(u64),
    /// A client asked: a place in the history.
    Invoked(usize),
    /// It was answered, or gave up.
    Ended(usize),
    /// A fault began.
    FaultBegan(FaultKind),
    /// A fault ended.
    FaultEnded(FaultKind),
    /// A node stopped, and so many entries of its journal were lost.
    Stopped(NodeId, usize),
    /// A node started.
    Started(NodeId),
    /// A node was asked for a change of the ring.
    Asked(NodeId, Change),
    /// A ring was decided.
    Ring(Arc<Ring>),
    /// A step of the script is taken.
    Script(usize, Step),
    /// The run went on to another phase.
    Phase(&'static str),
}

impl Happened {
    fn of(event: &Event<'_>) -> Option<Self> {
        Some(match event {
            Event::Sent(id, from, to, message, fate) => {
                if !is_about_records(&message.body) {
                    return None;
                }
                Happened::Sent(*id, *from, *to, (*message).clone(), *fate)
            }
            Event::Arrived(id, _) => Happened::Arrived(*id),
            Event::ArrivedNowhere(id, _) => Happened::ArrivedNowhere(*id),
            Event::LostByScript(id, _) => Happened::LostByScript(*id),
            Event::Invoked(place, ..) => Happened::Invoked(*place),
            Event::FaultBegan(kind) => Happened::FaultBegan((*kind).clone()),
            Event::FaultEnded(kind) => Happened::FaultEnded((*kind).clone()),
            Event::Stopped(node, lost) => Happened::Stopped(*node, *lost),
            Event::Started(node) => Happened::Started(*node),
            Event::Changed(node, change) => Happened::Asked(*node, (*change).clone()),
            Event::Script(at, step) => Happened::Script(*at, (*step).clone()),
            Event::Phase(name) => Happened::Phase(name),
            // An answer that comes too late is none: the run says when an operation ends.
            Event::Answered(..) | Event::Unanswered(..) => return None,
            Event::Fired(..) | Event::Synced(..) | Event::Noted(..) => return None,
        })
    }
}

fn is_about_records(body: &Body) -> bool {
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

/// What happened, and when, in microseconds of the run.
pub type Told = Vec<(u64, Happened)>;

/// The log of a run.
pub struct Log {
    hash: Xxh3,
    text: Option<String>,
    told: Told,
    events: u64,
}

impl Log {
    /// An empty log that keeps its text, and what a story tells, or only hashes.
    pub fn new(keep_text: bool) -> Self {
        let text = keep_text.then(String::new);
        Self { hash: Xxh3::new(), text, told: Vec::new(), events: 0 }
    }

    /// Something happened, so many microseconds into the run.
    pub fn record(&mut self, at: u64, event: &Event<'_>) {
        self.events += 1;
        at.hash(&mut self.hash);
        event.hash(&mut self.hash);
        if let Some(text) = &mut self.text {
            writeln!(text, "{:>10}.{:03} {event}", at / 1_000, at % 1_000)
                .expect("a string takes all text");
            self.told.extend(Happened::of(event).map(|happened| (at, happened)));
        }
    }

    /// Something happened that only a story tells: the log has it in other words.
    pub fn tell(&mut self, at: u64, happened: Happened) {
        if self.text.is_some() {
            self.told.push((at, happened));
        }
    }

    /// The log's hash.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The log's text, and what a story tells, if they were kept.
    pub fn into_text(self) -> (Option<String>, Told) {
        (self.text, self.told)
    }
}
