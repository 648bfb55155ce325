//! What every node of a run was given, what its clocks said, and what it did: so that another engine
//! can say whether it should have.

use kv::{
    core::{
        env::{Entry, Note, Reply, Request, Timer},
        message::Message,
        time::{Micros, Timestamp},
        types::{NodeId, RequestId},
    },
    node::Machine,
};

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
    Timer(Machine, Timer),
    /// So many entries of its journal are durable.
    Durable(u64),
}

/// What a node did, up to the next thing that it was given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Entries for its journal.
    pub entries: Vec<Entry>,
    /// Timers that it armed.
    pub timers: Vec<(Machine, Timer, Micros)>,
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

/// The steps of a run, as they are taken.
#[derive(Debug, Default)]
pub struct Recorder {
    steps: Vec<Moved>,
    next: Option<Given>,
}

impl Recorder {
    /// A node is about to be given something.
    pub fn gives(&mut self, given: Given) {
        self.next = Some(given);
    }

    /// It did this.
    pub fn did(&mut self, node: NodeId, now: Timestamp, uptime: Micros, effects: Effects) {
        if let Some(given) = self.next.take() {
            self.steps.push(Moved { node, now, uptime, given, effects });
        }
    }

    /// The steps.
    pub fn into_steps(self) -> Vec<Moved> {
        self.steps
    }
}
