//! P9 ONE promises P0, P1 and P2 only. So a read at ONE is held to no order; but a version names one
//! write, whatever the level: two operations that saw one version saw one value.
//!
//! That ONE is allowed to be stale is shown, not assumed: a sweep in which no read at ONE was
//! stale fails at its gate. So is what P6 promises from QUORUM on only: that no update is lost between coordinators.

use std::collections::BTreeMap;

use harness::{history::Outcome, tally::Tally, violation::Violation};
use kv::core::{quorum::Level, record::Version};

use super::{
    property::Property,
    reads::{by_key, reads, stale_read, writes},
};
use crate::{
    gates::Sometimes,
    scenario::Action,
    shown::shown,
    store::{Answer, Done},
};

/// Looks at all versions and their values.
pub fn check(history: &[Done], tally: &mut Tally) -> Result<(), Violation> {
    for (key, places) in by_key(history) {
        let mut values: BTreeMap<Version, (Option<&str>, usize)> = BTreeMap::new();
        for place in &places {
            let Some((version, value)) = version_and_value(&history[*place]) else { continue };
            let (known, first) = *values.entry(version).or_insert((value, *place));
            if known != value {
                let (version, known) = (shown(version), value_or_none(known));
                let value = value_or_none(value);
                let what =
                    format!("{version} is {known} for op {first} and {value} for op {place}");
                return Err(Violation::new(Property::P9, what).shown_by(key, &[first, *place]));
            }
        }
        let all = writes(history, &places, |_| true);
        let at_one = reads(history, &places, |level| level == Level::One);
        if stale_read(history, all.clone(), &at_one).is_some() {
            tally.sometimes(Sometimes::StaleAtOne);
        }
        if has_lost_update(history, &all) {
            tally.sometimes(Sometimes::LostUpdate);
        }
    }
    Ok(())
}

fn value_or_none(value: Option<&str>) -> String {
    value.map_or("a deletion".into(), |value| format!("{value:?}"))
}

fn version_and_value(done: &Done) -> Option<(Version, Option<&str>)> {
    match (&done.outcome, &done.action) {
        (Outcome::Ok(Answer::Written(version)), Action::Put(_, value, _)) => {
            Some((*version, Some(value)))
        }
        (Outcome::Ok(Answer::Written(version)), Action::Delete(..)) => Some((*version, None)),
        (Outcome::Ok(Answer::Found(Some(record))), _) => {
            Some((record.version, record.value.as_ref().map(|value| value.as_str())))
        }
        _ => None,
    }
}

/// Whether a write that began after another one was ok got the lower version.
fn has_lost_update(history: &[Done], writes: &[(u64, Version, usize)]) -> bool {
    let mut by_end = writes.to_vec();
    by_end.sort_unstable();
    let mut by_start: Vec<_> = writes.iter().map(|(_, v, p)| (history[*p].invoked, *v)).collect();
    by_start.sort_unstable();
    let mut ended = by_end.into_iter().peekable();
    let mut newest = None;
    by_start.into_iter().any(|(invoked, version)| {
        while let Some((_, ended, _)) = ended.next_if(|(at, _, _)| *at < invoked) {
            newest = newest.max(Some(ended));
        }
        Some(version) < newest
    })
}
