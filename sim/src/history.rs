//! What clients did and what they were told: the evidence that the checks look at.

use kv::core::{
    env::Failure,
    record::{Record, Version},
    types::{Epoch, NodeId},
};

use crate::scenario::Action;

/// How an operation ended, as its client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A write is done, under this version.
    Written(Version),
    /// A read was answered.
    Found(Option<Record>),
    /// Nothing happened.
    Failed(&'static str),
    /// It may have happened, or may happen still.
    Unknown(&'static str),
}

impl Outcome {
    /// What a failure tells the client.
    pub fn of_failure(failure: Failure) -> Self {
        let name = match failure {
            Failure::Busy => "busy",
            Failure::Timeout => "timeout",
            Failure::Clock(_) => "clock",
            Failure::Paused => "paused",
            Failure::Unavailable => "unavailable",
            Failure::Stale => "stale",
        };
        match failure.is_definite() {
            true => Outcome::Failed(name),
            false => Outcome::Unknown(name),
        }
    }
}

/// An operation in a history. Moments are numbers of events: no two are the same.
#[derive(Clone, Debug)]
pub struct Done {
    /// Its number in the scenario's list, or beyond it for the run's own operations.
    pub number: usize,
    /// The client.
    pub client: u32,
    /// The node that coordinated it.
    pub node: NodeId,
    /// The epoch at which the coordinator was for that key.
    pub epoch: Epoch,
    /// What was asked.
    pub action: Action,
    /// When it was asked.
    pub invoked: u64,
    /// When it was asked, in microseconds of the run.
    pub invoked_us: u64,
    /// When it ended. None: it did not.
    pub returned: Option<u64>,
    /// When it ended, in microseconds of the run.
    pub returned_us: Option<u64>,
    /// How it ended: unknown until it does.
    pub outcome: Outcome,
}

impl Done {
    /// The version that an ok write or read is about. None for a read that found nothing.
    pub fn version(&self) -> Option<Version> {
        match &self.outcome {
            Outcome::Written(version) => Some(*version),
            Outcome::Found(record) => record.as_ref().map(|record| record.version),
            Outcome::Failed(_) | Outcome::Unknown(_) => None,
        }
    }

    /// The moment at which an ok write ended.
    pub fn written_at(&self) -> Option<(u64, Version)> {
        match &self.outcome {
            Outcome::Written(version) => self.returned.map(|at| (at, *version)),
            Outcome::Found(_) | Outcome::Failed(_) | Outcome::Unknown(_) => None,
        }
    }

    /// The moment at which an ok read ended, and what it found.
    pub fn found_at(&self) -> Option<(u64, Option<&Record>)> {
        match &self.outcome {
            Outcome::Found(record) => self.returned.map(|at| (at, record.as_ref())),
            Outcome::Written(_) | Outcome::Failed(_) | Outcome::Unknown(_) => None,
        }
    }
}
