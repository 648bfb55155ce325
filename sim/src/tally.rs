//! What a run or a sweep counted, and the gates: what must have happened at least once.

use std::collections::BTreeMap;

use kv::env::Note;
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

/// What else should happen now and then.
pub const EVENTS: [&str; 10] = [
    "crash lost entries",
    "restarted from journal",
    "waited for the journal",
    "joint ring installed",
    "final ring installed",
    "stale read at one",
    "lost update between coordinators",
    "empty value read",
    "unknown write read later",
    "session overflowed",
];

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

    /// The gates that were never passed.
    pub fn missing_gates(&self) -> Vec<String> {
        gates().into_iter().filter(|(t, name)| self.count(*t, name) == 0).map(|(_, n)| n).collect()
    }
}

/// What a sweep must have seen: every fault, every fate, every outcome, every branch. A harness in
/// which one of these never happens has stopped testing it.
pub fn gates() -> Vec<(Topic, String)> {
    let mut gates = Vec::new();
    gates.extend(FaultKind::NAMES.map(|name| (Topic::Fault, name.to_string())));
    for fate in ["delivered", "doubled", "held back", "lost", "cut", "to a node that is down"] {
        gates.push((Topic::Message, fate.to_string()));
    }
    for kind in ["put", "delete", "get"] {
        for level in kv::quorum::Level::EVERY {
            gates.push((Topic::Operation, format!("{kind} {level} ok")));
            gates.push((Topic::Operation, format!("{kind} {level} timeout")));
        }
    }
    for outcome in ["busy", "clock", "node down", "node crashed", "no answer"] {
        gates.push((Topic::Operation, outcome.to_string()));
    }
    // No peer with our ring asks a node for a slot that it does not own: only what bypasses the
    // fence (a late record of anti-entropy after a change) can. And no acknowledged record is lost as
    // long as no disk is, so that some owner has what a session saw.
    let never = [Note::NotOwner, Note::SessionStale];
    let notes = Note::EVERY.into_iter().filter(|note| !never.contains(note));
    gates.extend(notes.map(|note| (Topic::Note, format!("{note:?}"))));
    gates.extend(EVENTS.map(|name| (Topic::Event, name.to_string())));
    gates
}
