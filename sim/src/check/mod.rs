//! The promises of the store, one file each. P2, P14 and the owners of each slot are looked at after
//! each step, by the cluster; the rest when a run is over.

pub mod owners;
pub mod p0;
pub mod p1;
pub mod p13;
pub mod p14;
pub mod p16;
pub mod p3;
pub mod p4;
pub mod p5;
pub mod p7;
pub mod p8;
pub mod p9;
pub mod rings;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use kv::{
    core::{quorum::Level, record::Version, ring::Ring, time::Timestamp, types::Key},
    node::config::NodeConfig,
};

use crate::{cluster::Cluster, history::Done, tally::Tally, world::clock::START_US};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one: `P0` … `P16`, `invariant` or `liveness`.
    pub property: &'static str,
    /// What happened.
    pub what: String,
    /// The key that it is about.
    pub key: Option<String>,
    /// The operations that show it, as places in the history.
    pub operations: Vec<usize>,
    /// Further promises that the run broke.
    pub also: Vec<&'static str>,
}

impl Violation {
    /// A broken promise.
    pub fn new(property: &'static str, what: impl Into<String>) -> Self {
        Self { property, what: what.into(), key: None, operations: Vec::new(), also: Vec::new() }
    }

    /// The same, about a key.
    pub fn about(mut self, key: &Key) -> Self {
        self.key = Some(key.as_str().to_string());
        self
    }

    /// The same, shown by operations on a key.
    pub fn shown_by(mut self, key: &str, operations: &[usize]) -> Self {
        self.key = Some(key.to_string());
        self.operations = operations.to_vec();
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)?;
        if let Some(key) = &self.key {
            write!(f, " (key {key:?})")?;
        }
        match self.also.is_empty() {
            true => Ok(()),
            false => write!(f, "; also violated: {}", self.also.join(", ")),
        }
    }
}

/// A version as people are shown it: when it was given, in milliseconds of the run by its coordinator's clock
/// (and its place among those of that microsecond), and by whom.
pub fn shown(version: impl Into<Option<Version>>) -> String {
    match version.into() {
        Some(version) => format!("{}@{}", relative_ms(version.timestamp), version.node),
        None => "nothing".into(),
    }
}

/// A timestamp in milliseconds of the run.
pub fn relative_ms(timestamp: Timestamp) -> String {
    let micros = i128::from(timestamp.micros()) - i128::from(START_US);
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let text = format!("{sign}{}.{:03}", micros / 1_000, micros % 1_000);
    match timestamp.0 - Timestamp::from_micros(timestamp.micros()).0 {
        0 => text,
        logical => format!("{text}+{logical}"),
    }
}

/// What the checks look at.
pub struct Evidence<'a> {
    /// What clients did.
    pub history: &'a [Done],
    /// Whether the ring changed.
    pub ring_changes: bool,
    /// What was on each disk that was lost for good, and on those of nodes that find nobody.
    pub disks_lost: &'a [BTreeMap<Key, Version>],
    /// The cluster at the end.
    pub cluster: &'a Cluster,
    /// The ring at the end.
    pub ring: &'a Arc<Ring>,
    /// The nodes' settings.
    pub config: &'a NodeConfig,
}

/// What the checks found.
#[derive(Default)]
pub struct Judged {
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// What they counted.
    pub tally: Tally,
}

/// Looks at all promises.
pub fn judge(evidence: &Evidence<'_>) -> Judged {
    let mut tally = Tally::default();
    let history = evidence.history;
    let checks = [
        p0::check(history, &mut tally),
        p1::check(evidence, &mut tally),
        p3::check(history),
        p4::check(history),
        p5::check(evidence, &mut tally),
        p7::check(history),
        p8::check(history, evidence.ring_changes),
        p9::check(history, &mut tally),
        p13::check(history, &mut tally),
        p14::check(history),
        p16::check(history, &evidence.cluster.written(), evidence.config),
    ];
    let mut broken = checks.into_iter().filter_map(Result::err);
    let violation = broken.next().map(|first| {
        let also = broken.map(|other| other.property).collect();
        Violation { also, ..first }
    });
    Judged { violation, tally }
}

/// The keys of a history.
pub fn keys(history: &[Done]) -> BTreeSet<String> {
    history.iter().map(|done| done.action.key().to_string()).collect()
}

/// The operations of each key, as places in the history.
fn by_key(history: &[Done]) -> BTreeMap<&str, Vec<usize>> {
    let mut keys: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, done) in history.iter().enumerate() {
        keys.entry(done.action.key()).or_default().push(place);
    }
    keys
}

/// Something that must be seen by whatever begins later: since when, which version, which operation.
type Seen = (u64, Version, usize);

/// Something that began.
struct Begun {
    /// When.
    at: u64,
    /// With which version. None: it found nothing.
    version: Option<Version>,
    /// Which operation.
    place: usize,
    /// Whether it must be newer than all seen before; if not, it may be the same.
    is_write: bool,
}

/// Finds an operation that began after something was seen and is older: sorts both by time, and walks
/// along with the newest version seen so far.
fn overtaken(mut seen: Vec<Seen>, mut begun: Vec<Begun>) -> Option<(Begun, Seen)> {
    seen.sort_unstable();
    begun.sort_unstable_by_key(|begun| (begun.at, begun.place));
    let mut seen = seen.into_iter().peekable();
    let mut newest: Option<Seen> = None;
    for begun in begun {
        while let Some(next) = seen.next_if(|(at, _, _)| *at < begun.at) {
            if newest.is_none_or(|(_, version, _)| next.1 > version) {
                newest = Some(next);
            }
        }
        let is_older = |version| match begun.is_write {
            true => begun.version <= Some(version),
            false => begun.version < Some(version),
        };
        if let Some(newest) = newest.filter(|(_, version, _)| is_older(*version)) {
            return Some((begun, newest));
        }
    }
    None
}

/// Finds a read that began after something was seen and found an older version of the key.
fn stale_read(history: &[Done], seen: Vec<Seen>, reads: &[usize]) -> Option<(usize, Seen)> {
    let begun = |place: &usize| {
        let done = &history[*place];
        Begun { at: done.invoked, version: done.version(), place: *place, is_write: false }
    };
    let (read, seen) = overtaken(seen, reads.iter().map(begun).collect())?;
    Some((read.place, seen))
}

/// Ok writes of some operations at some levels, as things seen.
fn writes(history: &[Done], places: &[usize], level: impl Fn(Level) -> bool) -> Vec<Seen> {
    let of_level = places.iter().filter(|place| level(history[**place].action.level()));
    of_level.filter_map(|p| history[*p].written_at().map(|(at, v)| (at, v, *p))).collect()
}

/// Ok reads of some operations at some levels.
fn reads(history: &[Done], places: &[usize], level: impl Fn(Level) -> bool) -> Vec<usize> {
    let of_level = places.iter().copied().filter(|place| level(history[*place].action.level()));
    of_level.filter(|place| history[*place].found_at().is_some()).collect()
}

/// Whether a level is at least QUORUM.
fn is_quorum(level: Level) -> bool {
    level.is_majority()
}

fn missed(
    property: &'static str,
    key: &str,
    read: usize,
    seen: &Seen,
    history: &[Done],
) -> Violation {
    let (_, version, other) = seen;
    let (version, found) = (shown(*version), shown(history[read].version()));
    let what = format!("op {read} began after op {other} ended with {version}, and found {found}");
    Violation::new(property, what).shown_by(key, &[*other, read])
}
