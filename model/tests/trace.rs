//! Simulated runs of model-sized clusters are runs of the model, step by step, to their ends.

use std::sync::Arc;

use harness::operator::Operator as _;
use kv::core::{ring::Ring, time::Micros};
use model::trace::{follow, tamper_with_clock, tamper_with_message};
use sim::{
    operator::StoreOperator,
    run,
    scenario::Scenario,
    swarm::{self, Fixed},
    trace::{Given, Moved},
};

const SEEDS: u64 = 200;

/// A seed's scenario with three nodes of one shard, on one ring.
fn scenario(seed: u64) -> Scenario {
    let fixed =
        Fixed { nodes: Some(3), replication: Some(3), operations: Some(60), ..Fixed::default() };
    let mut scenario = swarm::scenario(seed, &fixed);
    scenario.cluster.config.shards = 1;
    // No model has a detector: nothing rests on it.
    scenario.cluster.config.detect_every = Micros(0);
    // Nor a disk: what is not durable is lost.
    scenario.cluster.journal = None;
    // Nor does a node of a model stand still.
    scenario.cluster.config.pause_after = Micros(u64::MAX);
    (scenario.changes, scenario.stale) = (Vec::new(), None);
    scenario
}

fn ring(scenario: &Scenario) -> Arc<Ring> {
    StoreOperator::new(scenario).birth()
}

/// What the run broke is for the simulation to say: here its steps are looked at.
fn recorded(seed: u64) -> (Scenario, Vec<Moved>) {
    let scenario = scenario(seed);
    let trace = run::run_recorded(&scenario);
    (scenario, trace)
}

#[test]
fn each_step_of_a_simulated_run_is_one_of_the_model() {
    let (mut steps, mut messages, mut crashes, mut timers) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let (scenario, trace) = recorded(seed);
        assert_eq!(ring(&scenario).size(), scenario.cluster.slots);
        let followed = follow(&trace, &scenario.cluster.config, &ring(&scenario));
        assert_eq!(followed, Ok(trace.len()), "seed {seed}");
        steps += trace.len();
        let count =
            |wanted: fn(&Given) -> bool| trace.iter().filter(|moved| wanted(&moved.given)).count();
        messages += count(|given| matches!(given, Given::Message(..)));
        crashes += count(|given| matches!(given, Given::Crash));
        timers += count(|given| matches!(given, Given::Timer(..)));
    }
    println!(
        "{SEEDS} seeds: {steps} steps, {messages} messages, {timers} timers, {crashes} crashes"
    );
    assert!(messages > 0 && timers > 0 && crashes > 0, "the runs were empty");
}

#[test]
fn a_message_that_was_altered_and_a_clock_that_moved_are_found() {
    let tampers: [fn(&mut [Moved]) -> bool; 2] = [tamper_with_message, tamper_with_clock];
    for tamper in tampers {
        let mut found = 0;
        for seed in 0..20 {
            let (scenario, mut trace) = recorded(seed);
            if tamper(&mut trace) {
                follow(&trace, &scenario.cluster.config, &ring(&scenario)).unwrap_err();
                found += 1;
            }
        }
        assert!(found > 10, "only {found} of 20 traces could be altered");
    }
}
