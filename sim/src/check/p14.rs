//! P14 Clocks: a write issued after its coordinator saw a version of that key is newer. (That no stored
//! version exceeds true time plus the drift bound is looked at in each step, by the cluster.)

use std::collections::BTreeMap;

use harness::{order::overtaken, violation::Violation};

use super::{
    property::Property,
    reads::{Begun, Seen, by_key},
};
use crate::{
    shown::shown,
    store::{Done, version, written_at},
};

/// Looks at each write, and at what its coordinator had answered about the key before.
pub fn check(history: &[Done]) -> Result<(), Violation> {
    for (key, places) in by_key(history) {
        let mut by_node: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for place in places {
            by_node.entry(history[place].node).or_default().push(place);
        }
        for (node, places) in by_node {
            if let Some((write, (_, seen, before))) = older_write(history, &places) {
                let (got, version) = (shown(version(&history[write])), shown(seen));
                let what = format!(
                    "op {write} got {got}, though n{node} had answered op {before} with {version}"
                );
                return Err(Violation::new(Property::P14, what).shown_by(key, &[before, write]));
            }
        }
    }
    Ok(())
}

fn older_write(history: &[Done], places: &[usize]) -> Option<(usize, Seen)> {
    let seen: Vec<Seen> = places
        .iter()
        .filter_map(|place| {
            let done = &history[*place];
            done.returned.zip(version(done)).map(|(at, version)| (at, version, *place))
        })
        .collect();
    let writes = places.iter().filter(|place| written_at(&history[**place]).is_some());
    let begun = writes.map(|place| {
        let done = &history[*place];
        Begun { at: done.invoked, version: version(done), place: *place, is_write: true }
    });
    let (write, seen) = overtaken(seen, begun.collect())?;
    Some((write.place, seen))
}
