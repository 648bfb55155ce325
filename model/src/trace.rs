//! The other way round: a simulated run is checked against the model. Each recorded step must be
//! possible in the model (the message was sent, the timer is armed, the request is new), and must have
//! the same effects there, to the end of the trace.
//!
//! The model runs the machines by itself, from their inputs and clock readings alone. What it shares
//! with the simulated node is the core; what it checks is everything around it: locks, batches, the gate
//! of the journal, the recovery, the network, the clocks.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use kv::{
    core::{
        env::{
            Clients, Clock, Entry, Journal, Network, Note, Progress, Publish, Reply, Request,
            ShardTimer, Timers, TopologyTimer, Trace,
        },
        message::{Body, KeyRequest, Message},
        ring::Ring,
        time::{Micros, Timestamp},
        types::{Epoch, NodeId, RequestId},
    },
    node::{Alarm, config::NodeConfig, recover::Recovered},
};
use sim::trace::{Effects, Given, Moved};

use crate::actor::{Event, State};

/// A step that is none of the model's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("step {at}: {why}")]
pub struct Mismatch {
    /// Which step.
    pub at: usize,
    /// Why.
    pub why: Why,
}

/// Why a step is none of the model's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Why {
    /// Something happens to a node that does not run.
    #[error("the node does not run")]
    DoesNotRun,
    /// A request's number comes twice.
    #[error("{0:?} is asked twice")]
    AskedTwice(RequestId),
    /// So does its answer.
    #[error("{0:?} is answered twice")]
    AnsweredTwice(RequestId),
    /// A message arrives that its sender did not send to this receiver.
    #[error("{from} never sent {message:?} to {to}")]
    NeverSent {
        /// From whom it comes.
        from: NodeId,
        /// At whom it arrives.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// A timer fires that is not armed.
    #[error("{} of {node} is not armed", alarm.name())]
    NotArmed {
        /// Whose it is.
        node: NodeId,
        /// The timer.
        alarm: Alarm,
    },
    /// More of a journal is durable than there is of it, or less than before.
    #[error("{upto} entries of {node} cannot be durable")]
    NotDurable {
        /// Whose journal it is.
        node: NodeId,
        /// How many entries are said to be durable.
        upto: u64,
    },
    /// A step does something else in the model.
    #[error("{what}: the model has {model}, the run had {recorded}")]
    Differs {
        /// Which effects.
        what: &'static str,
        /// What the model does.
        model: String,
        /// What the run did.
        recorded: String,
    },
}

/// Messages and answers that wait for the journal.
struct Gated {
    after: u64,
    messages: Vec<(NodeId, Message)>,
    replies: Vec<(RequestId, Reply)>,
}

/// A node, as the model sees it.
#[derive(Default)]
struct Node {
    state: Option<State>,
    /// What was appended to the journal, and how much of it is durable.
    journal: Vec<Entry>,
    durable: u64,
    /// The highest entry of the shard: what it does leaves after that is durable.
    highest: u64,
    gate: VecDeque<Gated>,
    armed: BTreeSet<Alarm>,
}

/// The environment of a step: the readings that were recorded, and the effects.
struct Step {
    now: Timestamp,
    uptime: Micros,
    effects: Effects,
}

impl Clock for Step {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn uptime(&self) -> Micros {
        self.uptime
    }
}

impl Timers<ShardTimer> for Step {
    fn set_timer(&mut self, timer: ShardTimer, after: Micros) {
        self.effects.timers.push((Alarm::Shard(0, timer), after));
    }
}

impl Timers<TopologyTimer> for Step {
    fn set_timer(&mut self, timer: TopologyTimer, after: Micros) {
        self.effects.timers.push((Alarm::Topology(timer), after));
    }
}

impl Network for Step {
    fn send(&mut self, to: NodeId, message: Message) {
        self.effects.messages.push((to, message));
    }
}

impl Journal for Step {
    fn persist(&mut self, entry: Entry) {
        self.effects.entries.push(entry);
    }
}

impl Clients for Step {
    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.effects.replies.push((request, reply));
    }
}

impl Trace for Step {
    fn note(&mut self, note: Note) {
        self.effects.notes.push(note);
    }
}

impl Progress for Step {
    fn synced(&mut self, _epoch: Epoch) {
        unreachable!("the traces that are checked have no joint ring");
    }
}

impl Publish for Step {
    fn publish(&mut self, _ring: Arc<Ring>) {
        unreachable!("the traces that are checked have one ring");
    }

    fn confirmed(&mut self, _era: u64, _epoch: Epoch) {
        unreachable!("the traces that are checked have no pause");
    }
}

/// A run, followed step by step.
pub struct Follower {
    config: NodeConfig,
    ring: Arc<Ring>,
    nodes: BTreeMap<NodeId, Node>,
    /// Everything that was ever sent: the network may repeat.
    sent: Vec<(NodeId, NodeId, Message)>,
    asked: BTreeSet<RequestId>,
    answered: BTreeSet<RequestId>,
}

/// Follows a trace of nodes with this configuration on this ring: how many steps there were.
///
/// # Errors
///
/// The first step that is none of the model's.
pub fn follow(trace: &[Moved], config: &NodeConfig, ring: &Arc<Ring>) -> Result<usize, Mismatch> {
    let mut follower = Follower {
        config: config.clone(),
        ring: ring.clone(),
        nodes: BTreeMap::new(),
        sent: Vec::new(),
        asked: BTreeSet::new(),
        answered: BTreeSet::new(),
    };
    for (at, moved) in trace.iter().enumerate() {
        follower.step(moved).map_err(|why| Mismatch { at, why })?;
    }
    Ok(trace.len())
}

impl Follower {
    fn step(&mut self, moved: &Moved) -> Result<(), Why> {
        self.is_enabled(moved)?;
        let node = self.nodes.entry(moved.node).or_default();
        let (now, uptime) = (moved.now, moved.uptime);
        let mut step = Step { now, uptime, effects: Effects::default() };
        let event = match moved.given.clone() {
            Given::Crash => {
                node.crash();
                return Ok(());
            }
            Given::Start => {
                let kept = Recovered::replay(node.journal.clone());
                let state = State::start(moved.node, &self.config, &self.ring, kept, &mut step);
                node.state = Some(state);
                None
            }
            Given::Durable(upto) => {
                node.durable = upto;
                None
            }
            Given::Request(id, request) => Some(Event::Request(id, request)),
            Given::Message(from, message) => Some(Event::Message(from, message)),
            Given::Timer(alarm) => Some(Event::Timer(alarm)),
        };
        if let Some(event) = event {
            let state = node.state.as_mut().ok_or(Why::DoesNotRun)?;
            state.handle(event, &mut step);
        }
        let mut effects = step.effects;
        node.gate(&mut effects);
        compare(&effects, &moved.effects)?;
        for (to, message) in effects.messages {
            self.sent.push((moved.node, to, message));
        }
        for (request, _) in effects.replies {
            if !self.answered.insert(request) {
                return Err(Why::AnsweredTwice(request));
            }
        }
        Ok(())
    }

    /// Whether the model allows what the node was given.
    fn is_enabled(&mut self, moved: &Moved) -> Result<(), Why> {
        match &moved.given {
            Given::Start | Given::Crash => Ok(()),
            Given::Request(id, _) => match self.asked.insert(*id) {
                true => Ok(()),
                false => Err(Why::AskedTwice(*id)),
            },
            Given::Message(from, message) => {
                let is_it = |(sender, to, sent): &(NodeId, NodeId, Message)| {
                    sender == from && *to == moved.node && sent == message
                };
                match self.sent.iter().rev().any(is_it) {
                    true => Ok(()),
                    false => Err(Why::NeverSent {
                        from: *from,
                        to: moved.node,
                        message: message.clone(),
                    }),
                }
            }
            Given::Timer(alarm) => {
                let node = self.nodes.entry(moved.node).or_default();
                match node.armed.remove(alarm) {
                    true => Ok(()),
                    false => Err(Why::NotArmed { node: moved.node, alarm: *alarm }),
                }
            }
            Given::Durable(upto) => {
                let node = self.nodes.entry(moved.node).or_default();
                match (node.durable..=node.journal.len() as u64).contains(upto) {
                    true => Ok(()),
                    false => Err(Why::NotDurable { node: moved.node, upto: *upto }),
                }
            }
        }
    }
}

impl Node {
    fn crash(&mut self) {
        let durable = usize::try_from(self.durable).expect("fits");
        self.journal.truncate(durable);
        *self = Self {
            journal: std::mem::take(&mut self.journal),
            durable: self.durable,
            ..Self::default()
        };
    }

    /// Takes a step's entries and timers; holds back, and lets through, what the journal allows.
    fn gate(&mut self, effects: &mut Effects) {
        self.journal.extend(effects.entries.iter().cloned());
        if !effects.entries.is_empty() {
            self.highest = self.journal.len() as u64;
        }
        self.armed.extend(effects.timers.iter().map(|(alarm, _)| *alarm));
        let (messages, replies) =
            (std::mem::take(&mut effects.messages), std::mem::take(&mut effects.replies));
        if !messages.is_empty() || !replies.is_empty() {
            self.gate.push_back(Gated { after: self.highest, messages, replies });
        }
        while self.gate.front().is_some_and(|gated| gated.after <= self.durable) {
            if let Some(Gated { messages, replies, .. }) = self.gate.pop_front() {
                effects.messages.extend(messages);
                effects.replies.extend(replies);
            }
        }
    }
}

fn compare(model: &Effects, recorded: &Effects) -> Result<(), Why> {
    macro_rules! same {
        ($($field:ident),*) => {
            $(if model.$field != recorded.$field {
                let (model, recorded) = (&model.$field, &recorded.$field);
                let (model, recorded) = (format!("{model:?}"), format!("{recorded:?}"));
                return Err(Why::Differs { what: stringify!($field), model, recorded });
            })*
        };
    }
    same!(entries, timers, notes, messages, replies);
    Ok(())
}

/// What happens to a trace so that it is no longer one of the model's: for tests of this check.
pub fn tamper_with_message(trace: &mut [Moved]) -> bool {
    trace.iter_mut().rev().any(|moved| match &mut moved.given {
        Given::Message(
            _,
            Message { body: Body::KeyRequest(KeyRequest::Write { record, .. }), .. },
        ) => {
            record.version.timestamp.0 += 1;
            true
        }
        _ => false,
    })
}

/// As [`tamper_with_message`], with the clock that a put saw.
pub fn tamper_with_clock(trace: &mut [Moved]) -> bool {
    trace.iter_mut().rev().any(|moved| match &moved.given {
        Given::Request(_, Request::Put { .. }) if !moved.effects.entries.is_empty() => {
            moved.now = moved.now.plus(Micros(10_000_000));
            true
        }
        _ => false,
    })
}
