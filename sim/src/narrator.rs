//! The words in which a story of the store is told.

use std::collections::{BTreeMap, BTreeSet};

use harness::{
    history::Outcome,
    story::narrator::{Message as Told, Narrated, Narrator},
};
use kv::core::{
    message::{Body, KeyAnswer, Message, ShardBody},
    record::Version,
    ring::Change,
    types::{NodeId, OpId},
};
use serde_json::{Value, json};
use strum::VariantArray as _;

use crate::{
    check::{Held, property::Property},
    names::Names,
    says::{records, verb},
    scenario::Action,
    store::{Answer, Done, Store, Verdict, version},
    words,
};

impl Narrated for Store {
    type Narrator = StoreNarrator;
    const CHANGE: &str = "ring change";
    const BEHIND: &str = "hears of no ring until the faults are healed";

    fn held_json(node: u32, held: &Held) -> Value {
        json!({
            "node": node,
            "owner": held.is_owner,
            "record": held.record.as_ref().map(ToString::to_string),
        })
    }
}

/// The words of a story.
pub struct StoreNarrator {
    names: Names,
    /// The key that all is about, if it is about one.
    key: Option<String>,
    /// The operations that show the violation.
    marked: BTreeSet<usize>,
    /// The versions that matter.
    versions: BTreeSet<Version>,
    /// Which marked operation a coordinator asked for by which number.
    asked: BTreeMap<(NodeId, OpId), usize>,
    /// Which version arrived where.
    arrived: BTreeSet<(NodeId, Version)>,
}

/// Whether a violation is about what nodes hold in the end.
fn is_about_the_end(property: &str) -> bool {
    let known = Property::VARIANTS.iter().find(|known| <&str>::from(**known) == property);
    match known {
        Some(Property::P1 | Property::P5) => true,
        Some(
            Property::P0
            | Property::P3
            | Property::P4
            | Property::P6
            | Property::P7
            | Property::P8
            | Property::P9
            | Property::P10
            | Property::P13
            | Property::P14
            | Property::P16,
        )
        // Of a step, or of the harness.
        | None => false,
    }
}

impl Narrator<Store> for StoreNarrator {
    fn new(verdict: &Verdict) -> Self {
        let violation = verdict.violation.as_ref();
        let marked: BTreeSet<usize> =
            violation.iter().flat_map(|violation| violation.operations.iter().copied()).collect();
        let of = |place: &usize| version(verdict.history.get(*place)?);
        let mut versions: BTreeSet<Version> = marked.iter().filter_map(of).collect();
        let shows_by_operations = marked
            .iter()
            .any(|place| verdict.history.get(*place).is_some_and(|d| d.returned_us.is_some()));
        if !shows_by_operations || violation.is_none_or(|v| is_about_the_end(v.property)) {
            let held = verdict.held.iter();
            versions.extend(held.filter_map(|(_, held)| Some(held.record.as_ref()?.version)));
        }
        Self {
            names: Names::new(verdict),
            key: violation.and_then(|violation| violation.key.clone()),
            marked,
            versions,
            asked: BTreeMap::new(),
            arrived: BTreeSet::new(),
        }
    }

    fn legend(&self, key: &str) -> Option<String> {
        Some(format!(
            "The key is {key:?}. v3@n2 is the third of its versions in their order, given by n2; > marks \
             the operations that show the violation."
        ))
    }

    /// The writes of what they found.
    fn related(&self, verdict: &Verdict, marked: &BTreeSet<usize>) -> BTreeSet<usize> {
        let history = &verdict.history;
        let of = |place: &usize| version(history.get(*place)?);
        let found: BTreeSet<Version> = marked.iter().filter_map(of).collect();
        let is_write = |done: &Done| match &done.outcome {
            Outcome::Ok(Answer::Written(version)) => found.contains(version),
            Outcome::Ok(Answer::Found(_)) | Outcome::Failed(_) | Outcome::Unknown(_) => false,
        };
        (0..history.len()).filter(|place| is_write(&history[*place])).collect()
    }

    fn is_about_the_end(&self, property: &str) -> bool {
        is_about_the_end(property)
    }

    fn action(&self, action: &Action, with_key: bool) -> String {
        words::action(action, with_key)
    }

    fn answer(&self, done: &Done, answer: &Answer) -> String {
        let key = done.action.key();
        match answer {
            Answer::Written(version) => format!("ok {}", self.names.version(key, *version)),
            Answer::Found(record) => format!("found {}", self.names.record(key, record.as_ref())),
        }
    }

    fn change(&self, node: u32, change: &Change) -> (&'static str, String) {
        ("ring", format!("n{node} is asked {}", words::change(change)))
    }

    /// What a coordinator asks for an operation that shows the violation.
    fn sent(&mut self, verdict: &Verdict, at: u64, from: u32, message: &Message) {
        let Body::KeyRequest(request) = &message.body else { return };
        let (op, key) = (request.op(), request.key());
        let from = NodeId(from);
        if self.asked.contains_key(&(from, op)) {
            return;
        }
        let is_it = |place: &&usize| {
            verdict.history.get(**place).is_some_and(|done| {
                let is_under_way =
                    done.invoked_us <= at && done.returned_us.is_none_or(|returned| at <= returned);
                is_under_way && done.node == from.0 && done.action.key() == key.as_str()
            })
        };
        if let Some(place) = self.marked.iter().rev().find(is_it) {
            self.asked.insert((from, op), *place);
        }
    }

    /// It brings a version that matters to a node that has not had it, or answers an operation that shows the
    /// violation. Each step of a script matters.
    fn message(&mut self, verdict: &Verdict, told: &Told<'_, Message>) -> Option<String> {
        let (from, to, message) = (NodeId(told.from), NodeId(told.to), told.message);
        let verb = verb(&message.body);
        if let Body::Shard(ShardBody::KeyAnswer(KeyAnswer::Found { op, record })) = &message.body {
            let place = self.asked.get(&(to, *op)).copied();
            let key = match place {
                Some(place) => verdict.history[place].action.key(),
                // Of a model, which has one key.
                None if told.is_scripted => verdict.history.first()?.action.key(),
                None => return None,
            };
            let for_op = place.map(|place| format!(", for op {place}")).unwrap_or_default();
            return Some(format!("{verb} {}{for_op}", self.names.record(key, record.as_ref())));
        }
        if let Body::Shard(ShardBody::KeyAnswer(KeyAnswer::Written {
            op, newer: Some(newer), ..
        })) = &message.body
            && let Some(place) = self.asked.get(&(to, *op))
        {
            let key = verdict.history[*place].action.key();
            let newer = self.names.version(key, *newer);
            return Some(format!("{verb}, but holds {newer}, for op {place}"));
        }
        let carried = records(&message.body);
        if told.is_scripted {
            let each = carried.iter().map(|(key, r)| self.names.version(key.as_str(), r.version));
            let each: Vec<String> = each.collect();
            return Some(format!("{verb} {}", each.join(", ")).trim_end().to_string());
        }
        let key = self.key.as_deref()?;
        let (_, record) = carried.into_iter().find(|(of, _)| of.as_str() == key)?;
        let is_wanted = self.versions.contains(&record.version);
        let is_first = is_wanted && from != to && !self.arrived.contains(&(to, record.version));
        if is_first && told.arrives {
            self.arrived.insert((to, record.version));
        }
        is_first.then(|| format!("{verb} {}", self.names.version(key, record.version)))
    }

    fn held(&self, key: &str, held: &Held) -> String {
        let role = if held.is_owner { "an owner" } else { "no owner" };
        format!("{role}, holds {}", self.names.record(key, held.record.as_ref()))
    }

    fn named(&self, key: &str, text: &str) -> String {
        self.names.named(key, text)
    }
}
