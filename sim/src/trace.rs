//! The recorded steps of a run in the store's own types, as the model follows them.

use harness::{system::Input, trace::RecordedStep};
use kv::{
    core::{
        env::{Entry, Note, Reply, Request},
        message::Message,
        time::{Micros, Timestamp},
        types::{NodeId, RequestId},
    },
    node::Alarm,
};
use strum::VariantArray as _;

use crate::store::Store;

/// What a node was given.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// It starts, on what its journal kept.
    Start,
    /// It stops at once, and loses what is not durable.
    Crash,
    /// A client asks.
    Request(RequestId, Request),
    /// A peer's message arrives.
    Message(NodeId, Message),
    /// A timer fires.
    Timer(Alarm),
    /// So many entries of its journal are durable.
    Durable(u64),
}

/// What a node did, up to the next thing that it was given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Entries for its journal.
    pub entries: Vec<Entry>,
    /// Timers that it armed.
    pub timers: Vec<(Alarm, Micros)>,
    /// Branches that it counted.
    pub notes: Vec<Note>,
    /// Messages that left it.
    pub messages: Vec<(NodeId, Message)>,
    /// Answers that left it.
    pub replies: Vec<(RequestId, Reply)>,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// The node.
    pub node: NodeId,
    /// Its wall clock.
    pub now: Timestamp,
    /// Its monotonic clock.
    pub uptime: Micros,
    /// What it was given.
    pub given: Given,
    /// What it did.
    pub effects: Effects,
}

/// The steps of a recorded run, in the store's own types.
pub fn moves(steps: Vec<RecordedStep<Store>>) -> Vec<Moved> {
    steps.into_iter().map(moved).collect()
}

fn moved(step: RecordedStep<Store>) -> Moved {
    let recorded = step.effects;
    let note = |name: &str| Note::VARIANTS.iter().copied().find(|note| note.name() == name);
    Moved {
        node: NodeId(step.node),
        now: Timestamp::from_micros(step.now_us),
        uptime: Micros(step.uptime_us),
        given: given(step.given),
        effects: Effects {
            entries: recorded.entries,
            timers: (recorded.timers.into_iter())
                .map(|(alarm, after_us)| (alarm, Micros(after_us)))
                .collect(),
            notes: recorded.notes.into_iter().filter_map(note).collect(),
            messages: (recorded.messages.into_iter())
                .map(|(to, message)| (NodeId(to), message))
                .collect(),
            replies: (recorded.replies.into_iter())
                .map(|(ticket, reply)| (RequestId(ticket), reply))
                .collect(),
        },
    }
}

fn given(given: harness::trace::Given<Store>) -> Given {
    use harness::trace::Given as Recorded;
    match given {
        Recorded::Start => Given::Start,
        Recorded::Crash => Given::Crash,
        Recorded::Input(Input::Message(from, message)) => Given::Message(NodeId(from), message),
        Recorded::Input(Input::Ask(ticket, (request, _))) => {
            Given::Request(RequestId(ticket), request)
        }
        Recorded::Input(Input::Timer(alarm)) => Given::Timer(alarm),
        Recorded::Input(Input::Durable(upto)) => Given::Durable(upto),
        Recorded::Input(Input::Change(_)) => unreachable!("what operators ask is not recorded"),
    }
}
