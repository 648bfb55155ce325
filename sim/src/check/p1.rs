//! P1 Convergence: once faults are healed, all owners of a slot hold equal records, for each key the
//! greatest version that survived, and never one older than an ok write, unless as many disks as
//! acknowledged it were lost.

use std::collections::{BTreeMap, BTreeSet};

use harness::{tally::Tally, violation::Violation};
use kv::core::{
    record::{Record, Version},
    types::{Key, NodeId},
};

use super::{p10::copies, property::Property, reads::by_key};
use crate::{evidence::Evidence, gates::Sometimes, shown::shown, store::written_at};

/// Looks at what the owners hold in the end.
pub fn check(evidence: &Evidence, tally: &mut Tally) -> Result<(), Violation> {
    owners_agree(evidence)?;
    let held = evidence.last_versions();
    for (key, places) in by_key(&evidence.history) {
        for place in places {
            let done = &evidence.history[place];
            let Some((_, version)) = written_at(done) else { continue };
            let last = held.get(key).copied();
            if last < Some(version) {
                let key = Key::trusted(key);
                let had_it = |disk: &&BTreeMap<Key, Version>| disk.get(&key) >= Some(&version);
                let lost = evidence.disks_lost.iter().filter(had_it).count();
                if lost >= copies(done.action.level(), evidence.ring.replication()) {
                    tally.sometimes(Sometimes::LostWithDisks);
                    continue;
                }
                let key = key.as_str();
                let (version, last) = (shown(version), shown(last));
                let what = format!("op {place} wrote {version}, the owners end with {last}");
                return Err(Violation::new(Property::P1, what).shown_by(key, &[place]));
            }
        }
    }
    Ok(())
}

/// All owners of a key hold the same record of it.
fn owners_agree(evidence: &Evidence) -> Result<(), Violation> {
    let keys: BTreeSet<&Key> = evidence.held.values().flat_map(BTreeMap::keys).collect();
    for key in keys {
        let of = |node: &NodeId| evidence.held.get(node)?.get(key);
        let owners = evidence.ring.owners(evidence.ring.slot_of(key.as_str())).all();
        let Some((first, others)) = owners.split_first() else { continue };
        if let Some(other) = others.iter().find(|other| of(other) != of(first)) {
            let version = |record: Option<&Record>| shown(record.map(|record| record.version));
            let (one, two) = (version(of(first)), version(of(other)));
            let what = format!("{first} ends with {one}, and {other} with {two}");
            return Err(Violation::new(Property::P1, what).about(key.as_str()));
        }
    }
    Ok(())
}
