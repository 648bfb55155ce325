//! How requests ended: counted by each session for itself, and added up once per turn of its work.

use crate::{
    core::env::{Failure, Reply},
    node::locks::atomic::{AtomicU64, Ordering},
};

/// Counts of one session since it added them up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Requests on keys that were done.
    pub ok: u64,
    /// Requests that may or may not have taken effect.
    pub timeout: u64,
    /// Requests that were not begun: too many under way.
    pub busy: u64,
    /// Writes that were not begun: too few owners told their versions.
    pub unavailable: u64,
    /// Reads at SESSION that found all owners too old.
    pub stale: u64,
    /// Reads at SESSION that were made at ALL: their connections saw too many keys.
    pub overflowed: u64,
    /// Writes that were not begun: the clock is not to be trusted.
    pub clock: u64,
    /// Requests that were not begun: this node stood still, and its ring may not be the newest.
    pub paused: u64,
    /// Commands that are none of ours, or beyond a limit.
    pub refused: u64,
    /// All commands that were taken or refused.
    pub commands: u64,
    /// Connections that were closed because they spoke HTTP.
    pub http: u64,
    /// Reads that found a value, and those that found none. A DEL reads each of its keys.
    pub hits: u64,
    /// See `hits`.
    pub misses: u64,
}

/// The name of a count that is looked at often.
const COMMANDS: &str = "total_commands_processed";

/// How many counts there are.
const COUNTS: usize = 13;

impl Outcomes {
    /// Counts a request by its answer.
    pub fn count(&mut self, reply: &Reply) {
        match reply {
            Reply::Written(_) => self.ok += 1,
            Reply::Found(record) => {
                self.ok += 1;
                let is_hit = record.as_ref().is_some_and(|record| record.value.is_some());
                self.hits += u64::from(is_hit);
                self.misses += u64::from(!is_hit);
            }
            Reply::Failed(Failure::Timeout) => self.timeout += 1,
            Reply::Failed(Failure::Busy) => self.busy += 1,
            Reply::Failed(Failure::Unavailable) => self.unavailable += 1,
            Reply::Failed(Failure::Stale) => self.stale += 1,
            Reply::Failed(Failure::Clock(_)) => self.clock += 1,
            Reply::Failed(Failure::Paused) => self.paused += 1,
        }
    }

    /// The counts with their names.
    fn named(&self) -> [(&'static str, u64); COUNTS] {
        [
            ("requests_ok", self.ok),
            ("requests_timeout", self.timeout),
            ("requests_busy", self.busy),
            ("requests_unavailable", self.unavailable),
            ("requests_stale", self.stale),
            ("session_reads_at_all", self.overflowed),
            ("requests_clock", self.clock),
            ("requests_paused", self.paused),
            ("commands_refused", self.refused),
            (COMMANDS, self.commands),
            ("http_connections_closed", self.http),
            ("keyspace_hits", self.hits),
            ("keyspace_misses", self.misses),
        ]
    }
}

/// The counts of all sessions.
#[derive(Debug, Default)]
pub struct Totals([AtomicU64; COUNTS]);

impl Totals {
    /// Adds a session's counts, which begin anew.
    pub fn add(&self, counts: &mut Outcomes) {
        for ((_, count), total) in std::mem::take(counts).named().into_iter().zip(&self.0) {
            // Most counts are zero, and a shared counter costs.
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// All commands that were taken or refused.
    pub fn commands(&self) -> u64 {
        let place = Outcomes::default().named().iter().position(|(name, _)| *name == COMMANDS);
        place.map_or(0, |place| self.0[place].load(Ordering::Relaxed))
    }

    /// The counts with their names.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = Outcomes::default().named().into_iter().map(|(name, _)| name);
        names.zip(self.0.iter().map(|total| total.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::ClockDoubt;

    #[test]
    fn each_outcome_is_counted_under_its_name() {
        let (totals, mut counts) = (Totals::default(), Outcomes::default());
        counts.count(&Reply::Found(None));
        for failure in [
            Failure::Timeout,
            Failure::Busy,
            Failure::Clock(ClockDoubt::NotCompared),
            Failure::Paused,
            Failure::Busy,
            Failure::Unavailable,
            Failure::Stale,
        ] {
            counts.count(&Reply::Failed(failure));
        }
        counts.overflowed += 2;
        counts.refused += 3;
        counts.commands += 4;
        counts.http += 5;
        totals.add(&mut counts);
        assert_eq!(counts, Outcomes::default());
        totals.add(&mut counts);
        let found: Vec<_> = totals.named().map(|(_, total)| total).collect();
        assert_eq!(found, [1, 1, 2, 1, 1, 2, 1, 1, 3, 4, 5, 0, 1]);
    }
}
