//! What a run or a sweep counted, and the gates: what must have happened at least once.

use std::collections::BTreeMap;

use kv::core::{env::Note, quorum::Level};
use serde::Serialize;

use crate::scenario::FaultKind;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Operations, by kind, level and outcome.
    Operation,
    /// Faults that began, by kind.
    Fault,
    /// Messages, by fate.
    Message,
    /// Branches of the core that are seldom taken.
    Note,
    /// Whatever else should happen now and then.
    Event,
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<(Topic, String), u64>);

/// The levels at which a read repairs before it answers.
const MAJORITY: &[Level] = &[Level::Quorum, Level::All, Level::Linearizable];
/// The levels at which a write is newer than those before it only by its coordinator's clock.
const BY_CLOCK: &[Level] = &[Level::One, Level::Session, Level::Quorum, Level::All];

/// What else should happen now and then, and at which levels.
pub const EVENTS: [(&str, &[Level]); 35] = [
    ("crash lost entries", &Level::EVERY),
    ("restarted from journal", &Level::EVERY),
    ("waited for the journal", &Level::EVERY),
    ("joint ring", &Level::EVERY),
    ("final ring", &Level::EVERY),
    ("a process joined", &Level::EVERY),
    ("a member was released", &Level::EVERY),
    ("a member was evicted by its peers", &Level::EVERY),
    ("a dead member was evicted by its peers", &Level::EVERY),
    ("an evicted process joined anew", &Level::EVERY),
    ("a flapping node stayed a member", &Level::EVERY),
    ("a change was refused", &Level::EVERY),
    ("a change was asked for again", &Level::EVERY),
    ("a change was finished", &Level::EVERY),
    ("a change was given up", &Level::EVERY),
    ("a joint ring followed a joint one", &Level::EVERY),
    ("a joiner was dropped", &Level::EVERY),
    ("a joiner died for good", &Level::EVERY),
    ("a member left", &Level::EVERY),
    ("one of three died for good", &Level::EVERY),
    ("several joined at once", &Level::EVERY),
    ("members said where clients reach them", &Level::EVERY),
    ("a fault began while the ring was joint", &Level::EVERY),
    ("the ring changed across a partition", &Level::EVERY),
    ("asked a coordinator that is a ring behind", &Level::EVERY),
    ("asked a coordinator that is rings behind", &Level::EVERY),
    ("a request lay in the socket of a node that stood still", &Level::EVERY),
    ("a request that its client had given up was refused after a pause", &Level::EVERY),
    ("stale read at one", &[Level::One]),
    ("lost update between coordinators", BY_CLOCK),
    ("empty value read", &Level::EVERY),
    ("unknown write read later", &Level::EVERY),
    ("session overflowed", &[Level::Session]),
    ("linearizable key contended", &[Level::Linearizable]),
    ("unknown linearizable write read later", &[Level::Linearizable]),
];

/// Between the names of a gate that is passed by either.
const EITHER: &str = " or ";

impl Tally {
    /// Counts one.
    pub fn add(&mut self, topic: Topic, name: &str) {
        self.add_many(topic, name, 1);
    }

    /// Counts several.
    pub fn add_many(&mut self, topic: Topic, name: &str, count: u64) {
        if count == 0 {
            return;
        }
        // The text of a name is made once.
        match self.0.get_mut(&(topic, name.to_string())) {
            Some(counted) => *counted += count,
            None => {
                self.0.insert((topic, name.to_string()), count);
            }
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Tally) {
        for ((topic, name), count) in &other.0 {
            self.add_many(*topic, name, *count);
        }
    }

    /// How often something was counted.
    pub fn count(&self, topic: Topic, name: &str) -> u64 {
        self.0.get(&(topic, name.to_string())).copied().unwrap_or(0)
    }

    /// What was counted of a topic, by name.
    pub fn of(&self, topic: Topic) -> impl Iterator<Item = (&str, u64)> {
        self.0
            .iter()
            .filter(move |((t, _), _)| *t == topic)
            .map(|((_, name), n)| (name.as_str(), *n))
    }

    /// All that was counted of a topic.
    pub fn total(&self, topic: Topic) -> u64 {
        self.of(topic).map(|(_, count)| count).sum()
    }

    /// The gates that were never passed, of a sweep whose clients use this level only, if one is given.
    pub fn missing_gates(&self, level: Option<Level>) -> Vec<String> {
        let is_passed = |topic, name: &str| name.split(EITHER).any(|n| self.count(topic, n) > 0);
        let missing = gates(level).into_iter().filter(|(t, name)| !is_passed(*t, name));
        missing.map(|(_, name)| name).collect()
    }
}

/// What a sweep must have seen: every fault, every fate, every outcome, every branch. A harness in
/// which one of these never happens has stopped testing it. Where clients use one level only, what
/// happens at others only is left out.
pub fn gates(only: Option<Level>) -> Vec<(Topic, String)> {
    let is_used = |level: &Level| only.is_none_or(|only| only == *level);
    let mut gates = Vec::new();
    gates.extend(FaultKind::NAMES.map(|name| (Topic::Fault, name.to_string())));
    for fate in [
        "delivered",
        "doubled",
        "held back",
        "lost",
        "cut",
        "to a node that is down",
        "rings withheld",
    ] {
        gates.push((Topic::Message, fate.to_string()));
    }
    for kind in ["put", "delete", "get"] {
        for level in Level::EVERY.iter().filter(|level| is_used(level)) {
            gates.push((Topic::Operation, format!("{kind} {level} ok")));
        }
    }
    // To a coordinator a tombstone is a value like any other.
    for level in Level::EVERY.iter().filter(|level| is_used(level)) {
        let writes = format!("put {level} timeout{EITHER}delete {level} timeout");
        gates.push((Topic::Operation, writes));
        gates.push((Topic::Operation, format!("get {level} timeout")));
    }
    for outcome in ["busy", "clock", "paused", "node down", "node crashed", "no answer"] {
        gates.push((Topic::Operation, outcome.to_string()));
    }
    // No peer with our ring asks a node for a slot that it does not own: only what bypasses the
    // fence (a late record of anti-entropy after a change) can. And no acknowledged record is lost as
    // long as no disk is, so that some owner has what a session saw; a coordinator that is behind the
    // ring may not ask that one, but hardly ever.
    // Nodes of one version say nothing that a detector cannot read.
    let never = [Note::NotOwner, Note::SessionStale, Note::GossipRefused];
    let notes = Note::EVERY.into_iter().filter(|note| !never.contains(note));
    let notes = notes.filter(|note| levels_of_note(*note).iter().any(is_used));
    gates.extend(notes.map(|note| (Topic::Note, format!("{note:?}"))));
    let events = EVENTS.into_iter().filter(|(_, levels)| levels.iter().any(is_used));
    gates.extend(events.map(|(name, _)| (Topic::Event, name.to_string())));
    gates
}

/// At which levels a branch is taken.
fn levels_of_note(note: Note) -> &'static [Level] {
    match note {
        Note::VersionsTimedOut | Note::VersionsHedged => &[Level::Linearizable],
        Note::ReadRepaired | Note::RepairHedged | Note::RepairTimedOut => MAJORITY,
        Note::SessionBehind | Note::SessionStale => &[Level::Session],
        Note::Busy
        | Note::ClockRefused
        | Note::ClockJumped
        | Note::RefusedAfterPause
        | Note::RingConfirmed
        | Note::WriteTimedOut
        | Note::ReadTimedOut
        | Note::WriteHedged
        | Note::ReadHedged
        | Note::Fenced
        | Note::Behind
        | Note::Restarted
        | Note::LateAnswer
        | Note::SlotDiffered
        | Note::RecordSynced
        | Note::SyncPaged
        | Note::RingLearned
        | Note::NotOwner
        | Note::Proposed
        | Note::BallotRefused
        | Note::ProposalTakenOver
        | Note::RingDecided
        | Note::SlotsPulled
        | Note::PullHedged
        | Note::PullPaged
        | Note::RecordHandedOver
        | Note::OfferPaged
        | Note::SlotDropped
        | Note::SeemsUp
        | Note::SeemsDown
        | Note::TakenForDead
        | Note::OwnPauseNoticed
        | Note::GossipRefused
        | Note::EvictionDue => &Level::EVERY,
    }
}
