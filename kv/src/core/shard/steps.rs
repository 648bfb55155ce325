//! One step of a shard: which part of it an input is for, and what all parts have to do with a newer ring, a
//! pause, and requests that are late.

use std::sync::Arc;

use super::{
    config::Input,
    gives::Gives,
    pulls::Pulls,
    state::{Pending, Shard},
};
use crate::core::{
    env::{Env, Failure, Note, Reply, Request, ShardTimer},
    message::{KeyAnswer, KeyRequest, Message, ShardBody, SlotsAnswer, SlotsRequest},
    ring::{MemberState, Ring},
    types::{Epoch, NodeId, OpId, RequestId, Slot},
};

impl Shard {
    /// The first step.
    pub fn start(&mut self, env: &mut impl Env) {
        self.sync.ticked = env.uptime();
        if self.config.sync_every.0 > 0 {
            env.set_timer(ShardTimer::Sync, self.config.sync_every);
        }
        if self.guard.is_on() {
            self.guard.check_for_jump(env);
            self.probe(env);
            env.set_timer(ShardTimer::Probe, self.probe_after());
        }
        self.begin_moves(env);
    }

    /// One step.
    pub fn handle(&mut self, input: Input, env: &mut impl Env) {
        match input {
            Input::Request(id, slot, request) => self.request(id, slot, request, env),
            Input::KeyRequest(from, slot, Message { epoch, body }) => {
                if self.same_epoch(from, epoch, Some(body.op()), env) {
                    self.key_request(from, slot, body, env);
                }
            }
            Input::Message(from, message) => self.message(from, message, env),
            Input::Timer(timer) => self.timer(timer, env),
            Input::Ring(ring) => self.adopt(ring, env),
            Input::Paused => self.paused(env),
        }
    }

    fn request(&mut self, id: RequestId, slot: Slot, request: Request, env: &mut impl Env) {
        if self.pending.len() >= self.config.max_in_flight {
            env.note(Note::Busy);
            env.reply(id, Reply::Failed(Failure::Busy));
            return;
        }
        match request {
            Request::Put { key, value, level } => self.put(id, (key, slot), value, level, env),
            Request::Get { key, level, at_least } => {
                self.get(id, (key, slot), level, at_least, env)
            }
            Request::Restore { key, record, level } => {
                self.put_back(id, (key, slot), record, level, env);
            }
        }
    }

    fn message(&mut self, from: NodeId, message: Message<ShardBody>, env: &mut impl Env) {
        let Message { epoch, body } = message;
        match body {
            // Time and merges are good at any epoch: nobody counts them.
            ShardBody::Probe { shard, sent } => {
                let now = env.now();
                self.send(from, ShardBody::ProbeReply { shard, sent, now }, env);
            }
            ShardBody::ProbeReply { shard: _, sent, now } => self.probed(from, sent, now, env),
            ShardBody::Delta { slot, records } => self.delta(slot, records, env),
            // The rest only among those who have the same ring.
            ShardBody::KeyAnswer(answer) => {
                if self.same_epoch(from, epoch, None, env) {
                    self.key_answer(from, answer, env);
                }
            }
            ShardBody::SlotsRequest { shard, request } => {
                if self.same_epoch(from, epoch, None, env) {
                    self.slots_request(from, shard, request, env);
                }
            }
            ShardBody::SlotsAnswer { shard: _, answer } => {
                if self.same_epoch(from, epoch, None, env) {
                    self.slots_answer(from, answer, env);
                }
            }
        }
    }

    fn key_request(&mut self, from: NodeId, slot: Slot, request: KeyRequest, env: &mut impl Env) {
        match request {
            KeyRequest::Write { op, again, key, record } => {
                self.replica_write(from, (op, again), (&key, slot), &record, env);
            }
            KeyRequest::Read { op, key } => self.replica_read(from, op, (&key, slot), env),
        }
    }

    fn key_answer(&mut self, from: NodeId, answer: KeyAnswer, env: &mut impl Env) {
        match answer {
            KeyAnswer::Written { op, again, newer } => {
                self.written(from, op, (again, newer), env);
            }
            KeyAnswer::Found { op, record } => self.found(from, op, record, env),
            // At our epoch nobody fences us.
            KeyAnswer::Fenced { op: _ } => {}
        }
    }

    fn slots_request(
        &mut self,
        from: NodeId,
        shard: u16,
        request: SlotsRequest,
        env: &mut impl Env,
    ) {
        match request {
            SlotsRequest::Digests { shards, pass, digests } => {
                self.compare_digests(from, (shard, shards), pass, &digests, env);
            }
            SlotsRequest::Versions { pass, ranges } => {
                self.compare_versions(from, shard, pass, ranges, env);
            }
            SlotsRequest::Pull { lacks } => self.pulled_from(from, shard, lacks, env),
            SlotsRequest::Offer { ranges } => self.offered(from, shard, ranges, env),
        }
    }

    fn slots_answer(&mut self, from: NodeId, answer: SlotsAnswer, env: &mut impl Env) {
        match answer {
            SlotsAnswer::Differ { pass, part, parts, slots } => {
                self.differ(from, pass, (part, parts), slots, env);
            }
            SlotsAnswer::Newer { pass, parts } => self.newer(from, pass, parts, env),
            SlotsAnswer::Pulled { parts } => self.pulled(from, parts, env),
            SlotsAnswer::Wanted { wants } => self.wanted(from, wants, env),
        }
    }

    /// The fence. Requests of an earlier epoch are refused, and answers of one are not counted.
    /// Those of a later epoch are dropped: the topology fetches the ring, and the sender asks again.
    fn same_epoch(
        &self,
        from: NodeId,
        epoch: Epoch,
        refused: Option<OpId>,
        env: &mut impl Env,
    ) -> bool {
        if epoch > self.ring.epoch() {
            env.note(Note::Behind);
        } else if epoch < self.ring.epoch()
            && let Some(op) = refused
        {
            env.note(Note::Fenced);
            self.send(from, KeyAnswer::Fenced { op }, env);
        }
        epoch == self.ring.epoch()
    }

    fn timer(&mut self, timer: ShardTimer, env: &mut impl Env) {
        match timer {
            ShardTimer::Hedge => self.sweep_hedge(env),
            ShardTimer::Timeout => self.sweep_timeout(env),
            ShardTimer::Sync => {
                self.sync_tick(env);
                env.set_timer(ShardTimer::Sync, self.config.sync_every);
            }
            ShardTimer::Probe => {
                if self.guard.check_for_jump(env) {
                    env.note(Note::ClockJumped);
                }
                self.probe(env);
                env.set_timer(ShardTimer::Probe, self.probe_after());
            }
            ShardTimer::Pull => self.move_on(env),
        }
    }

    /// On a ring that is new here: what it asks of this shard. Whatever an older ring asked is void.
    fn begin_moves(&mut self, env: &mut impl Env) {
        self.pulls = Pulls::of(&self.ring, &self.config);
        self.gives = Gives::of(&self.ring, &self.config, &self.store);
        self.told = false;
        if !self.moves {
            self.move_on(env);
        }
        self.tell_if_synced(env);
    }

    /// The next round of pulls and offers.
    fn move_on(&mut self, env: &mut impl Env) {
        self.pull_round(env);
        self.give_round(env);
        self.moves = !self.pulls.is_empty() || self.gives.len() > 0;
        if self.moves {
            env.set_timer(ShardTimer::Pull, self.config.pull_every);
        }
    }

    /// Tells the topology once all that a joint ring asks for is done.
    pub(super) fn tell_if_synced(&mut self, env: &mut impl Env) {
        let state = self.ring.members().get(&self.config.node).map(|member| member.state);
        let is_leaving = state == Some(MemberState::Leaving);
        let has_handed_over = !is_leaving || self.gives.is_handed_over();
        if self.ring.is_joint() && !self.told && self.pulls.is_empty() && has_handed_over {
            self.told = true;
            env.synced(self.ring.epoch());
        }
    }

    /// Goes over to a newer ring: requests under way begin anew, with the version that they have.
    fn adopt(&mut self, ring: Arc<Ring>, env: &mut impl Env) {
        if ring.epoch() <= self.ring.epoch() {
            return;
        }
        self.ring = ring;
        let ring = &self.ring;
        self.guard.retain(|node| ring.members().contains_key(&node));
        self.sync.forget();
        // Writes need not be refused until the next look at the clocks.
        if self.guard.is_on() && !self.has_measured_clocks() {
            self.probe(env);
        }
        for (op, pending) in std::mem::take(&mut self.pending) {
            env.note(Note::Restarted);
            match pending {
                Pending::Put(put) => self.begin_put(op, put, env),
                Pending::Get(get) => self.begin_get(op, get, env),
            }
        }
        self.begin_moves(env);
    }

    fn sweep_hedge(&mut self, env: &mut impl Env) {
        let Some(before) = self.hedge.fired() else { return };
        let mut pending = std::mem::take(&mut self.pending);
        for (op, pending) in pending.range_mut(..before) {
            match pending {
                Pending::Put(put) => self.hedge_put(*op, put, env),
                Pending::Get(get) => self.hedge_get(*op, get, env),
            }
        }
        self.pending = pending;
        let (next, is_idle, period) = (self.next_op, self.pending.is_empty(), self.hedge_after());
        self.hedge.rearm(next, is_idle, period, env);
    }

    fn sweep_timeout(&mut self, env: &mut impl Env) {
        let Some(before) = self.timeout.fired() else { return };
        let young = self.pending.split_off(&before);
        for (_, pending) in std::mem::replace(&mut self.pending, young) {
            give_up(&pending, env);
        }
        let (next, is_idle) = (self.next_op, self.pending.is_empty());
        self.timeout.rearm(next, is_idle, self.config.request_timeout, env);
    }

    /// A write that gets a version now would beat what was acknowledged during the pause: those that have none
    /// yet, or may get another one, are given up. Whatever else is under way has the version of before.
    fn paused(&mut self, env: &mut impl Env) {
        let awaits_version =
            |pending: &mut Pending| matches!(pending, Pending::Put(put) if put.awaits_version());
        let awaiting: Vec<_> = self.pending.extract_if(.., |_, p| awaits_version(p)).collect();
        for (_, pending) in awaiting {
            give_up(&pending, env);
        }
    }
}

fn give_up(pending: &Pending, env: &mut impl Env) {
    let (request, (failure, note)) = match pending {
        Pending::Put(put) => (put.request, put.given_up()),
        Pending::Get(get) => (get.request, (Failure::Timeout, get.timeout_note())),
    };
    env.note(note);
    env.reply(request, Reply::Failed(failure));
}
