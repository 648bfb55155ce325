//! P14 Clocks: a write issued after its coordinator saw a version of that key is newer. (That no stored
//! version exceeds true time plus the drift bound is looked at in each step, by the cluster.)

use std::collections::BTreeMap;

use kv::core::types::NodeId;

use super::{Begun, Seen, Violation, by_key, overtaken, shown};
use crate::history::Done;

/// Looks at each write, and at what its coordinator had answered about the key before.
pub fn check(history: &[Done]) -> Result<(), Violation> {
    for (key, places) in by_key(history) {
        let mut by_node: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for place in places {
            by_node.entry(history[place].node).or_default().push(place);
        }
        for (node, places) in by_node {
            if let Some((write, (_, version, before))) = older_write(history, &places) {
                let (got, version) = (shown(history[write].version()), shown(version));
                let what = format!(
                    "op {write} got {got}, though {node} had answered op {before} with {version}"
                );
                return Err(Violation::new("P14", what).shown_by(key, &[before, write]));
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
            done.returned.zip(done.version()).map(|(at, version)| (at, version, *place))
        })
        .collect();
    let writes = places.iter().filter(|place| history[**place].written_at().is_some());
    let begun = writes.map(|place| {
        let done = &history[*place];
        Begun { at: done.invoked, version: done.version(), place: *place, is_write: true }
    });
    let (write, seen) = overtaken(seen, begun.collect())?;
    Some((write.place, seen))
}
