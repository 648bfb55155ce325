//! P5 Unknown is honest: a write that timed out may surface later, but once a QUORUM read returned it, it
//! stays: in what the owners hold in the end, too.

use super::{Evidence, Violation, by_key, is_quorum, p1, reads, shown};
use crate::tally::Tally;

/// Looks at what reads at QUORUM and above found, and what was left of it.
pub fn check(evidence: &Evidence<'_>, _tally: &mut Tally) -> Result<(), Violation> {
    let held = p1::final_versions(evidence);
    for (key, places) in by_key(evidence.history) {
        for read in reads(evidence.history, &places, is_quorum) {
            let found = evidence.history[read].version();
            let last = held.get(key).copied();
            if last < found {
                let (found, last) = (shown(found), shown(last));
                let what = format!("op {read} found {found}, the owners end with {last}");
                return Err(Violation::new("P5", what).shown_by(key, &[read]));
            }
        }
    }
    Ok(())
}
