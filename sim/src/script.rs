//! A script: a run in which nothing is left to chance. Messages and timers wait until the script names
//! them, journals are durable at once, and time hardly passes. That is how a model checker's
//! counterexample is replayed.

use std::{collections::BTreeSet, fmt};

use kv::{
    core::{
        env::Timer,
        message::{Body, Message},
        types::{Incarnation, NodeId, OpId},
    },
    node::Machine,
};
use serde::{Deserialize, Serialize};

use crate::{cluster::Cluster, log::Event, queue::Due};

/// A step of a script.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Step {
    /// The client of this operation, a place in the scenario's list, asks.
    Ask(usize),
    /// A message arrives: the oldest of those that are like it.
    Deliver(Wire),
    /// A message is lost.
    Lose(Wire),
    /// A message arrives, and will arrive once more.
    Double(Wire),
    /// A timer of a node fires.
    Fire(u32, Timer),
    /// A node crashes, and starts again at once.
    Crash(u32),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(place) => write!(f, "operation {place} is asked for"),
            Self::Deliver(wire) => write!(f, "deliver {wire}"),
            Self::Lose(wire) => write!(f, "lose {wire}"),
            Self::Double(wire) => write!(f, "deliver, and keep, {wire}"),
            Self::Fire(node, timer) => write!(f, "{timer:?} of {} fires", NodeId(*node)),
            Self::Crash(node) => write!(f, "{} crashes and starts again", NodeId(*node)),
        }
    }
}

/// A message, as a script names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// The sender.
    pub from: u32,
    /// The receiver.
    pub to: u32,
    /// What it says: its name, and of which operation, as `write 1.0`: the first of the sender's or the
    /// receiver's first incarnation.
    pub says: String,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}", self.says, NodeId(self.from), NodeId(self.to))
    }
}

impl Wire {
    /// How a script names a message.
    pub fn new(from: NodeId, to: NodeId, body: &Body) -> Self {
        Self { from: from.0, to: to.0, says: says(body) }
    }
}

fn says(body: &Body) -> String {
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

/// What waits for the script.
#[derive(Default)]
pub struct Waiting {
    messages: Vec<(u64, NodeId, NodeId, Message)>,
    timers: BTreeSet<(NodeId, Machine, Timer)>,
}

impl Waiting {
    /// A message waits.
    pub fn message(&mut self, id: u64, from: NodeId, to: NodeId, message: Message) {
        self.messages.push((id, from, to, message));
    }

    /// A timer waits.
    pub fn timer(&mut self, node: NodeId, machine: Machine, timer: Timer) {
        self.timers.insert((node, machine, timer));
    }

    /// The timers of a node are gone with it.
    pub fn stopped(&mut self, node: NodeId) {
        self.timers.retain(|(of, _, _)| *of != node);
    }

    fn take(&mut self, wire: &Wire) -> Result<(u64, NodeId, NodeId, Message), String> {
        let is_it = |from: &NodeId, to: &NodeId, message: &Message| {
            (from.0, to.0) == (wire.from, wire.to) && says(&message.body) == wire.says
        };
        let at = self.messages.iter().position(|(_, from, to, message)| is_it(from, to, message));
        let at = at.ok_or_else(|| {
            let there = self
                .messages
                .iter()
                .map(|(_, from, to, message)| format!("{from} -> {to} {}", says(&message.body)));
            format!("no such message waits: {wire:?}; there are {:?}", there.collect::<Vec<_>>())
        })?;
        Ok(self.messages.remove(at))
    }

    fn take_timer(&mut self, node: u32, timer: Timer) -> Result<Machine, String> {
        let mut all = self.timers.iter();
        let found = all.find(|(of, _, armed)| of.0 == node && *armed == timer).copied();
        let found = found.ok_or_else(|| format!("{timer:?} of node {node} is not armed"))?;
        self.timers.remove(&found);
        Ok(found.1)
    }
}

impl Cluster {
    /// From now on messages and timers wait for the script.
    pub fn begin_script(&mut self) {
        self.waiting = Some(Waiting::default());
    }

    /// Takes a step of the script that is about messages or timers. Fails when it does not fit.
    pub fn script_step(&mut self, step: &Step) -> Result<(), String> {
        let waiting = self.waiting.as_mut().ok_or("the script has ended")?;
        match step {
            Step::Ask(_) | Step::Crash(_) => {}
            Step::Deliver(wire) => {
                let (id, from, to, message) = waiting.take(wire)?;
                self.act(Due::Arrive { to, from, id, message });
            }
            Step::Double(wire) => {
                let (id, from, to, message) = waiting.take(wire)?;
                waiting.message(id, from, to, message.clone());
                self.act(Due::Arrive { to, from, id, message });
            }
            Step::Lose(wire) => {
                let (id, _, to, _) = waiting.take(wire)?;
                self.log.record(self.at(), &Event::LostByScript(id, to));
            }
            Step::Fire(node, timer) => {
                let machine = waiting.take_timer(*node, *timer)?;
                let node = NodeId(*node);
                let starts = self.starts(node);
                self.act(Due::Timer { node, starts, machine, timer: *timer });
            }
        }
        Ok(())
    }

    /// What still waits goes its usual way from now on.
    pub fn end_script(&mut self) {
        let Some(Waiting { messages, timers }) = self.waiting.take() else { return };
        for (_, from, to, message) in messages {
            self.send(from, to, message);
        }
        for (node, machine, timer) in timers {
            let starts = self.starts(node);
            self.later(Due::Timer { node, starts, machine, timer });
        }
    }
}
