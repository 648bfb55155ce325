//! Requests under way on their coordinator.

use crate::core::{
    env::{Env, Failure, Note, Reply},
    quorum::{Level, Tally},
    record::{Record, Version},
    types::{Key, NodeId, RequestId, Slot, Value},
};

/// A put under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Put {
    pub(super) request: RequestId,
    pub(super) key: Key,
    pub(super) slot: Slot,
    pub(super) level: Level,
    pub(super) phase: PutPhase,
    /// How often the hedge timer found it unfinished.
    pub(super) hedges: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum PutPhase {
    /// Owners are asked for their versions: nothing is written yet. The clock notes what they tell.
    Asking {
        /// What will be written.
        value: Option<Value>,
        /// Who told, at the epoch at which this round began.
        answered: Tally,
    },
    /// The record is on its way to the owners.
    Writing {
        /// With its version, which was issued once.
        record: Record,
        /// Who acknowledged, at the epoch at which this round began.
        acknowledged: Tally,
    },
}

impl Put {
    /// Whether it has no version yet.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.phase, PutPhase::Asking { .. })
    }

    /// What it means that this put gave up: before it has a version, nothing happened.
    pub(super) fn given_up(&self) -> (Failure, Note) {
        match self.phase {
            PutPhase::Asking { .. } => (Failure::Unavailable, Note::VersionsTimedOut),
            PutPhase::Writing { .. } => (Failure::Timeout, Note::WriteTimedOut),
        }
    }
}

/// A get under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Get {
    pub(super) request: RequestId,
    pub(super) key: Key,
    pub(super) slot: Slot,
    pub(super) level: Level,
    /// At SESSION: no older version is an answer.
    pub(super) at_least: Option<Version>,
    pub(super) phase: GetPhase,
    /// How often the hedge timer found it unfinished.
    pub(super) hedges: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum GetPhase {
    /// Owners are asked.
    Asking {
        /// Who answered.
        answered: Tally,
        /// Their versions, in the order of their answers.
        versions: Vec<(NodeId, Option<Version>)>,
        /// The newest record among the answers.
        newest: Option<Record>,
    },
    /// Owners differed: the newest record is on its way to those who lack it.
    Repairing {
        /// The newest record.
        record: Record,
        /// Who has it.
        holding: Tally,
    },
}

impl Get {
    /// What it means that this get gave up.
    pub(super) fn timeout_note(&self) -> Note {
        match self.phase {
            GetPhase::Asking { .. } => Note::ReadTimedOut,
            GetPhase::Repairing { .. } => Note::RepairTimedOut,
        }
    }

    /// An owner acknowledged the write-back. True when the get is answered.
    pub(super) fn repaired(&mut self, from: NodeId, env: &mut impl Env) -> bool {
        let GetPhase::Repairing { record, holding } = &mut self.phase else { return false };
        holding.count(from);
        let enough = holding.meets(Level::Quorum);
        if enough {
            env.reply(self.request, Reply::Found(Some(record.clone())));
        }
        enough
    }
}
