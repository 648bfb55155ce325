//! P13 beside stateright's search for a linearization, on small random histories: those of a true
//! register, and the same with something changed.

#![allow(clippy::print_stdout, reason = "the runner of the tests takes it")]

mod histories;
mod testers;

use std::{cell::Cell, collections::BTreeMap};

use harness::tally::Tally;
use histories::{apply, change, places, plan, true_history};
use kv::core::{record::Version, time::Timestamp, types::NodeId};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use sim::{
    check::p13,
    scenario::Action,
    store::{Answer, Done, Outcome},
};

/// Histories that are judged twice.
const CASES: u32 = 20_000;

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
    let config = Config {
        cases: CASES,
        max_shrink_iters: 4 * CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, random);
    let (good, bad) = (Cell::new(0), Cell::new(0));
    let ran = runner.run(&(plans, changes), |(plans, changes)| {
        let mut history = true_history(&plans);
        changes.iter().for_each(|change| apply(&mut history, change));
        let holds = p13(&history);
        prop_assert_eq!(holds, stateright(&history), "{:#?}", history);
        prop_assert!(holds || !changes.is_empty(), "a true register failed: {:#?}", history);
        let counted = if holds { &good } else { &bad };
        counted.set(counted.get() + 1);
        Ok(())
    });
    ran.unwrap_or_else(|why| panic!("{why}"));
    println!("{} histories held, {} failed", good.get(), bad.get());
    assert!(good.get() > CASES / 10 && bad.get() > CASES / 10, "one verdict is rare");
}

/// Whether some order of versions makes it hold.
fn some_versions_hold(history: &[Done]) -> bool {
    let writes = places(history, |done| done.action.is_write());
    orders(writes.len()).iter().any(|order| {
        let versions = writes.iter().zip(order).map(|(place, turn)| {
            let node = NodeId(history[*place].node);
            let Action::Put(_, value, _) = &history[*place].action else {
                unreachable!("no deletes")
            };
            (value.as_str(), Version { timestamp: Timestamp(*turn as u64 + 1), node })
        });
        let versions: BTreeMap<&str, Version> = versions.collect();
        let mut told = history.to_vec();
        for done in &mut told {
            match (&mut done.outcome, &done.action) {
                (Outcome::Ok(Answer::Written(version)), Action::Put(_, value, _)) => {
                    *version = versions[value.as_str()];
                }
                (Outcome::Ok(Answer::Found(Some(record))), _) => {
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
        Outcome::Ok(Answer::Found(Some(record))) => record.value.is_some(),
        _ => true,
    });
    history
}

#[test]
fn p13_judges_versions_as_stateright_judges_a_register_that_tells_them() {
    judge_alike(8, p13_holds, testers::versions_hold);
}

#[test]
fn p13_holds_for_some_versions_just_where_stateright_lets_the_values_pass() {
    let p13 = |history: &[Done]| some_versions_hold(&without_deletes(history));
    judge_alike(7, p13, |history| testers::values_hold(&without_deletes(history)));
}
