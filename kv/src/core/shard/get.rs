//! The coordinator of a get: asks as many owners as the level needs, and, where they differ, writes
//! the newest record back to a majority before it answers (blocking read repair), so that no later
//! read at QUORUM can find an older one.
//!
//! At ONE and SESSION one owner is asked. At SESSION its answer counts only when it is not older than
//! what the connection saw; else the next owner is asked, until none is left.
//!
//! Source: Attiya, Bar-Noy and Dolev, "Sharing Memory Robustly in Message-Passing Systems" (1995),
//! the write-back of the reader; Terry et al., "Session Guarantees for Weakly Consistent Replicated
//! Data" (1994).

use super::{
    requests::{Get, GetPhase},
    state::{Pending, Shard},
};
use crate::core::{
    env::{Env, Failure, Note, Reply},
    message::KeyRequest,
    quorum::{Level, Tally},
    record::{Record, Version},
    types::{Key, NodeId, OpId, RequestId, Slot},
};

impl Shard {
    pub(super) fn get(
        &mut self,
        request: RequestId,
        (key, slot): (Key, Slot),
        level: Level,
        at_least: Option<Version>,
        env: &mut impl Env,
    ) {
        let op = self.issue_op();
        let answered = Tally::new(self.ring.owners(slot).clone());
        let phase = GetPhase::Asking { answered, versions: Vec::new(), newest: None };
        let get = Get { request, key, slot, level, at_least, phase, hedges: 0 };
        self.begin_round_of_reads(op, get, env);
    }

    /// Begins anew on the ring that we have now: all answers of an older ring are forgotten.
    pub(super) fn begin_get(&mut self, op: OpId, mut get: Get, env: &mut impl Env) {
        let answered = Tally::new(self.ring.owners(get.slot).clone());
        get.phase = GetPhase::Asking { answered, versions: Vec::new(), newest: None };
        self.begin_round_of_reads(op, get, env);
    }

    fn begin_round_of_reads(&mut self, op: OpId, mut get: Get, env: &mut impl Env) {
        let me = self.config.node;
        let is_owner = match &get.phase {
            GetPhase::Asking { answered, .. } => answered.owners().position(me).is_some(),
            GetPhase::Repairing { .. } => false,
        };
        if is_owner {
            let own = self.store.get(get.key.as_str());
            Self::take_answer(&mut get, self.config.node, own, env);
        }
        if self.answer_get(op, &mut get, env) {
            return;
        }
        if let GetPhase::Asking { answered, .. } = &get.phase {
            for owner in answered.to_ask(get.level, first_choice(op)) {
                self.send(owner, KeyRequest::Read { op, key: get.key.clone() }, env);
            }
        }
        self.keep(op, Pending::Get(get), env);
    }

    /// An owner answered.
    pub(super) fn found(
        &mut self,
        from: NodeId,
        op: OpId,
        record: Option<Record>,
        env: &mut impl Env,
    ) {
        if let Some(record) = &record {
            self.clock.observe(record.version.timestamp, env);
        }
        let mut get = match self.pending.remove(&op) {
            Some(Pending::Get(get)) => get,
            Some(Pending::Put(put)) => return self.version_told(from, op, put, env),
            None => return env.note(Note::LateAnswer),
        };
        Self::take_answer(&mut get, from, record, env);
        if !self.answer_get(op, &mut get, env) {
            self.pending.insert(op, Pending::Get(get));
        }
    }

    fn take_answer(get: &mut Get, from: NodeId, record: Option<Record>, env: &mut impl Env) {
        match &mut get.phase {
            GetPhase::Asking { answered, versions, newest } => {
                if answered.count(from) {
                    versions.push((from, record.as_ref().map(|record| record.version)));
                    *newest = match (newest.take(), record) {
                        (Some(one), Some(other)) => Some(one.merge(other)),
                        (one, other) => one.or(other),
                    };
                }
            }
            // Too late to be asked, but who holds the record need not be sent it.
            GetPhase::Repairing { record: newest, holding } => {
                env.note(Note::LateAnswer);
                if record.is_some_and(|record| record.version == newest.version) {
                    holding.count(from);
                }
            }
        }
    }

    /// Answers, or goes on to the write-back, when enough owners answered. True when it is over.
    fn answer_get(&mut self, op: OpId, get: &mut Get, env: &mut impl Env) -> bool {
        match &mut get.phase {
            GetPhase::Asking { answered, versions, newest } => {
                if !answered.meets_for_read(get.level) {
                    return false;
                }
                if get.level == Level::Session
                    && newest.as_ref().map(|record| record.version) < get.at_least
                {
                    return self.ask_next(op, get, env);
                }
                let newest = newest.take();
                // Where all agree, as they mostly do, those who answered are the holders, and as many
                // as the level asks for: nothing is to be repaired.
                let version = newest.as_ref().map(|record| record.version);
                if !get.level.is_majority() || versions.iter().all(|(_, other)| *other == version) {
                    env.reply(get.request, Reply::Found(newest));
                    return true;
                }
                let holding = Self::holders(answered, versions, newest.as_ref());
                let needs_repair = !holding.meets(Level::Quorum);
                let Some(record) = newest.clone().filter(|_| needs_repair) else {
                    env.reply(get.request, Reply::Found(newest));
                    return true;
                };
                env.note(Note::ReadRepaired);
                let stale: Vec<NodeId> = (versions.iter().map(|(node, _)| *node))
                    .filter(|node| !holding.has(*node))
                    .collect();
                self.write_back(op, get, record, holding, stale, env)
            }
            GetPhase::Repairing { record, holding } => {
                let enough = holding.meets(Level::Quorum);
                if enough {
                    env.reply(get.request, Reply::Found(Some(record.clone())));
                }
                enough
            }
        }
    }

    /// At SESSION, when all answers are older than what the connection saw. True when it is over.
    fn ask_next(&self, op: OpId, get: &Get, env: &mut impl Env) -> bool {
        let GetPhase::Asking { answered, .. } = &get.phase else { return false };
        match answered.next_old(first_choice(op)) {
            Some(owner) => {
                env.note(Note::SessionBehind);
                self.send(owner, KeyRequest::Read { op, key: get.key.clone() }, env);
                false
            }
            None => {
                env.note(Note::SessionStale);
                env.reply(get.request, Reply::Failed(Failure::Stale));
                true
            }
        }
    }

    /// Who of those that answered has the newest version.
    fn holders(
        answered: &Tally,
        versions: &[(NodeId, Option<Version>)],
        newest: Option<&Record>,
    ) -> Tally {
        let mut holding = Tally::new(answered.owners().clone());
        for (node, version) in versions {
            if *version == newest.map(|record| record.version) {
                holding.count(*node);
            }
        }
        holding
    }

    fn write_back(
        &mut self,
        op: OpId,
        get: &mut Get,
        record: Record,
        mut holding: Tally,
        stale: Vec<NodeId>,
        env: &mut impl Env,
    ) -> bool {
        for node in stale {
            if node == self.config.node {
                self.merge(get.slot, &get.key, &record, env);
                holding.count(node);
            } else {
                let (key, record) = (get.key.clone(), record.clone());
                self.send(node, KeyRequest::Write { op, again: false, key, record }, env);
            }
        }
        get.hedges = 0;
        get.phase = GetPhase::Repairing { record, holding };
        self.answer_get(op, get, env)
    }

    /// Asks, or writes back to, whom is silent and whom was not asked, ever more rarely.
    pub(super) fn hedge_get(&mut self, op: OpId, get: &mut Get, env: &mut impl Env) {
        get.hedges += 1;
        if !get.hedges.is_power_of_two() {
            return;
        }
        match &get.phase {
            GetPhase::Asking { answered, .. } => {
                env.note(Note::ReadHedged);
                self.send_reads(op, &get.key, answered, env);
            }
            GetPhase::Repairing { record, holding } => {
                env.note(Note::RepairHedged);
                for owner in holding.missing() {
                    let (key, record) = (get.key.clone(), record.clone());
                    self.send(owner, KeyRequest::Write { op, again: false, key, record }, env);
                }
            }
        }
    }

    fn send_reads(&self, op: OpId, key: &Key, answered: &Tally, env: &mut impl Env) {
        for owner in answered.missing() {
            self.send(owner, KeyRequest::Read { op, key: key.clone() }, env);
        }
    }
}

/// Another first choice for each operation spreads the reads over the owners.
fn first_choice(op: OpId) -> usize {
    usize::try_from(op.sequence % 256).expect("fits")
}
