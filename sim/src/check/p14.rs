//! P14 Clocks: a write issued after its coordinator saw a version of that key is newer. (That no stored
//! version exceeds true time plus the drift bound is looked at in each step, by the cluster.)

use std::collections::BTreeMap;

use kv::types::NodeId;

use super::{Seen, Violation, by_key};
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
                let what = format!(
                    "op{write} got {}, though {node} had answered op{before} with {version}",
                    history[write].version().expect("an ok write"),
                );
                return Err(Violation::new("P14", what).shown_by(key, &[before, write]));
            }
        }
    }
    Ok(())
}

fn older_write(history: &[Done], places: &[usize]) -> Option<(usize, Seen)> {
    let mut seen: Vec<Seen> = places
        .iter()
        .filter_map(|place| {
            let done = &history[*place];
            done.returned.zip(done.version()).map(|(at, version)| (at, version, *place))
        })
        .collect();
    seen.sort_unstable();
    let mut writes: Vec<usize> =
        places.iter().copied().filter(|place| history[*place].written_at().is_some()).collect();
    writes.sort_unstable_by_key(|place| history[*place].invoked);
    let mut seen = seen.into_iter().peekable();
    let mut newest: Option<Seen> = None;
    for write in writes {
        while let Some(next) = seen.next_if(|(at, _, _)| *at < history[write].invoked) {
            if newest.is_none_or(|(_, version, _)| next.1 > version) {
                newest = Some(next);
            }
        }
        if let Some(newest) = newest.filter(|(_, v, _)| history[write].version() <= Some(*v)) {
            return Some((write, newest));
        }
    }
    None
}
