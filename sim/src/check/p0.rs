//! P0 No invention: a read returns a value that some write, invoked before the read returned and not
//! failed, wrote, or absent.

use std::collections::BTreeMap;

use harness::{history::Outcome, tally::Tally, violation::Violation};

use super::property::Property;
use crate::{
    gates::Sometimes,
    scenario::Action,
    store::{Done, found_at},
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
        let Some((returned, Some(record))) = found_at(read) else { continue };
        let Some(value) = &record.value else { continue };
        let key = read.action.key();
        if value.as_str().is_empty() {
            tally.sometimes(Sometimes::EmptyRead);
        }
        let value = value.as_str();
        let Some(write) = writes.get(&(key, value)).copied() else {
            let what = format!("op {place} found {value:?}, which nobody wrote");
            return Err(Violation::new(Property::P0, what).shown_by(key, &[place]));
        };
        let shown = [write, place];
        if history[write].invoked > returned {
            let what = format!("op {place} found {value:?} before op {write} wrote it");
            return Err(Violation::new(Property::P0, what).shown_by(key, &shown));
        }
        match &history[write].outcome {
            Outcome::Failed(why) => {
                let what = format!("op {place} found {value:?}, but op {write} failed: {why}");
                return Err(Violation::new(Property::P0, what).shown_by(key, &shown));
            }
            Outcome::Unknown(_) => tally.sometimes(Sometimes::UnknownRead),
            Outcome::Ok(_) => {}
        }
    }
    Ok(())
}
