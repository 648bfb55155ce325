//! P13 LINEARIZABLE: the operations at LINEARIZABLE on a key that is written at that level only are
//! linearizable. Reads at other levels are no part of it.
//!
//! A history says more than values: each ok write and each read that found something names a version.
//! What is promised is therefore linearizability in the order of versions: of a register whose writes
//! answer with a version larger than all before, and whose reads answer with value and version. Known
//! versions make that a matter of sorting, O(n log n), where values alone would need a search. A key
//! holds exactly when
//!
//! 1. a version names one write, which wrote the value that was read under it; a read that found
//!    nothing found the first state, older than any version (no tombstone is ever dropped), and
//! 2. where `a` ended before `b` began, `b` has no lower version than `a`, and where `b` is a write a
//!    higher one.
//!
//! *Needed:* a linearization keeps the order of time, and versions only grow in it, with each write.
//! *Enough:* sort by version, within a version the write first and its reads by their beginnings. That
//! is a history of such a register, and it keeps the order of time: were `a` over before `b` began
//! and yet behind it, then either `b` would have the lower version, or both the same one with `b` its
//! write, against 2, or both would be reads and `a` would have begun later than `b`.
//!
//! *Unknown writes* may have happened at any time after they began, so nothing is after them, and one
//! whose version nobody read may be taken not to have happened. Where a read found a version that no
//! ok write has, an unknown write of that value through the version's node made it, and is held to 2.
//! Several may come into question: deletions, which all write nothing. An unknown write fits a
//! version when it began before every operation with that version or a later one had ended. So what
//! fits a version fits all later ones too, and pairing both in their order pairs all that can be.
//! *Failed writes* never happened: nothing may be read of them.

use std::collections::{BTreeMap, VecDeque};

use harness::{
    history::Outcome,
    order::overtaken,
    tally::{Tally, Topic},
    violation::Violation,
};
use kv::core::{quorum::Level, record::Version, types::NodeId};

use super::{
    property::Property,
    reads::{Begun, Seen, by_key, reads},
};
use crate::{
    gates::Sometimes,
    scenario::Action,
    shown::shown,
    store::{Done, found_at, version, written_at},
};

/// The writes of a key, by version.
type Writes = BTreeMap<Version, usize>;

/// Looks at the keys that were written at LINEARIZABLE only.
pub fn check(history: &[Done], tally: &mut Tally) -> Result<(), Violation> {
    for (key, places) in by_key(history) {
        if is_linearizable(history, &places) {
            check_key(history, &places, tally).map_err(|(what, shown)| {
                Violation::new(Property::P13, what).shown_by(key, &shown)
            })?;
        }
    }
    Ok(())
}

/// Whether all that may have been written was written at LINEARIZABLE.
fn is_linearizable(history: &[Done], places: &[usize]) -> bool {
    let mut writes = places
        .iter()
        .map(|place| &history[*place])
        .filter(|done| done.action.is_write() && !matches!(done.outcome, Outcome::Failed(_)));
    writes.all(|done| done.action.level() == Level::Linearizable)
}

/// What is wrong, and the operations that show it.
type Wrong = (String, Vec<usize>);

fn check_key(history: &[Done], places: &[usize], tally: &mut Tally) -> Result<(), Wrong> {
    let reads = reads(history, places, |level| level == Level::Linearizable);
    let mut writes = ok_writes(history, places)?;
    count_contention(history, &writes, tally);
    let learned = learn(history, places, &reads, &mut writes)?;
    tally.add_many(Topic::Event, <&str>::from(Sometimes::UnknownLinearizable), learned);

    // What is unknown tells no version: it is never over.
    let ended = |place: &usize| -> Option<Seen> {
        let done = &history[*place];
        Some((done.returned?, version(done)?, *place))
    };
    let begun = |version, place: usize, is_write| Begun {
        at: history[place].invoked,
        version,
        place,
        is_write,
    };
    let over = writes.values().chain(&reads).filter_map(ended);
    let all_writes = writes.iter().map(|(version, place)| begun(Some(*version), *place, true));
    let all_reads = reads.iter().map(|place| begun(version(&history[*place]), *place, false));
    match overtaken(over.collect(), all_writes.chain(all_reads).collect()) {
        Some((begun, seen)) => Err(out_of_order(history, &writes, &begun, &seen)),
        None => Ok(()),
    }
}

fn ok_writes(history: &[Done], places: &[usize]) -> Result<Writes, Wrong> {
    let mut writes = Writes::new();
    for place in places {
        if let Some((_, version)) = written_at(&history[*place])
            && let Some(other) = writes.insert(version, *place)
        {
            let what = format!("op {other} and op {place} both wrote {}", shown(version));
            return Err((what, vec![other, *place]));
        }
    }
    Ok(writes)
}

/// Finds the write of each version that was read, and adds those that their clients know nothing of: how
/// many.
fn learn(
    history: &[Done],
    places: &[usize],
    reads: &[usize],
    writes: &mut Writes,
) -> Result<u64, Wrong> {
    let mut unknown = unknown_writes(history, places);
    let mut found: BTreeMap<Version, (Option<&str>, usize)> = BTreeMap::new();
    for place in reads {
        let Some((_, Some(record))) = found_at(&history[*place]) else { continue };
        let value = record.value.as_ref().map(|value| value.as_str());
        let (first, other) = *found.entry(record.version).or_insert((value, *place));
        if first != value {
            let version = shown(record.version);
            let what = format!("op {other} and op {place} found two values of {version}");
            return Err((what, vec![other, *place]));
        }
    }
    let mut learned = 0;
    for (version, (value, read)) in found {
        if let Some(write) = writes.get(&version).copied() {
            if written(&history[write].action) != Some(value) {
                let version = shown(version);
                let what = format!("op {read} found {value:?}, but op {write} wrote {version}");
                return Err((what, vec![write, read]));
            }
            continue;
        }
        let candidates = unknown.get_mut(&(value, version.node));
        let Some(write) = candidates.and_then(VecDeque::pop_front) else {
            let version = shown(version);
            let what = format!("op {read} found {version}, which no write can have made");
            return Err((what, vec![read]));
        };
        writes.insert(version, write);
        learned += 1;
    }
    Ok(learned)
}

/// Writes that may have happened, by what they wrote and through which node, earliest first.
fn unknown_writes<'a>(
    history: &'a [Done],
    places: &[usize],
) -> BTreeMap<(Option<&'a str>, NodeId), VecDeque<usize>> {
    let is_unknown = |place: &usize| matches!(history[*place].outcome, Outcome::Unknown(_));
    let mut places: Vec<usize> = places.iter().copied().filter(is_unknown).collect();
    places.sort_unstable_by_key(|place| history[*place].invoked);
    let mut unknown: BTreeMap<_, VecDeque<usize>> = BTreeMap::new();
    for place in places {
        if let Some(value) = written(&history[place].action) {
            unknown.entry((value, NodeId(history[place].node))).or_default().push_back(place);
        }
    }
    unknown
}

/// What an action writes: a value, or nothing. None: it reads.
fn written(action: &Action) -> Option<Option<&str>> {
    match action {
        Action::Put(_, value, _) => Some(Some(value)),
        Action::Delete(..) => Some(None),
        Action::Get(..) => None,
    }
}

fn out_of_order(history: &[Done], writes: &Writes, begun: &Begun, seen: &Seen) -> Wrong {
    let (_, newest, before) = seen;
    let place = begun.place;
    let (version, over) = (shown(begun.version), shown(*newest));
    let verb = match (begun.is_write, &history[place].outcome) {
        (true, Outcome::Unknown(_)) => "wrote, as others read,",
        (true, _) => "wrote",
        (false, _) => "found",
    };
    let what =
        format!("op {place} began after op {before} ended with {over}, and {verb} {version}");
    // Together with the writes of both versions.
    let mut shown = vec![*before, place];
    let both = [Some(*newest), begun.version].into_iter().flatten();
    shown.extend(both.filter_map(|version| writes.get(&version)));
    shown.sort_unstable();
    shown.dedup();
    (what, shown)
}

/// Counts keys on which ok writes overlapped: without them nothing is tested here.
fn count_contention(history: &[Done], writes: &Writes, tally: &mut Tally) {
    let mut times: Vec<(u64, u64)> = writes
        .values()
        .filter_map(|p| Some((history[*p].invoked, history[*p].returned?)))
        .collect();
    times.sort_unstable();
    let mut latest = 0;
    let overlaps = times.into_iter().any(|(invoked, returned)| {
        let overlaps = invoked < latest;
        latest = latest.max(returned);
        overlaps
    });
    if overlaps {
        tally.sometimes(Sometimes::Contended);
    }
}
