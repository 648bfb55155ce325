//! Scenarios as texts.

use std::process::Command;

use harness::{
    fault::{Fault, FaultKind},
    scenario::script::{ScriptStep as Step, Wire},
};
use kv::core::time::Micros;
use sim::{
    run::run,
    scenario::{ChangeAsked, ChangeKind, Scenario},
    swarm::{self, Fixed},
};

#[test]
fn a_scenario_survives_its_text() {
    for seed in 0..100 {
        let scenario = swarm::scenario(seed, &Fixed::default());
        assert_eq!(Scenario::parse(&scenario.text()).unwrap(), scenario, "seed {seed}");
    }
}

#[test]
fn a_scenario_from_a_file_runs_as_from_its_seed() {
    let scenario = swarm::scenario(3, &Fixed::default());
    let read = Scenario::parse(&scenario.text()).unwrap();
    assert_eq!(run(&read, false).hash, run(&scenario, false).hash);
}

#[test]
fn a_bad_text_is_rejected_with_line_and_column() {
    let fixed = Fixed { nodes: Some(4), operations: Some(5), ..Fixed::default() };
    let good = swarm::scenario(0, &fixed).text();
    let wrong = |from: &str, to: &str| {
        let text = good.replacen(from, to, 1);
        assert!(text != good, "{from:?} is in the text");
        Scenario::parse(&text).unwrap_err().to_string()
    };
    assert_eq!(wrong("seed: 0,", "seed: x,"), "line 2, column 11: Expected integer");
    let unknown = wrong("seed: 0,", "sede: 0,");
    assert!(unknown.starts_with("line 2, column 9: ") && unknown.contains("sede"), "{unknown}");
    let cut = Scenario::parse(&good[..good.len() / 2]).unwrap_err().to_string();
    assert!(cut.starts_with("line "), "{cut}");
    let nodes = wrong("nodes: 4", "nodes: 0");
    assert_eq!(nodes, "cluster.nodes is 0, and must be from 1 to 100");
}

#[test]
fn numbers_of_no_sense_are_refused_by_name() {
    let good = swarm::scenario(3, &Fixed { operations: Some(5), ..Fixed::default() });
    let refused = |spoil: &dyn Fn(&mut Scenario)| {
        let mut bad = good.clone();
        spoil(&mut bad);
        Scenario::parse(&bad.text()).expect_err("it makes no sense").to_string()
    };
    let text = refused(&|bad| bad.network.usual.loss = u32::MAX);
    assert_eq!(text, "a link's loss is 4294967295, and must be from 0 to 1000");
    let text = refused(&|bad| bad.cluster.config.max_in_flight = 0);
    assert_eq!(text, "cluster.config.max_in_flight is 0, and must be from 1 to 1000000");
    let text = refused(&|bad| bad.cluster.config.limits.key_chars = 0);
    assert_eq!(text, "cluster.config.limits.key_chars is 0, and must be from 1 to 10000");
    let text = refused(&|bad| bad.cluster.config.pull_every = Micros(0));
    assert_eq!(text, "cluster.config.pull_every is 0, and must be from 1000 to 3600000000");
    let text = refused(&|bad| bad.network.usual.latency_us = (2, 1));
    assert_eq!(text, "a link's latency_us: (2, 1) is no range of microseconds up to 3600000000");
    let text = refused(&|bad| bad.operations[0].after_us = u64::MAX);
    assert!(text.starts_with("an operation's after_us is 18446744073709551615"), "{text}");
    let fault = |kind| Fault { at_ms: 0, for_ms: 1, kind };
    for (kind, names) in [
        (FaultKind::Flapping(vec![1], 0), "a flapping partition's period is 0"),
        (FaultKind::Slow(1, u64::MAX), "a slow node's delay is"),
        (FaultKind::ClockJump(1, i64::MIN), "a clock's jump is -9223372036854775808"),
        (FaultKind::Storm { loss: 0, duplicate: 1_001, reorder: 0 }, "a storm's duplicate is 1001"),
    ] {
        let text = refused(&|bad| bad.faults.push(fault(kind.clone())));
        assert!(text.starts_with(names), "{text}");
    }
}

#[test]
fn a_script_that_cannot_fit_is_refused_or_told_as_such() {
    let fixed = Fixed { nodes: Some(3), replication: Some(3), ..Fixed::default() };
    let scripted = |script: Vec<Step>| Scenario {
        script,
        changes: Vec::new(),
        stale: None,
        ..swarm::scenario(1, &fixed)
    };
    let refused = |script| Scenario::parse(&scripted(script).text()).unwrap_err().to_string();
    let wire = |to| Wire { from: 1, to, says: "write 9.9".into(), after: 0 };
    assert!(refused(vec![Step::Ask(1_000_000)]).contains("asks operation 1000000"));
    assert_eq!(refused(vec![Step::Ask(0), Step::Ask(0)]), "the script asks operation 0 twice");
    assert!(refused(vec![Step::Crash(0)]).contains("node 0"));
    assert!(refused(vec![Step::Deliver(wire(4))]).contains("node 4"));
    for step in [Step::Deliver(wire(2)), Step::Lose(wire(2)), Step::Fire(1, "Hedge".into())] {
        let violation = run(&scripted(vec![step]), false).violation.expect("it does not fit");
        assert_eq!(violation.property, "script");
        assert!(violation.what.starts_with("step 0 does not fit"), "{violation}");
    }
    let crashes = scripted(vec![Step::Crash(1), Step::Crash(1), Step::Crash(2)]);
    assert_eq!(run(&crashes, false).violation, None);
}

#[test]
fn the_command_refuses_bad_input_with_2() {
    let sim = |args: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_sim")).args(args).output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.ron");
    std::fs::write(&file, "(seed: 1, cluster: 2)").unwrap();
    let (code, text) = sim(&["replay", file.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(text.contains("line 1, column 20"), "{text}");
    assert_eq!(sim(&["replay", "no such file"]).0, Some(2));
    assert_eq!(sim(&["replay", file.to_str().unwrap(), "--nodes", "3"]).0, Some(2));
    assert_eq!(sim(&["--nodes", "0"]).0, Some(2));
    assert_eq!(sim(&["--nodes", "101"]).0, Some(2));
    assert_eq!(sim(&["--seeds", "0"]).0, Some(2));
    assert_eq!(sim(&["--unknown"]).0, Some(2));
}

#[test]
fn odd_changes_of_the_ring_hold_too() {
    use ChangeKind::{Accuse, Cancel, Join, Leave};
    let everyone_leaves: Vec<ChangeKind> = (1..=3).map(Leave).collect();
    for (nodes, replication, kinds) in [
        // One member, which many join at once; and which is left again.
        (1, 3, vec![Join; 8]),
        (1, 1, vec![Join, Leave(1)]),
        // As many replicas as members.
        (2, 2, vec![Leave(1), Join, Leave(2)]),
        (4, 4, vec![Join, Accuse(1), Leave(2)]),
        (3, 3, everyone_leaves),
        // Operators that contradict each other.
        (5, 3, vec![Leave(5), Accuse(5), Cancel, Leave(5), Leave(4), Cancel]),
        // Nobody has these ids.
        (3, 2, vec![Leave(4), Accuse(4)]),
        (100, 5, vec![Join, Leave(1), Leave(50), Accuse(100), Join]),
    ] {
        let fixed = Fixed {
            nodes: Some(nodes),
            replication: Some(replication),
            operations: Some(60),
            ..Fixed::default()
        };
        let asked = |kind: &ChangeKind| ChangeAsked { at_ms: 100, kind: *kind };
        let changes: Vec<ChangeAsked> = kinds.iter().map(asked).collect();
        for seed in 0..if nodes == 100 { 2 } else { 20 } {
            let base = swarm::scenario(seed, &fixed);
            let verdict = run(&Scenario { changes: changes.clone(), stale: None, ..base }, false);
            let failed = verdict.violation;
            assert!(
                failed.is_none(),
                "N = {nodes}, R = {replication}, {kinds:?}, {seed}: {failed:?}"
            );
        }
    }
}
