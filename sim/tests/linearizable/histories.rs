//! Small random histories of one key: of a true register, and changes of them.

use std::collections::BTreeMap;

use kv::core::{
    quorum::Level,
    record::{Record, Version},
    time::Timestamp,
    types::{self, NodeId},
};
use proptest::prelude::*;
use sim::{
    scenario::Action,
    store::{Answer, Done, Outcome, found_at, version},
};

/// How an operation of a plan ends for its client.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Ok,
    Failed,
    /// It happened, perhaps long after the client stopped waiting.
    UnknownDone,
    UnknownNever,
}

#[derive(Clone, Debug)]
pub struct Plan {
    kind: u8,
    node: u32,
    end: End,
    begins: u64,
    /// How long until it happens, and from then until it ends.
    lasts: (u64, u64),
}

/// What is changed about a history of a true register. Places are taken modulo what there is.
#[derive(Clone, Debug)]
pub enum Change {
    /// A read finds what a write wrote, whatever became of that write; or nothing.
    Reread(usize, Option<usize>),
    /// Two versions change places, everywhere.
    SwapVersions(usize, usize),
    /// A read tells another version.
    Retag(usize, u64),
    /// The client is told something else of a write.
    Retell(usize, End),
    /// An operation is made later than it was.
    Delay(usize, u64),
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let end = prop_oneof![
        6 => Just(End::Ok),
        1 => Just(End::Failed),
        2 => Just(End::UnknownDone),
        1 => Just(End::UnknownNever),
    ];
    (0u8..9, 1u32..3, end, 0u64..24, (1u64..6, 1u64..6))
        .prop_map(|(kind, node, end, begins, lasts)| Plan { kind, node, end, begins, lasts })
}

pub fn change() -> impl Strategy<Value = Change> {
    let end = prop_oneof![Just(End::Ok), Just(End::Failed), Just(End::UnknownNever)];
    prop_oneof![
        3 => (0usize..8, prop::option::weighted(0.8, 0usize..8)).prop_map(|(a, b)| Change::Reread(a, b)),
        2 => (0usize..8, 0usize..8).prop_map(|(a, b)| Change::SwapVersions(a, b)),
        1 => (0usize..8, 0u64..20).prop_map(|(a, b)| Change::Retag(a, b)),
        2 => (0usize..8, end).prop_map(|(a, b)| Change::Retell(a, b)),
        2 => (0usize..8, 1u64..9).prop_map(|(a, b)| Change::Delay(a, b)),
    ]
}

/// Runs plans on a true register: each happens at one moment between its beginning and its end.
pub fn true_history(plans: &[Plan]) -> Vec<Done> {
    // No two moments are the same.
    let moment = |at: u64, part: u64, place: usize| at * 64 + part * 16 + place as u64;
    let mut order: Vec<(u64, usize)> = plans
        .iter()
        .enumerate()
        .map(|(place, plan)| (moment(plan.begins + plan.lasts.0, 1, place), place))
        .collect();
    order.sort_unstable();
    let mut held: Option<Record> = None;
    let mut history = BTreeMap::new();
    for (turn, (_, place)) in order.into_iter().enumerate() {
        let plan = &plans[place];
        let node = NodeId(plan.node);
        let version = Version { timestamp: Timestamp(2 * turn as u64 + 2), node };
        let key = String::from("k");
        let level = Level::Linearizable;
        let (action, wrote) = match plan.kind {
            0..=2 => {
                (Action::Put(key, format!("v{place}"), level), Some(Some(format!("v{place}"))))
            }
            3 => (Action::Delete(key, level), Some(None)),
            _ => (Action::Get(key, level), None),
        };
        if let (Some(value), End::Ok | End::UnknownDone) = (&wrote, plan.end) {
            held = Some(Record { version, value: value.as_deref().map(types::Value::trusted) });
        }
        let outcome = match (plan.end, &wrote) {
            (End::Ok, Some(_)) => Outcome::Ok(Answer::Written(version)),
            (End::Ok | End::UnknownDone, None) => Outcome::Ok(Answer::Found(held.clone())),
            (End::Failed, _) => Outcome::Failed("busy"),
            (End::UnknownDone | End::UnknownNever, _) => Outcome::Unknown("timeout"),
        };
        // Who does not know stopped waiting, perhaps before it happened.
        let ends = match outcome {
            Outcome::Unknown(_) => plan.begins + 1,
            _ => plan.begins + plan.lasts.0 + plan.lasts.1,
        };
        let (invoked, returned) = (moment(plan.begins, 0, place), moment(ends, 2, place));
        history.insert(
            place,
            Done {
                client: place as u32,
                node: plan.node,
                action,
                invoked,
                invoked_us: invoked,
                returned: Some(returned),
                returned_us: Some(returned),
                outcome,
            },
        );
    }
    history.into_values().collect()
}

pub fn places(history: &[Done], which: impl Fn(&Done) -> bool) -> Vec<usize> {
    (0..history.len()).filter(|place| which(&history[*place])).collect()
}

fn pick(from: &[usize], at: usize) -> Option<usize> {
    (!from.is_empty()).then(|| from[at % from.len()])
}

pub fn apply(history: &mut [Done], change: &Change) {
    let ok_reads = places(history, |done| found_at(done).is_some());
    let writes = places(history, |done| done.action.is_write());
    match change {
        Change::Reread(read, write) => {
            let Some(read) = pick(&ok_reads, *read) else { return };
            let found = write.and_then(|write| pick(&writes, write));
            history[read].outcome =
                Outcome::Ok(Answer::Found(found.map(|write| written_by(history, write))));
        }
        Change::SwapVersions(one, other) => {
            let named: Vec<usize> = places(history, |done| version(done).is_some());
            let (Some(one), Some(other)) = (pick(&named, *one), pick(&named, *other)) else {
                return;
            };
            let (Some(one), Some(other)) = (version(&history[one]), version(&history[other]))
            else {
                return;
            };
            rename(history, |version| match version {
                version if version == one => Version { timestamp: other.timestamp, ..version },
                version if version == other => Version { timestamp: one.timestamp, ..version },
                version => version,
            });
        }
        Change::Retag(read, time) => {
            let Some(read) = pick(&ok_reads, *read) else { return };
            let timestamp = Timestamp(*time);
            rename(&mut history[read..=read], |version| Version { timestamp, ..version });
        }
        Change::Retell(write, end) => {
            let Some(write) = pick(&writes, *write) else { return };
            let version = written_by(history, write).version;
            history[write].outcome = match end {
                End::Ok => Outcome::Ok(Answer::Written(version)),
                End::Failed => Outcome::Failed("busy"),
                End::UnknownDone | End::UnknownNever => Outcome::Unknown("timeout"),
            };
        }
        Change::Delay(place, by) => {
            let place = place % history.len();
            history[place].invoked += by * 64;
            history[place].returned = history[place].returned.map(|at| at + by * 64);
        }
    }
}

/// The record that a write made, as far as anyone knows; else with a version that nobody has.
fn written_by(history: &[Done], write: usize) -> Record {
    let value = match &history[write].action {
        Action::Put(_, value, _) => Some(types::Value::trusted(value)),
        Action::Delete(..) | Action::Get(..) => None,
    };
    let read = history.iter().find_map(|done| {
        let (_, record) = found_at(done)?;
        record.filter(|record| value.is_some() && record.value == value)
    });
    let known = version(&history[write]).or(read.map(|record| record.version));
    let timestamp = Timestamp(2 * write as u64 + 1);
    let version = known.unwrap_or(Version { timestamp, node: NodeId(history[write].node) });
    Record { version, value }
}

fn rename(history: &mut [Done], name: impl Fn(Version) -> Version) {
    for done in history {
        match &mut done.outcome {
            Outcome::Ok(Answer::Written(version)) => *version = name(*version),
            Outcome::Ok(Answer::Found(Some(record))) => record.version = name(record.version),
            Outcome::Ok(Answer::Found(None)) | Outcome::Failed(_) | Outcome::Unknown(_) => {}
        }
    }
}
