//! Where the proposer of the next ring is.

use std::{collections::BTreeSet, sync::Arc};

use crate::core::{
    ring::Ring,
    types::{Ballot, NodeId},
};

/// What a proposer is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Nothing, or waiting for its next turn.
    #[default]
    Idle,
    /// Collecting promises.
    Preparing { ballot: Ballot, promised: BTreeSet<NodeId>, best: Option<(Ballot, Arc<Ring>)> },
    /// Collecting acceptances.
    Accepting { ballot: Ballot, ring: Arc<Ring>, accepted: BTreeSet<NodeId> },
}

/// The proposer of the ring after ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Proposer {
    pub(super) phase: Phase,
    /// The highest round that was heard of.
    pub(super) round: u64,
    /// How often it tried.
    pub(super) attempts: u32,
    /// Its timer is armed.
    pub(super) waits: bool,
    /// It was armed on an older ring.
    pub(super) is_stale: bool,
    /// Another one proposes, or this one does since its timer was armed: it waits for the timer after
    /// that.
    pub(super) backs_off: bool,
}

impl Proposer {
    /// The proposal that is under way.
    pub(super) fn ballot(&self) -> Option<Ballot> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Preparing { ballot, .. } | Phase::Accepting { ballot, .. } => Some(*ballot),
        }
    }

    /// The ring was decided: the next one is another matter. A timer that is armed still fires.
    pub(super) fn over(&mut self) {
        *self = Self { waits: self.waits, is_stale: self.waits, ..Self::default() };
    }
}
