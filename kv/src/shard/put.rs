//! The coordinator of a put: to all owners at once, answered when enough of them have it durably.

use super::{Pending, Shard};
use crate::{
    env::{Env, Failure, Note, Reply},
    message::Body,
    quorum::{Level, Tally},
    record::{Record, Version},
    types::{Key, NodeId, OpId, RequestId, Slot, Value},
};

/// A put under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Put {
    pub(super) request: RequestId,
    key: Key,
    record: Record,
    level: Level,
    /// Who acknowledged, at the epoch at which this round began.
    acknowledged: Tally,
    /// How often the hedge timer found it unfinished.
    hedges: u32,
}

impl Shard {
    pub(super) fn put(
        &mut self,
        request: RequestId,
        key: Key,
        value: Option<Value>,
        level: Level,
        env: &mut impl Env,
    ) {
        if self.guard.check_for_jump(env) {
            env.note(Note::ClockJumped);
            self.probe(env);
        }
        if !self.guard.allows_writes(self.peers(), &self.clock, env) {
            env.note(Note::ClockRefused);
            env.reply(request, Reply::Failed(Failure::Clock));
            return;
        }
        let version = Version { timestamp: self.clock.issue(env), node: self.config.node };
        let record = Record { version, value };
        let slot = self.ring.slot_of(key.as_str());
        let acknowledged = Tally::new(self.ring.owners(slot).clone());
        let op = self.issue_op();
        let put = Put { request, key, record, level, acknowledged, hedges: 0 };
        self.begin_round(op, slot, put, env);
    }

    /// Begins anew on the ring that we have now. A put that began on an older ring keeps its
    /// version and forgets who acknowledged it.
    pub(super) fn begin_put(&mut self, op: OpId, mut put: Put, env: &mut impl Env) {
        let slot = self.ring.slot_of(put.key.as_str());
        put.acknowledged = Tally::new(self.ring.owners(slot).clone());
        self.begin_round(op, slot, put, env);
    }

    fn begin_round(&mut self, op: OpId, slot: Slot, mut put: Put, env: &mut impl Env) {
        if put.acknowledged.owners().position(self.config.node).is_some() {
            self.merge(slot, &put.key, &put.record, env);
            put.acknowledged.count(self.config.node);
        }
        self.send_put(op, &put, env);
        if !Self::answer_put(&put, env) {
            self.keep(op, Pending::Put(put), env);
        }
    }

    /// An owner has it.
    pub(super) fn written(&mut self, from: NodeId, op: OpId, env: &mut impl Env) {
        let answered = match self.pending.get_mut(&op) {
            Some(Pending::Put(put)) => {
                put.acknowledged.count(from);
                Self::answer_put(put, env)
            }
            Some(Pending::Get(get)) => get.repaired(from, env),
            None => {
                env.note(Note::LateAnswer);
                false
            }
        };
        if answered {
            self.pending.remove(&op);
        }
    }

    fn answer_put(put: &Put, env: &mut impl Env) -> bool {
        let enough = put.acknowledged.meets(put.level);
        if enough {
            env.reply(put.request, Reply::Written(put.record.version));
        }
        enough
    }

    /// Sends again to whom is silent, ever more rarely.
    pub(super) fn hedge_put(&mut self, op: OpId, put: &mut Put, env: &mut impl Env) {
        put.hedges += 1;
        if put.hedges.is_power_of_two() {
            env.note(Note::WriteHedged);
            self.send_put(op, put, env);
        }
    }

    fn send_put(&self, op: OpId, put: &Put, env: &mut impl Env) {
        for owner in put.acknowledged.missing() {
            let (key, record) = (put.key.clone(), put.record.clone());
            self.send(owner, Body::Write { op, key, record }, env);
        }
    }
}
