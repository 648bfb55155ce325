//! What happened how often, and what must have happened at least once: the gates.
//!
//! A harness in which a fault, a fate or a rare branch never happens has stopped testing it, and nothing
//! fails. So a sweep asks that each was seen.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};

use crate::{fault::FaultName, world::network::Counted};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Operations, by what was asked and how it ended.
    Operation,
    /// Faults that began, by kind.
    Fault,
    /// Messages, by fate.
    Message,
    /// Branches of the nodes that are seldom taken.
    Note,
    /// Whatever else should happen now and then.
    Event,
}

/// What should happen now and then in runs of any system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, VariantArray, IntoStaticStr)]
pub enum Sometimes {
    /// A crash lost entries.
    #[strum(serialize = "crash lost entries")]
    CrashLost,
    /// A node started on what its journal kept.
    #[strum(serialize = "restarted from journal")]
    Restarted,
    /// A node held something back until its journal was durable.
    #[strum(serialize = "waited for the journal")]
    Waited,
    /// A client asked a node that stood still.
    #[strum(serialize = "a request lay in the socket of a node that stood still")]
    Stalled,
}

/// Something that a sweep must have counted: names, of which one is enough.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gate {
    /// Of which topic.
    pub topic: Topic,
    /// The names.
    pub any_of: Vec<Cow<'static, str>>,
}

impl Gate {
    /// A gate of one name.
    pub fn new(topic: Topic, name: impl Into<Cow<'static, str>>) -> Self {
        Self { topic, any_of: vec![name.into()] }
    }

    /// The gates that any system has: every fault, every fate of a message, and what its nodes' crashes do.
    pub fn usual() -> Vec<Self> {
        let faults = FaultName::VARIANTS.iter().map(|fault| Self::new(Topic::Fault, fault.name()));
        let fates = Counted::VARIANTS.iter().map(|fate| Self::new(Topic::Message, fate.name()));
        let events =
            Sometimes::VARIANTS.iter().map(|name| Self::new(Topic::Event, <&str>::from(name)));
        faults.chain(fates).chain(events).collect()
    }

    /// For people.
    pub fn name(&self) -> String {
        self.any_of.join(" or ")
    }
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<(Topic, Cow<'static, str>), u64>);

impl Tally {
    /// Counts one.
    pub fn add(&mut self, topic: Topic, name: impl Into<Cow<'static, str>>) {
        self.add_many(topic, name, 1);
    }

    /// Counts something that should happen now and then.
    pub fn sometimes(&mut self, what: impl Into<&'static str>) {
        self.add(Topic::Event, what.into());
    }

    /// Counts several.
    pub fn add_many(&mut self, topic: Topic, name: impl Into<Cow<'static, str>>, count: u64) {
        if count > 0 {
            *self.0.entry((topic, name.into())).or_default() += count;
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Tally) {
        for ((topic, name), count) in &other.0 {
            self.add_many(*topic, name.clone(), *count);
        }
    }

    /// How often something was counted.
    pub fn count(&self, topic: Topic, name: &str) -> u64 {
        self.of(topic).find(|(of, _)| *of == name).map_or(0, |(_, count)| count)
    }

    /// What was counted of a topic, by name.
    pub fn of(&self, topic: Topic) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter(move |((t, _), _)| *t == topic).map(|((_, name), n)| (&**name, *n))
    }

    /// All that was counted of a topic.
    pub fn total(&self, topic: Topic) -> u64 {
        self.of(topic).map(|(_, count)| count).sum()
    }

    /// The gates that were never passed.
    pub fn missing(&self, gates: &[Gate]) -> Vec<String> {
        let is_passed =
            |gate: &&Gate| gate.any_of.iter().any(|name| self.count(gate.topic, name) > 0);
        gates.iter().filter(|gate| !is_passed(gate)).map(Gate::name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_passed_by_any_of_its_names() {
        let mut tally = Tally::default();
        let gate = |names: &[&'static str]| Gate {
            topic: Topic::Operation,
            any_of: names.iter().map(|name| Cow::Borrowed(*name)).collect(),
        };
        let gates = [gate(&["put timeout", "delete timeout"]), gate(&["get timeout"])];
        assert_eq!(tally.missing(&gates), ["put timeout or delete timeout", "get timeout"]);
        tally.add(Topic::Operation, "delete timeout");
        tally.add(Topic::Event, "get timeout");
        assert_eq!(tally.missing(&gates), ["get timeout"]);
        assert_eq!(tally.total(Topic::Operation), 1);
    }

    #[test]
    fn every_fault_and_every_fate_has_a_gate() {
        let all = FaultName::VARIANTS.len() + Counted::VARIANTS.len() + Sometimes::VARIANTS.len();
        assert_eq!(Gate::usual().len(), all);
        assert_eq!(Tally::default().missing(&Gate::usual()).len(), all);
    }
}
