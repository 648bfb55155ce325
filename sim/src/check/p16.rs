//! P16 Late is too late: a write takes effect under a version of about the time at which it was asked for, however long
//! it then lay in the socket of a node that stood still. So one that its client gave up long ago does not beat what was
//! acknowledged since.
//!
//! A node that did not notice a pause stood still for no longer than `pause_after`. So long a request may lie there. At
//! LINEARIZABLE its version is issued later, and so is the second version of a write at QUORUM or ALL, before it is
//! given up: two request timeouts, and each of their two timers may be late by a pause. A version is ahead of time by no
//! more than the drift bound (P14).

use std::collections::BTreeMap;

use harness::violation::Violation;
use kv::{
    core::{
        quorum::Level,
        record::Version,
        time::Micros,
        types::{Key, Value},
    },
    node::config::NodeConfig,
};

use super::property::Property;
use crate::{
    scenario::Action,
    shown::{shown, true_time},
    store::Done,
};

/// How long after it was asked for a write may be given its version.
fn allowed(level: Level, config: &NodeConfig) -> Micros {
    let (pause, timeout) = (config.pause_after.0, config.request_timeout.0);
    let late = match level {
        Level::Quorum | Level::All | Level::Linearizable => 3 * pause + 2 * timeout,
        Level::One | Level::Session => pause,
    };
    // A clock that measures a pause may be slow, by less than a thousandth.
    Micros(late + late / 1_000)
}

/// Looks at each record that was ever written.
pub fn check(
    history: &[Done],
    written: &BTreeMap<(Key, Version), Option<Value>>,
    config: &NodeConfig,
) -> Result<(), Violation> {
    if config.max_clock_drift.0 == 0 {
        return Ok(());
    }
    let mut of_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, done) in history.iter().enumerate().filter(|(_, done)| done.action.is_write()) {
        of_key.entry(done.action.key()).or_default().push(place);
    }
    for ((key, version), value) in written {
        let mut latest: Option<(usize, u64)> = None;
        for place in of_key.get(key.as_str()).into_iter().flatten() {
            let done = &history[*place];
            // A value names its write; of a tombstone the coordinator is known.
            let is_it = match (&done.action, value) {
                (Action::Put(_, put, _), Some(value)) => put == value.as_str(),
                (Action::Delete(..), None) => done.node == version.node.0,
                (Action::Put(..), None) | (Action::Delete(..) | Action::Get(..), _) => false,
            };
            let late = allowed(done.action.level(), config).0 + config.max_clock_drift.0;
            let upto = done.invoked_us + late;
            if is_it && latest.is_none_or(|(_, latest)| latest < upto) {
                latest = Some((*place, upto));
            }
        }
        let Some((place, upto)) = latest else { continue };
        let bound = true_time(upto);
        if version.timestamp > bound {
            let late_us = version.timestamp.micros() - bound.micros();
            let what = format!(
                "op{place} was asked for at {} ms and took effect under {}, {} ms later than any request may",
                history[place].invoked_us / 1_000,
                shown(*version),
                late_us / 1_000,
            );
            return Err(Violation::new(Property::P16, what).shown_by(key.as_str(), &[place]));
        }
    }
    Ok(())
}
