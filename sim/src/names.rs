//! Short names for the versions of a key: `v3@n2` is the third of its versions in their order, given by n2.

use std::collections::{BTreeMap, BTreeSet};

use kv::core::record::{Record, Version};

use harness::text::quoted;

use crate::{
    says::records,
    shown::shown,
    store::{Happened, Verdict, version},
};

/// The names of all versions that a run showed.
pub struct Names(BTreeMap<String, Vec<Version>>);

impl Names {
    /// Names for what clients saw, what messages carried, and what nodes held in the end.
    pub fn new(verdict: &Verdict) -> Self {
        let mut all: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
        let mut add = |key: &str, version| {
            match all.get_mut(key) {
                Some(versions) => versions.insert(version),
                None => all.entry(key.to_string()).or_default().insert(version),
            };
        };
        for done in &verdict.history {
            if let Some(version) = version(done) {
                add(done.action.key(), version);
            }
        }
        for (_, happened) in &verdict.told {
            if let Happened::Sent(_, _, _, message, _) = happened {
                records(&message.body)
                    .into_iter()
                    .for_each(|(key, record)| add(key.as_str(), record.version));
            }
        }
        if let Some(key) = verdict.violation.as_ref().and_then(|violation| violation.key.as_ref()) {
            let held = verdict.held.iter().filter_map(|(_, held)| held.record.as_ref());
            held.for_each(|record| add(key, record.version));
        }
        let sorted = |(key, versions): (String, BTreeSet<Version>)| {
            (key, versions.into_iter().collect::<Vec<Version>>())
        };
        Self(all.into_iter().map(sorted).collect())
    }

    /// The name of a version of a key.
    pub fn version(&self, key: &str, version: Version) -> String {
        let place = self.0.get(key).and_then(|all| all.binary_search(&version).ok());
        match place {
            Some(place) => format!("v{}@{}", place + 1, version.node),
            // Nothing that was told has it.
            None => shown(version),
        }
    }

    /// A record of a key.
    pub fn record(&self, key: &str, record: Option<&Record>) -> String {
        let Some(record) = record else { return "nothing".into() };
        let version = self.version(key, record.version);
        match &record.value {
            Some(value) => format!("{} {version}", quoted(value.as_str())),
            None => format!("a deletion {version}"),
        }
    }

    /// A text with the names of a key's versions for what [`shown`] says.
    pub fn named(&self, key: &str, text: &str) -> String {
        let mut all: Vec<(String, String)> = (self.0.get(key).into_iter().flatten())
            .map(|version| (shown(*version), self.version(key, *version)))
            .collect();
        // One may be the beginning or the end of another.
        all.sort_by_key(|(long, _)| std::cmp::Reverse(long.len()));
        all.iter().fold(text.to_string(), |text, (long, short)| text.replace(long, short))
    }
}
