//! P0 No invention: a read returns a value that some write, invoked before the read returned and not
//! failed, wrote, or absent.

use std::collections::BTreeMap;

use super::Violation;
use crate::{
    history::{Done, Outcome},
    scenario::Action,
    tally::{Tally, Topic},
};

/// Looks at all reads that found a value.
pub fn check(history: &[Done], tally: &mut Tally) -> Result<(), Violation> {
    let mut writes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (place, done) in history.iter().enumerate() {
        if let Action::Put(key, value, _) = &done.action {
            writes.insert((key, value), place);
        }
    }
    for (place, read) in history.iter().enumerate() {
        let Some((returned, Some(record))) = read.found_at() else { continue };
        let Some(value) = &record.value else { continue };
        let key = read.action.key();
        if value.as_str().is_empty() {
            tally.add(Topic::Event, "empty value read");
        }
        let value = value.as_str();
        let Some(write) = writes.get(&(key, value)).copied() else {
            let what = format!("op {place} found {value:?}, which nobody wrote");
            return Err(Violation::new("P0", what).shown_by(key, &[place]));
        };
        let shown = [write, place];
        if history[write].invoked > returned {
            let what = format!("op {place} found {value:?} before op {write} wrote it");
            return Err(Violation::new("P0", what).shown_by(key, &shown));
        }
        match &history[write].outcome {
            Outcome::Failed(why) => {
                let what = format!("op {place} found {value:?}, but op {write} failed: {why}");
                return Err(Violation::new("P0", what).shown_by(key, &shown));
            }
            Outcome::Unknown(_) => tally.add(Topic::Event, "unknown write read later"),
            Outcome::Written(_) | Outcome::Found(_) => {}
        }
    }
    Ok(())
}
