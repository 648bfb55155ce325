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
        /// With its version.
        record: Record,
        /// Who acknowledged this issue, at the epoch at which this round began.
        acknowledged: Tally,
        /// Which issue of the write this is.
        issue: Issue,
    },
}

/// How often a write was given a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Issue {
    /// Once, and no owner told of a newer one.
    First,
    /// Once, and some owner told of a newer one. The clock is past it.
    Beaten,
    /// Twice, and that is enough: whatever was acknowledged before the write began is older.
    Again,
}

impl Put {
    /// Whether it may still be given a version.
    pub(super) fn awaits_version(&self) -> bool {
        match self.phase {
            PutPhase::Asking { .. } => true,
            PutPhase::Writing { issue, .. } => issue != Issue::Again && self.may_be_beaten(),
        }
    }

    /// Whether it is issued again when owners hold something newer. ONE and SESSION promise no order. At
    /// LINEARIZABLE a majority told its versions before the put had one.
    fn may_be_beaten(&self) -> bool {
        match self.level {
            Level::Quorum | Level::All => true,
            Level::One | Level::Session | Level::Linearizable => false,
        }
    }

    /// An owner has the record, and something newer if it says so. False when it answers another issue.
    pub(super) fn acknowledge(&mut self, from: NodeId, again: bool, newer: bool) -> bool {
        let may_be_beaten = self.may_be_beaten();
        let PutPhase::Writing { acknowledged, issue, .. } = &mut self.phase else { return false };
        if again != (*issue == Issue::Again) {
            return false;
        }
        acknowledged.count(from);
        if newer && may_be_beaten && *issue == Issue::First {
            *issue = Issue::Beaten;
        }
        true
    }

    /// Whether enough owners have the record.
    pub(super) fn is_acknowledged(&self) -> bool {
        match &self.phase {
            PutPhase::Asking { .. } => false,
            PutPhase::Writing { acknowledged, .. } => acknowledged.meets(self.level),
        }
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
