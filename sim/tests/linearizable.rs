//! P13 beside stateright's search for a linearization, on small random histories: those of a true
//! register, and the same with something changed.

use std::{cell::Cell, collections::BTreeMap};

use kv::{
    clock::Timestamp,
    quorum::Level,
    record::{Record, Version},
    types::{self, NodeId},
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use sim::{
    check::p13,
    history::{Done, Outcome},
    scenario::Action,
    tally::Tally,
};
use stateright::semantics::{
    ConsistencyTester, LinearizabilityTester, SequentialSpec,
    register::{Register, RegisterOp, RegisterRet},
};

/// Histories that are judged twice.
const CASES: u32 = 20_000;

/// How an operation of a plan ends for its client.
#[derive(Clone, Copy, Debug)]
enum End {
    Ok,
    Failed,
    /// It happened, perhaps long after the client stopped waiting.
    UnknownDone,
    UnknownNever,
}

#[derive(Clone, Debug)]
struct Plan {
    kind: u8,
    node: u32,
    end: End,
    begins: u64,
    /// How long until it happens, and from then until it ends.
    lasts: (u64, u64),
}

/// What is changed about a history of a true register. Places are taken modulo what there is.
#[derive(Clone, Debug)]
enum Change {
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

fn plan() -> impl Strategy<Value = Plan> {
    let end = prop_oneof![
        6 => Just(End::Ok),
        1 => Just(End::Failed),
        2 => Just(End::UnknownDone),
        1 => Just(End::UnknownNever),
    ];
    (0u8..9, 1u32..3, end, 0u64..24, (1u64..6, 1u64..6))
        .prop_map(|(kind, node, end, begins, lasts)| Plan { kind, node, end, begins, lasts })
}

fn change() -> impl Strategy<Value = Change> {
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
fn true_history(plans: &[Plan]) -> Vec<Done> {
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
            (End::Ok, Some(_)) => Outcome::Written(version),
            (End::Ok | End::UnknownDone, None) => Outcome::Found(held.clone()),
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
                number: place,
                client: place as u32,
                node,
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

fn places(history: &[Done], which: impl Fn(&Done) -> bool) -> Vec<usize> {
    (0..history.len()).filter(|place| which(&history[*place])).collect()
}

fn pick(from: &[usize], at: usize) -> Option<usize> {
    (!from.is_empty()).then(|| from[at % from.len()])
}

fn apply(history: &mut [Done], change: &Change) {
    let ok_reads = places(history, |done| done.found_at().is_some());
    let writes = places(history, |done| done.action.is_write());
    match change {
        Change::Reread(read, write) => {
            let Some(read) = pick(&ok_reads, *read) else { return };
            let found = write.and_then(|write| pick(&writes, write));
            history[read].outcome = Outcome::Found(found.map(|write| written_by(history, write)));
        }
        Change::SwapVersions(one, other) => {
            let named: Vec<usize> = places(history, |done| done.version().is_some());
            let (Some(one), Some(other)) = (pick(&named, *one), pick(&named, *other)) else {
                return;
            };
            let (Some(one), Some(other)) = (history[one].version(), history[other].version())
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
                End::Ok => Outcome::Written(version),
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
        let (_, record) = done.found_at()?;
        record.filter(|record| value.is_some() && record.value == value)
    });
    let known = history[write].version().or(read.map(|record| record.version));
    let timestamp = Timestamp(2 * write as u64 + 1);
    let version = known.unwrap_or(Version { timestamp, node: history[write].node });
    Record { version, value }
}

fn rename(history: &mut [Done], name: impl Fn(Version) -> Version) {
    for done in history {
        match &mut done.outcome {
            Outcome::Written(version) => *version = name(*version),
            Outcome::Found(Some(record)) => record.version = name(record.version),
            Outcome::Found(None) | Outcome::Failed(_) | Outcome::Unknown(_) => {}
        }
    }
}

/// A register whose writes answer with a version, larger than all before.
#[derive(Clone, Debug, Default)]
struct Versioned {
    value: Option<String>,
    /// The version, or what it is larger than where nobody has read it.
    version: Held,
}

#[derive(Clone, Copy, Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Known(Version),
    /// Of an unknown write through this node.
    Above(Option<Version>, NodeId),
}

impl Versioned {
    /// No version that is to come may be at this one or below.
    fn floor(&self) -> Option<Version> {
        match self.version {
            Held::Nothing => None,
            Held::Known(version) => Some(version),
            Held::Above(version, _) => version,
        }
    }

    fn read(&mut self, found: Option<&Record>) -> bool {
        let Some(record) = found else { return matches!(self.version, Held::Nothing) };
        let value = record.value.as_ref().map(|value| value.as_str());
        let fits = match self.version {
            Held::Nothing => false,
            Held::Known(version) => version == record.version,
            Held::Above(floor, node) => floor < Some(record.version) && node == record.version.node,
        };
        self.version = Held::Known(record.version);
        fits && value == self.value.as_deref()
    }
}

impl SequentialSpec for Versioned {
    type Op = (Action, NodeId);
    type Ret = Outcome;

    /// What is in flight at the end: a write under a version that nobody knows.
    fn invoke(&mut self, (action, node): &Self::Op) -> Outcome {
        self.version = Held::Above(self.floor(), *node);
        self.value = match action {
            Action::Put(_, value, _) => Some(value.clone()),
            Action::Delete(..) | Action::Get(..) => None,
        };
        Outcome::Unknown("in flight")
    }

    fn is_valid_step(&mut self, (action, node): &Self::Op, told: &Outcome) -> bool {
        match told {
            Outcome::Found(found) => self.read(found.as_ref()),
            Outcome::Written(version) => {
                let fits = self.floor() < Some(*version);
                self.invoke(&(action.clone(), *node));
                self.version = Held::Known(*version);
                fits
            }
            Outcome::Failed(_) | Outcome::Unknown(_) => false,
        }
    }
}

/// The beginnings and ends of operations that may have happened, in order; what is unknown has no end,
/// and unknown reads are left out.
fn moments(history: &[Done]) -> Vec<(usize, bool)> {
    let mut moments = Vec::new();
    for (place, done) in history.iter().enumerate() {
        let is_ok = matches!(done.outcome, Outcome::Written(_) | Outcome::Found(_));
        let is_unknown = matches!(done.outcome, Outcome::Unknown(_)) && done.action.is_write();
        if is_ok || is_unknown {
            moments.push((done.invoked, place, true));
        }
        if let (true, Some(returned)) = (is_ok, done.returned) {
            moments.push((returned, place, false));
        }
    }
    moments.sort_unstable();
    moments.into_iter().map(|(_, place, begins)| (place, begins)).collect()
}

fn stateright_says_versions_hold(history: &[Done]) -> bool {
    let mut tester = LinearizabilityTester::new(Versioned::default());
    for (place, begins) in moments(history) {
        let done = &history[place];
        let told = match begins {
            true => tester.on_invoke(place, (done.action.clone(), done.node)),
            false => tester.on_return(place, done.outcome.clone()),
        };
        told.expect("each operation is a thread of its own");
    }
    tester.is_consistent()
}

/// The same of stateright's own register, which knows values only, and no deletes.
fn stateright_says_values_hold(history: &[Done]) -> bool {
    let mut tester = LinearizabilityTester::new(Register(None));
    for (place, begins) in moments(history) {
        let done = &history[place];
        let told = match (begins, &done.action, &done.outcome) {
            (true, Action::Put(_, value, _), _) => {
                tester.on_invoke(place, RegisterOp::Write(Some(types::Value::trusted(value))))
            }
            (true, ..) => tester.on_invoke(place, RegisterOp::Read),
            (false, _, Outcome::Found(found)) => {
                let value = found.as_ref().and_then(|record| record.value.clone());
                tester.on_return(place, RegisterRet::ReadOk(value))
            }
            (false, ..) => tester.on_return(place, RegisterRet::WriteOk),
        };
        told.expect("each operation is a thread of its own");
    }
    tester.is_consistent()
}

fn p13_holds(history: &[Done]) -> bool {
    p13::check(history, &mut Tally::default()).is_ok()
}

/// Histories as P13 and stateright are to judge alike, and how they judge them.
fn judge_alike(
    operations: usize,
    p13: impl Fn(&[Done]) -> bool,
    stateright: impl Fn(&[Done]) -> bool,
) {
    let plans = prop::collection::vec(plan(), 2..=operations);
    let changes = prop::collection::vec(change(), 0..5);
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, random);
    let (good, bad) = (Cell::new(0), Cell::new(0));
    let ran = runner.run(&(plans, changes), |(plans, changes)| {
        let mut history = true_history(&plans);
        changes.iter().for_each(|change| apply(&mut history, change));
        let holds = p13(&history);
        prop_assert_eq!(holds, stateright(&history), "{:#?}", history);
        prop_assert!(holds || !changes.is_empty(), "a true register fell: {:#?}", history);
        let counted = if holds { &good } else { &bad };
        counted.set(counted.get() + 1);
        Ok(())
    });
    ran.unwrap_or_else(|why| panic!("{why}"));
    println!("{} histories held, {} fell", good.get(), bad.get());
    assert!(good.get() > CASES / 10 && bad.get() > CASES / 10, "one verdict is rare");
}

/// Whether some order of versions makes it hold.
fn some_versions_hold(history: &[Done]) -> bool {
    let writes = places(history, |done| done.action.is_write());
    orders(writes.len()).iter().any(|order| {
        let versions = writes.iter().zip(order).map(|(place, turn)| {
            let node = history[*place].node;
            let Action::Put(_, value, _) = &history[*place].action else {
                unreachable!("no deletes")
            };
            (value.as_str(), Version { timestamp: Timestamp(*turn as u64 + 1), node })
        });
        let versions: BTreeMap<&str, Version> = versions.collect();
        let mut told = history.to_vec();
        for done in &mut told {
            match (&mut done.outcome, &done.action) {
                (Outcome::Written(version), Action::Put(_, value, _)) => {
                    *version = versions[value.as_str()];
                }
                (Outcome::Found(Some(record)), _) => {
                    let value = record.value.as_ref().expect("no deletes");
                    record.version = versions[value.as_str()];
                }
                _ => {}
            }
        }
        p13_holds(&told)
    })
}

/// All orders of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(fewer) = count.checked_sub(1) else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for order in orders(fewer) {
        for at in 0..count {
            let mut longer = order.clone();
            longer.insert(at, fewer);
            all.push(longer);
        }
    }
    all
}

/// The same without deletes and without what read them.
fn without_deletes(history: &[Done]) -> Vec<Done> {
    let mut history: Vec<Done> = history.to_vec();
    history.retain(|done| !matches!(done.action, Action::Delete(..)));
    history.retain(|done| match &done.outcome {
        Outcome::Found(Some(record)) => record.value.is_some(),
        _ => true,
    });
    history
}

#[test]
fn p13_judges_versions_as_stateright_judges_a_register_that_tells_them() {
    judge_alike(8, p13_holds, stateright_says_versions_hold);
}

#[test]
fn p13_holds_for_some_versions_just_where_stateright_lets_the_values_pass() {
    let p13 = |history: &[Done]| some_versions_hold(&without_deletes(history));
    judge_alike(7, p13, |history| stateright_says_values_hold(&without_deletes(history)));
}
