//! Single-decree Paxos for the next ring: each epoch is an instance of its own, its acceptors are the
//! members of the ring before it.
//!
//! Source: Lamport, "Paxos Made Simple" (2001). What an acceptor promised and accepted is in the journal
//! before it answers; a ring that was accepted is proposed again by whoever accepted it and hears no more.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    proposer::{Phase, Proposer},
    state::Topology,
};
use crate::core::{
    env::{Entry, Note, TopologyEnv, TopologyTimer},
    message::{Paxos, TopologyBody},
    ring::{Acceptor, Change, Ring},
    time::Micros,
    types::{Ballot, Epoch, NodeId},
};

impl Topology {
    /// Whether there is something to propose: a change that is due, or a proposal that was accepted here
    /// and must not be left half done.
    fn has_goal(&self) -> bool {
        self.is_member() && (self.acceptor.accepted.is_some() || self.wanted_ring().is_some())
    }

    fn wanted_ring(&self) -> Option<Ring> {
        let mut wanted = self.evictions();
        // A process that asked before this ring was decided may be of an earlier life of its address than the
        // one that joins now.
        let is_late = |change: &Change, asked: Epoch| {
            let joins = matches!(change, Change::Join(_));
            joins && self.ring.is_joint() && asked < self.ring.epoch()
        };
        let others = self.wanted.iter().filter(|(change, asked)| !is_late(change, **asked));
        wanted.extend(others.map(|(change, _)| change.clone()));
        let is_synced = self.is_synced();
        match wanted.is_empty() && !is_synced {
            true => None,
            false => self.ring.after(&wanted, is_synced),
        }
    }

    /// Begins to propose, unless that is under way or has to wait for its turn.
    pub(super) fn propose(&mut self, env: &mut impl TopologyEnv) {
        let Proposer { phase, waits, is_stale, backs_off, .. } = &self.proposer;
        let is_idle = *phase == Phase::Idle && !backs_off && (!waits || *is_stale);
        if is_idle && self.is_member() && self.wanted_ring().is_some() {
            self.prepare(env);
        }
    }

    /// The proposer's timer fired: tries again, with a higher ballot. Who heard another propose in the
    /// meantime waits once more: many that take turns would never let one through.
    pub(super) fn retry(&mut self, env: &mut impl TopologyEnv) {
        self.proposer.waits = false;
        self.proposer.is_stale = false;
        let waits_again = std::mem::take(&mut self.proposer.backs_off);
        if !self.has_goal() {
            self.proposer.phase = Phase::Idle;
        } else if waits_again {
            self.arm_proposer(env);
        } else {
            self.prepare(env);
        }
    }

    fn prepare(&mut self, env: &mut impl TopologyEnv) {
        let promised = self.acceptor.promised.map_or(0, |ballot| ballot.round);
        let round = self.proposer.round.max(promised).saturating_add(1);
        let ballot = Ballot { round, node: self.config.node };
        env.note(Note::Proposed);
        self.proposer.round = round;
        self.proposer.phase = Phase::Preparing { ballot, promised: BTreeSet::new(), best: None };
        // A timer of earlier is too short for this proposal.
        self.proposer.backs_off = self.proposer.waits;
        self.arm_proposer(env);
        self.to_members(|| Paxos::Prepare { ballot }, env);
        self.promise(ballot, env);
        let accepted = self.acceptor.accepted.clone();
        self.promised(self.config.node, ballot, accepted, env);
    }

    /// Each try waits longer than the one before, and no two members wait equally long.
    fn arm_proposer(&mut self, env: &mut impl TopologyEnv) {
        if self.proposer.waits {
            return;
        }
        self.proposer.waits = true;
        self.proposer.attempts = self.proposer.attempts.saturating_add(1);
        let base = self.config.propose_every.0;
        let longest = base << self.proposer.attempts.min(6);
        let id = u64::from(self.config.node.0);
        let word = (id << 32 | u64::from(self.proposer.attempts)) ^ self.ring.epoch().0 << 48;
        let seeded = xxhash_rust::xxh3::xxh3_64_with_seed(&word.to_le_bytes(), self.config.seed);
        env.set_timer(TopologyTimer::Propose, Micros(base + seeded % longest.max(1)));
    }

    /// Promises to take no proposal below a ballot. False when a higher one is promised.
    fn promise(&mut self, ballot: Ballot, env: &mut impl TopologyEnv) -> bool {
        if self.acceptor.promised.is_some_and(|promised| promised > ballot) {
            return false;
        }
        if self.acceptor.promised != Some(ballot) {
            self.acceptor.promised = Some(ballot);
            self.persist_acceptor(env);
        }
        true
    }

    fn persist_acceptor(&self, env: &mut impl TopologyEnv) {
        env.persist(Entry::Acceptor(self.ring.epoch(), self.acceptor.clone()));
    }

    /// A proposer asks for a promise.
    pub(super) fn asked_to_promise(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        env: &mut impl TopologyEnv,
    ) {
        if !self.is_member() {
            return;
        }
        let body = match self.promise(ballot, env) {
            true => {
                self.back_off(env);
                Paxos::Promise { ballot, accepted: self.acceptor.accepted.clone() }
            }
            false => self.refusal(ballot, env),
        };
        self.send(from, body, env);
    }

    /// Leaves the field to another, for a while.
    pub(super) fn back_off(&mut self, env: &mut impl TopologyEnv) {
        self.proposer.phase = Phase::Idle;
        self.proposer.backs_off = true;
        self.arm_proposer(env);
    }

    fn refusal(&self, ballot: Ballot, env: &mut impl TopologyEnv) -> Paxos {
        env.note(Note::BallotRefused);
        Paxos::Refused { ballot, promised: self.acceptor.promised.unwrap_or(ballot) }
    }

    /// A member promised.
    pub(super) fn promised(
        &mut self,
        from: NodeId,
        of: Ballot,
        accepted: Option<(Ballot, Arc<Ring>)>,
        env: &mut impl TopologyEnv,
    ) {
        let Phase::Preparing { ballot, promised, best } = &mut self.proposer.phase else { return };
        if *ballot != of {
            return;
        }
        promised.insert(from);
        if accepted.as_ref().map(|(ballot, _)| *ballot) > best.as_ref().map(|(ballot, _)| *ballot) {
            *best = accepted;
        }
        if !self.ring.is_majority(promised) {
            return;
        }
        // What may be decided already is all that may be proposed.
        let best = best.take().map(|(_, ring)| ring);
        if best.is_some() {
            env.note(Note::ProposalTakenOver);
        }
        let Some(ring) = best.or_else(|| self.wanted_ring().map(Arc::new)) else {
            self.proposer.phase = Phase::Idle;
            return;
        };
        let accepted = BTreeSet::new();
        self.proposer.phase = Phase::Accepting { ballot: of, ring: ring.clone(), accepted };
        self.to_members(|| Paxos::Accept { ballot: of, ring: ring.clone() }, env);
        if self.accept(of, ring, env) {
            self.accepted(self.config.node, of, env);
        }
    }

    /// Takes a proposal. False when a higher ballot is promised.
    fn accept(&mut self, ballot: Ballot, ring: Arc<Ring>, env: &mut impl TopologyEnv) -> bool {
        if self.acceptor.promised.is_some_and(|promised| promised > ballot) {
            return false;
        }
        self.acceptor = Acceptor { promised: Some(ballot), accepted: Some((ballot, ring)) };
        self.persist_acceptor(env);
        true
    }

    /// A proposer asks to take its proposal.
    pub(super) fn asked_to_accept(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        ring: Arc<Ring>,
        env: &mut impl TopologyEnv,
    ) {
        if !self.is_member() || !self.ring.may_be_followed_by(&ring) {
            return;
        }
        let body = match self.accept(ballot, ring, env) {
            true => {
                // Whoever accepted sees to it that something is decided, should its proposer die.
                self.back_off(env);
                Paxos::Accepted { ballot }
            }
            false => self.refusal(ballot, env),
        };
        self.send(from, body, env);
    }

    /// A member took our proposal.
    pub(super) fn accepted(&mut self, from: NodeId, of: Ballot, env: &mut impl TopologyEnv) {
        let Phase::Accepting { ballot, ring, accepted } = &mut self.proposer.phase else { return };
        if *ballot != of {
            return;
        }
        accepted.insert(from);
        if self.ring.is_majority(accepted) {
            let ring = ring.clone();
            self.decided(ring, env);
        }
    }

    /// The ring is decided: tells all whom it concerns.
    fn decided(&mut self, ring: Arc<Ring>, env: &mut impl TopologyEnv) {
        env.note(Note::RingDecided);
        let mut all: BTreeSet<NodeId> = self.ring.members().keys().copied().collect();
        all.extend(ring.members().keys());
        all.remove(&self.config.node);
        self.adopt(ring.clone(), env);
        for node in all {
            self.send(node, TopologyBody::Ring(ring.clone()), env);
        }
    }

    /// A member promised a higher ballot to another: we wait for our next turn.
    pub(super) fn refused(&mut self, of: Ballot, promised: Ballot, env: &mut impl TopologyEnv) {
        self.proposer.round = self.proposer.round.max(promised.round);
        if self.proposer.ballot() == Some(of) {
            self.back_off(env);
        }
    }

    fn to_members(&self, body: impl Fn() -> Paxos, env: &mut impl TopologyEnv) {
        for member in self.ring.members().keys().filter(|id| **id != self.config.node) {
            self.send(*member, body(), env);
        }
    }
}
