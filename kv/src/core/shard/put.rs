//! The coordinator of a put: to all owners at once, answered when enough of them have it durably.
//!
//! Of two puts, one after the other, the later one is to win, whatever the clocks of their coordinators say. At
//! LINEARIZABLE a majority of the owners tells its versions first, so that the put's own is larger. At QUORUM and ALL
//! the put has a version at once, and owners that acknowledge it tell what they hold that is newer. If any of those
//! that were waited for did, the put is issued again, above all that was told. Once is enough: a majority has told, so
//! what was acknowledged by a majority before the put began is older now, and whatever is newer still was written
//! at the same time.
//!
//! Source: Attiya, Bar-Noy and Dolev, "Sharing Memory Robustly in Message-Passing Systems"
//! (1995), with several writers as in Lynch and Shvartsman, "Robust Emulation of Shared Memory" (1997).

use super::{
    requests::{Issue, Put, PutPhase},
    state::{Pending, Shard},
};
use crate::core::{
    env::{Env, Failure, Note, Reply},
    message::KeyRequest,
    quorum::{Level, Tally},
    record::{Record, Version},
    types::{Key, NodeId, OpId, RequestId, Slot, Value},
};

impl Shard {
    pub(super) fn put(
        &mut self,
        request: RequestId,
        (key, slot): (Key, Slot),
        value: Option<Value>,
        level: Level,
        env: &mut impl Env,
    ) {
        let answered = Tally::new(self.ring.owners(slot).clone());
        let phase = PutPhase::Asking { value, answered };
        let put = Put { request, key, slot, level, phase, hedges: 0 };
        let op = self.issue_op();
        if level == Level::Linearizable {
            self.ask_versions(op, put, env);
        } else {
            self.write(op, put, env);
        }
    }

    /// A record of a backup goes to all owners with the version that it has.
    pub(super) fn put_back(
        &mut self,
        request: RequestId,
        (key, slot): (Key, Slot),
        record: Record,
        level: Level,
        env: &mut impl Env,
    ) {
        let doubt = self.guard.judge(self.peers(), &self.clock, env);
        let doubt = doubt.and_then(|()| self.guard.judge_record(record.version.timestamp, env));
        if let Err(doubt) = doubt {
            env.note(Note::ClockRefused);
            env.reply(request, Reply::Failed(Failure::Clock(doubt)));
            return;
        }
        let acknowledged = Tally::new(self.ring.owners(slot).clone());
        // It has its only version: what is newer stays newer.
        let phase = PutPhase::Writing { record, acknowledged, issue: Issue::Again };
        let put = Put { request, key, slot, level, phase, hedges: 0 };
        let op = self.issue_op();
        self.begin_writing(op, put, env);
    }

    /// Begins anew on the ring that we have now. A put that has a version keeps it; all that was told
    /// at an older epoch is forgotten.
    pub(super) fn begin_put(&mut self, op: OpId, mut put: Put, env: &mut impl Env) {
        let nobody = Tally::new(self.ring.owners(put.slot).clone());
        match &mut put.phase {
            PutPhase::Asking { answered, .. } => {
                *answered = nobody;
                self.ask_versions(op, put, env);
            }
            PutPhase::Writing { acknowledged, .. } => {
                *acknowledged = nobody;
                self.begin_writing(op, put, env);
            }
        }
    }

    fn ask_versions(&mut self, op: OpId, mut put: Put, env: &mut impl Env) {
        if let PutPhase::Asking { answered, .. } = &mut put.phase {
            // What this node holds is not later than its clock: it need not be looked at.
            answered.count(self.config.node);
            if answered.meets(put.level) {
                self.write(op, put, env);
                return;
            }
        }
        self.send_put(op, &put, env);
        self.keep(op, Pending::Put(put), env);
    }

    /// An owner told its version, and the clock noted it.
    pub(super) fn version_told(
        &mut self,
        from: NodeId,
        op: OpId,
        mut put: Put,
        env: &mut impl Env,
    ) {
        let PutPhase::Asking { answered, .. } = &mut put.phase else {
            env.note(Note::LateAnswer);
            self.pending.insert(op, Pending::Put(put));
            return;
        };
        answered.count(from);
        if answered.meets(put.level) {
            put.hedges = 0;
            self.write(op, put, env);
        } else {
            self.pending.insert(op, Pending::Put(put));
        }
    }

    /// Issues the first version, and begins to write.
    fn write(&mut self, op: OpId, mut put: Put, env: &mut impl Env) {
        if self.guard.check_for_jump(env) {
            env.note(Note::ClockJumped);
            self.probe(env);
        }
        if let Err(doubt) = self.guard.judge(self.peers(), &self.clock, env) {
            env.note(Note::ClockRefused);
            env.reply(put.request, Reply::Failed(Failure::Clock(doubt)));
            return;
        }
        if let PutPhase::Asking { value, answered } = &mut put.phase {
            let version = Version { timestamp: self.clock.issue(env), node: self.config.node };
            let record = Record { version, value: value.take() };
            let acknowledged = Tally::new(answered.owners().clone());
            put.phase = PutPhase::Writing { record, acknowledged, issue: Issue::First };
        }
        self.begin_writing(op, put, env);
    }

    fn begin_writing(&mut self, op: OpId, mut put: Put, env: &mut impl Env) {
        let me = self.config.node;
        if let PutPhase::Writing { record, acknowledged, issue } = &put.phase
            && acknowledged.owners().position(me).is_some()
        {
            let again = *issue == Issue::Again;
            let newer = self.store_write(put.slot, &put.key, record, env);
            put.acknowledge(me, again, newer.is_some());
        }
        self.send_put(op, &put, env);
        match put.is_acknowledged() {
            true => self.end_put(op, put, env),
            false => self.keep(op, Pending::Put(put), env),
        }
    }

    /// An owner has it, and perhaps something newer.
    pub(super) fn written(
        &mut self,
        from: NodeId,
        op: OpId,
        (again, newer): (bool, Option<Version>),
        env: &mut impl Env,
    ) {
        if let Some(newer) = newer {
            self.clock.observe(newer.timestamp, env);
        }
        let is_over = match self.pending.get_mut(&op) {
            Some(Pending::Put(put)) => {
                if !put.acknowledge(from, again, newer.is_some()) {
                    env.note(Note::LateAnswer);
                }
                put.is_acknowledged()
            }
            Some(Pending::Get(get)) => get.repaired(from, env),
            None => {
                env.note(Note::LateAnswer);
                false
            }
        };
        if is_over && let Some(Pending::Put(put)) = self.pending.remove(&op) {
            self.end_put(op, put, env);
        }
    }

    /// Enough owners have it: answers, or issues it again where something newer was told.
    ///
    /// The second version is just above all that this node has seen, and so above all that was told. The wall clock is
    /// not read for it, so the guard need not judge that: however far ahead of time the version is, some owner holds
    /// one that is as far ahead.
    fn end_put(&mut self, op: OpId, mut put: Put, env: &mut impl Env) {
        let PutPhase::Writing { record, acknowledged, issue } = &mut put.phase else { return };
        if *issue != Issue::Beaten {
            env.reply(put.request, Reply::Written(record.version));
            return;
        }
        env.note(Note::WriteReissued);
        record.version.timestamp = self.clock.issue_next(env);
        *acknowledged = Tally::new(acknowledged.owners().clone());
        *issue = Issue::Again;
        put.hedges = 0;
        self.begin_writing(op, put, env);
    }

    /// Sends again to whom is silent, ever more rarely.
    pub(super) fn hedge_put(&mut self, op: OpId, put: &mut Put, env: &mut impl Env) {
        put.hedges += 1;
        if put.hedges.is_power_of_two() {
            env.note(match put.phase {
                PutPhase::Asking { .. } => Note::VersionsHedged,
                PutPhase::Writing { .. } => Note::WriteHedged,
            });
            self.send_put(op, put, env);
        }
    }

    /// Asks, or tells, all owners that did not answer.
    fn send_put(&self, op: OpId, put: &Put, env: &mut impl Env) {
        match &put.phase {
            PutPhase::Asking { answered, .. } => {
                for owner in answered.missing() {
                    self.send(owner, KeyRequest::Read { op, key: put.key.clone() }, env);
                }
            }
            PutPhase::Writing { record, acknowledged, issue } => {
                let again = *issue == Issue::Again;
                for owner in acknowledged.missing() {
                    let (key, record) = (put.key.clone(), record.clone());
                    self.send(owner, KeyRequest::Write { op, again, key, record }, env);
                }
            }
        }
    }
}
