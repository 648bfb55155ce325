//! P5 Unknown is honest: a write that timed out may surface later, but once a QUORUM read returned it, it
//! stays: in what the owners hold in the end, too.

use harness::violation::Violation;

use super::{
    property::Property,
    reads::{by_key, is_quorum, reads},
};
use crate::{evidence::Evidence, shown::shown, store::version};

/// Looks at what reads at QUORUM and above found, and what was left of it.
pub fn check(evidence: &Evidence) -> Result<(), Violation> {
    let held = evidence.last_versions();
    for (key, places) in by_key(&evidence.history) {
        for read in reads(&evidence.history, &places, is_quorum) {
            let found = version(&evidence.history[read]);
            let last = held.get(key).copied();
            if last < found {
                let (found, last) = (shown(found), shown(last));
                let what = format!("op {read} found {found}, the owners end with {last}");
                return Err(Violation::new(Property::P5, what).shown_by(key, &[read]));
            }
        }
    }
    Ok(())
}
