//! What a node does when something happens to it, and what comes of it.

use std::{
    borrow::Cow,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use kv::{
    core::{
        env::{Reply, Request, ShardTimer, TopologyTimer},
        message::{Body, KeyAnswer, Paxos, ShardBody, TopologyBody},
        quorum::Level,
        record::{Record, Version},
        shard::SILENT_ROUNDS,
        types::{NodeId, RequestId},
    },
    node::Alarm,
};
use stateright::{
    actor::{Actor as _, Command, Id, Out},
    semantics::{
        ConsistencyTester as _,
        register::{RegisterOp, RegisterRet},
    },
};

use super::{ClusterModel, Envelope, Hashed, KEY, ModelState, Outcome, broken};
use crate::actor::{CLIENTS, Node, RingInput, Said, State, actor_of, node_of};

thread_local! {
    /// A panic is a violated promise, and is told as such.
    static IS_STEP: Cell<bool> = const { Cell::new(false) };
}

fn quietly(act: impl FnOnce()) -> std::thread::Result<()> {
    IS_STEP.set(true);
    let acted = catch_unwind(AssertUnwindSafe(act));
    IS_STEP.set(false);
    acted
}

/// Lets panics of the core within a step print nothing: a broken invariant is a violated promise.
pub fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !IS_STEP.get() {
            usual(panic);
        }
    }));
}

/// Whether a message may change its receiver, now or later, while that one does not crash.
fn may_matter(receiver: &State, body: &Body) -> bool {
    let State { shard, topology, .. } = receiver;
    let promised = topology.acceptor().promised;
    match body {
        Body::Topology(TopologyBody::Paxos(paxos)) => match paxos {
            // The next ballot of a proposer is above all that it promised, to itself too.
            Paxos::Promise { ballot, .. } | Paxos::Accepted { ballot } => {
                topology.ballot() == Some(*ballot) || promised.is_none_or(|p| p < *ballot)
            }
            // Refused at once: who asked goes on as if it had heard nothing.
            Paxos::Prepare { ballot } | Paxos::Accept { ballot, .. } => {
                promised.is_none_or(|p| p <= *ballot)
            }
            Paxos::Refused { .. } => true,
        },
        Body::Shard(ShardBody::KeyAnswer(answer)) => match answer {
            KeyAnswer::Written { op, newer, .. } => {
                let has_seen = |version: &Version| shard.has_seen(version.timestamp);
                shard.may_await(*op) || !newer.as_ref().is_none_or(has_seen)
            }
            KeyAnswer::Fenced { op } => shard.may_await(*op),
            KeyAnswer::Found { op, record } => {
                let has_seen = |r: &Record| shard.has_seen(r.version.timestamp);
                shard.may_await(*op) || !record.as_ref().is_none_or(has_seen)
            }
        },
        Body::KeyRequest(_) | Body::Shard(_) | Body::Topology(_) | Body::Gossip(_) => true,
    }
}

impl ClusterModel {
    /// Lets a node act, and takes what it does.
    pub(super) fn step(
        &self,
        world: &mut ModelState,
        node: NodeId,
        act: impl FnOnce(&Node, Id, &mut Cow<'_, State>, &mut Out<Node>),
    ) {
        let at = node.0 as usize - 1;
        let mut out = Out::new();
        let before = world.nodes[at].shard.version(KEY);
        let mut state = Cow::Owned((*world.nodes[at]).clone());
        let acted = quietly(|| act(&self.node(at), actor_of(node), &mut state, &mut out));
        if acted.is_err() {
            world.broken = Some(broken::INVARIANT);
            return;
        }
        let state = state.into_owned();
        world.nodes[at] = Hashed::new(state);
        if world.nodes[at].shard.version(KEY) < before {
            world.broken = self.is_broken_by_going_back(world, node, before);
        }
        self.take(world, at, out);
        if self.forgets {
            self.forget_dead_messages(world);
            self.forget_fenced_messages(world);
        }
        if world.has_two_values_of_one_version() {
            world.broken = Some(broken::P9);
        }
    }

    /// What it breaks that a node no longer has this version of the key. No owner may lose it, on its own
    /// ring: and who is none may forget it once each owner of the newest ring has it.
    fn is_broken_by_going_back(
        &self,
        world: &ModelState,
        node: NodeId,
        before: Option<Version>,
    ) -> Option<&'static str> {
        let State { shard, topology, .. } = &*world.nodes[node.0 as usize - 1];
        let ring = topology.ring();
        let is_owner = ring.owners(ring.slot_of(KEY)).position(node).is_some();
        if is_owner || shard.version(KEY).is_some() {
            return Some(broken::P2);
        }
        self.owned(world).any(|held| held < before).then_some(broken::DROPPED)
    }

    /// Drops answers that nobody awaits, and proposals that come too late: their arrival changes nothing,
    /// now or later. That a node which may crash remembers afterwards what it promised, or under which
    /// names it asked, is not to be taken for granted.
    fn forget_dead_messages(&self, world: &mut ModelState) {
        let network = std::mem::take(&mut world.network);
        let may_matter = |envelope: &Hashed<Envelope>| {
            let receiver = &world.nodes[envelope.to.0 as usize - 1];
            self.may_crash(world, envelope.to) || may_matter(receiver, &envelope.message.body)
        };
        world.network = network.into_iter().filter(may_matter).collect();
    }

    /// Drops messages of older epochs than that of their receiver, once it is seen that they do nothing:
    /// epochs only grow, so they never will. That a crash makes none forget its epoch is not taken for
    /// granted.
    pub(super) fn forget_fenced_messages(&self, world: &mut ModelState) {
        let network = std::mem::take(&mut world.network);
        let does_something = |envelope: &Hashed<Envelope>| {
            let at = envelope.to.0 as usize - 1;
            let is_old = envelope.message.epoch < world.nodes[at].shard.epoch();
            !is_old
                || self.may_crash(world, envelope.to)
                || !self.is_ignored(world, envelope, |one, other| one == other)
        };
        world.network = network.into_iter().filter(does_something).collect();
    }

    /// Whether a message leaves its receiver the same, and is not answered by anything that is sent here.
    pub(super) fn is_ignored(
        &self,
        world: &ModelState,
        envelope: &Envelope,
        is_same: fn(&State, &State) -> bool,
    ) -> bool {
        let at = envelope.to.0 as usize - 1;
        let before = &*world.nodes[at];
        let (mut out, mut state) = (Out::new(), Cow::Owned(before.clone()));
        let (id, from) = (actor_of(envelope.to), actor_of(envelope.from));
        let said = Said::Peer(envelope.message.clone());
        let acted = quietly(|| self.node(at).on_msg(id, &mut state, from, said, &mut out));
        let is_silent = out.into_iter().all(|command| match command {
            Command::Send(_, Said::Peer(message)) => !(self.setup.speaks)(&message.body),
            // Rings are learned by [`Action::Learn`].
            Command::SetTimer(Alarm::Topology(TopologyTimer::Fetch), _) => true,
            _ => false,
        });
        acted.is_ok() && is_silent && is_same(&state, before)
    }

    pub(super) fn take(&self, world: &mut ModelState, at: usize, out: Out<Node>) {
        for command in out {
            match command {
                Command::Send(to, Said::Peer(message)) => {
                    let to_nobody = usize::from(to) >= self.setup.clocks.len()
                        || self.setup.dead.contains(&node_of(to));
                    if to_nobody || !(self.setup.speaks)(&message.body) {
                        continue;
                    }
                    let (from, to) = (node_of(Id::from(at)), node_of(to));
                    world.insert(Hashed::new(Envelope { from, to, message }));
                }
                Command::Send(_, Said::Answer(request, reply)) => {
                    self.answered(world, at, request, reply)
                }
                Command::SetTimer(timer, _) => {
                    world.timers[at].insert(timer);
                }
                Command::Send(_, Said::Ask(..) | Said::Change(_))
                | Command::CancelTimer(_)
                | Command::ChooseRandom(..)
                | Command::Save(_) => {
                    unreachable!("nodes do none of this")
                }
            }
        }
    }

    pub(super) fn ask(&self, world: &mut ModelState, client: usize) {
        let Some(mut ask) = self.next_ask(world, client).cloned() else { return };
        let number = world.clients[client].outcomes.len();
        let needs = match &mut ask.request {
            Request::Get { level, .. } | Request::Put { level, .. } if level.is_majority() => {
                world.newest_ended(self)
            }
            // As a connection does, with room for all keys.
            Request::Get { level: Level::Session, at_least, .. } => {
                let seen = world.clients[client].outcomes.iter().filter_map(Outcome::version).max();
                *at_least = seen;
                seen
            }
            Request::Get { .. } | Request::Put { .. } | Request::Restore { .. } => None,
        };
        world.clients[client].waiting = Some(needs);
        if let Some((tester, _)) = &mut world.history {
            let mut told = (**tester).clone();
            let op = match &ask.request {
                Request::Put { value, .. } => RegisterOp::Write(value.clone()),
                Request::Get { .. } => RegisterOp::Read,
                Request::Restore { .. } => unreachable!("no model restores a backup"),
            };
            told.on_invoke((client, number), op).expect("a client asks one thing at a time");
            *tester = Hashed::new(told);
        }
        let request = RequestId((client as u64) << 8 | number as u64);
        self.step(world, ask.node, |node, id, state, out| {
            node.on_msg(id, state, Id::from(CLIENTS), Said::Ask(request, ask.request), out);
        });
    }

    fn answered(&self, world: &mut ModelState, at: usize, request: RequestId, reply: Reply) {
        let client = usize::try_from(request.0 >> 8).expect("few clients");
        let number = usize::try_from(request.0 & 0xff).expect("few requests");
        // A node that crashed cannot answer: its client has gone on.
        let is_awaited = world.clients[client].outcomes.len() == number;
        let Some(needs) = world.clients[client].waiting.take_if(|_| is_awaited) else { return };
        if let Reply::Written(version) = &reply
            && Some(*version) <= needs
        {
            world.broken = Some(broken::P6);
        }
        if let Reply::Found(record) = &reply {
            if record.as_ref().map(|record| record.version) < needs {
                let level = self.setup.plans[client][number].request.level();
                let is_session = level == Level::Session;
                world.broken = Some(if is_session { broken::P7 } else { broken::P3_P4 });
            }
            if !self.was_written(world, record.as_ref()) {
                world.broken = Some(broken::P0);
            }
        }
        if let Some((tester, agrees)) = &mut world.history {
            let answer = match &reply {
                Reply::Written(_) => Some(RegisterRet::WriteOk),
                Reply::Found(found) => Some(RegisterRet::ReadOk(
                    found.as_ref().and_then(|record| record.value.clone()),
                )),
                // It may have happened, or may happen still: it stays open.
                Reply::Failed(_) => None,
            };
            if let Some(answer) = answer {
                let mut told = (**tester).clone();
                told.on_return((client, number), answer).expect("it was asked");
                *agrees = *agrees && told.is_consistent();
                *tester = Hashed::new(told);
            }
        }
        // A step takes a node to one ring at most, and answers come after that.
        let epoch = world.nodes[at].shard.epoch();
        world.clients[client].outcomes.push(Outcome::Answered { reply, epoch });
    }

    /// Whether a request wrote what was found.
    pub(super) fn was_written(&self, world: &ModelState, found: Option<&Record>) -> bool {
        let Some(record) = found else { return true };
        world.clients.iter().zip(&self.setup.plans).any(|(client, plan)| {
            let begun = client.outcomes.len() + usize::from(client.waiting.is_some());
            plan.iter().take(begun).enumerate().any(|(number, ask)| {
                let failed = |outcome: &Outcome| match outcome {
                    Outcome::Answered { reply: Reply::Failed(failure), .. } => {
                        failure.is_definite()
                    }
                    Outcome::Answered { .. } | Outcome::Unknown => false,
                };
                let is_it =
                    matches!(&ask.request, Request::Put { value, .. } if *value == record.value);
                is_it && !client.outcomes.get(number).is_some_and(failed)
            })
        })
    }

    pub(super) fn crash(&self, world: &mut ModelState, node: NodeId) {
        let at = node.0 as usize - 1;
        world.timers[at].clear();
        for (client, plan) in world.clients.iter_mut().zip(&self.setup.plans) {
            let asked = plan.get(client.outcomes.len()).is_some_and(|ask| ask.node == node);
            if asked && client.waiting.take().is_some() {
                client.outcomes.push(Outcome::Unknown);
            }
        }
        self.step(world, node, |node, id, state, out| {
            let kept = state.kept.clone();
            *state = Cow::Owned(node.on_start(id, &Some(kept), out));
        });
    }

    pub(super) fn fire(&self, world: &mut ModelState, node: NodeId, timer: Alarm) {
        // One firing stands for as many as it takes until an owner counts as silent, or until a proposer
        // that heard another takes its turn.
        let times = match timer {
            Alarm::Shard(_, ShardTimer::Pull) => SILENT_ROUNDS,
            Alarm::Topology(TopologyTimer::Propose) => 2,
            Alarm::Shard(..) | Alarm::Topology(_) | Alarm::Detector => 1,
        };
        for turn in 0..times {
            let proposes = world.nodes[node.0 as usize - 1].topology.ballot().is_some();
            if turn > 0 && timer == Alarm::Topology(TopologyTimer::Propose) && proposes {
                break;
            }
            world.timers[node.0 as usize - 1].remove(&timer);
            self.step(world, node, |node, id, state, out| node.on_timeout(id, state, &timer, out));
        }
    }

    pub(super) fn tell(&self, world: &mut ModelState, node: NodeId, input: RingInput) {
        self.step(world, node, |node, id, state, out| {
            node.on_msg(id, state, Id::from(CLIENTS), Said::Change(input), out);
        });
    }

    pub(super) fn deliver(&self, world: &mut ModelState, envelope: &Envelope) {
        let from = actor_of(envelope.from);
        let said = Said::Peer(envelope.message.clone());
        self.step(world, envelope.to, |node, id, state, out| {
            node.on_msg(id, state, from, said, out)
        });
    }
}
