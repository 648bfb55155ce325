//! What a run that failed tells.

use harness::{
    fault::{Fault, FaultKind},
    story::story,
    violation::Violation,
    world::network::Fate,
};
use kv::core::{
    message::{Body, KeyAnswer, KeyRequest, Message},
    quorum::Level,
    record::{Record, Version},
    ring::Change,
    types::{Epoch, Key, NodeId, OpId, Value},
};
use sim::{
    check::Held,
    run::run,
    scenario::{Action, Scenario},
    shown::true_time,
    store::{Answer, Done, Happened, Outcome, Store, Verdict, version as version_of},
    swarm::{self, Fixed},
};

const WIDTH: usize = 90;

fn version(us: u64, node: u32) -> Version {
    Version { timestamp: true_time(us), node: NodeId(node) }
}

fn record(us: u64, node: u32, value: &str) -> Record {
    Record { version: version(us, node), value: Some(Value::trusted(value)) }
}

fn done(node: u32, action: Action, times: (u64, u64), outcome: Outcome) -> Done {
    let (invoked_us, returned_us) = times;
    Done {
        client: 3,
        node,
        action,
        invoked: invoked_us,
        invoked_us,
        returned: Some(returned_us),
        returned_us: Some(returned_us),
        outcome,
    }
}

/// A run by hand: n1 writes to itself and n2, what it sends to n3 is lost, and n3 alone is read.
fn missed_write() -> (Scenario, Verdict) {
    let key = || Key::trusted("k");
    let (old, new) = (record(1_000, 2, "v0"), record(20_000, 1, "v1"));
    let storm = FaultKind::Storm { loss: 116, duplicate: 0, reorder: 30 };
    let mut scenario = swarm::scenario(0, &Fixed { nodes: Some(3), ..Fixed::default() });
    scenario.cluster.replication = 3;
    (scenario.stale, scenario.changes, scenario.operations) = (None, Vec::new(), Vec::new());
    scenario.faults = vec![Fault { at_ms: 10, for_ms: 1_250, kind: storm.clone() }];
    let put = |value: &str| Action::Put("k".into(), value.into(), Level::Quorum);
    let get = || Action::Get("k".into(), Level::Quorum);
    let history = vec![
        done(2, put("v0"), (1_000, 3_400), Outcome::Ok(Answer::Written(old.version))),
        done(1, put("v1"), (20_000, 23_100), Outcome::Ok(Answer::Written(new.version))),
        done(3, get(), (30_000, 31_500), Outcome::Ok(Answer::Found(Some(old.clone())))),
        done(3, get(), (40_000, 41_000), Outcome::Failed("busy")),
    ];
    let sent = |id, from, to, body, fate| {
        let message = Message { epoch: Epoch(1), body };
        Happened::Sent(id, from, to, message, fate)
    };
    let op = |sequence| OpId { shard: 0, sequence };
    let write = |sequence, record: &Record| -> Body {
        KeyRequest::Write { op: op(sequence), again: false, key: key(), record: record.clone() }
            .into()
    };
    let found = KeyAnswer::Found { op: op(5), record: Some(old.clone()) }.into();
    let told = vec![
        (0, Happened::Phase("load")),
        (0, Happened::Started(1)),
        (1_000, Happened::Invoked(0)),
        (1_000, sent(1, 2, 3, write(1, &old), Fate::Arrives(800))),
        (1_000, sent(2, 2, 1, write(1, &old), Fate::Arrives(900))),
        (1_800, Happened::Arrived(1)),
        (1_900, Happened::Arrived(2)),
        (3_400, Happened::Ended(0)),
        (10_000, Happened::FaultBegan(storm.clone())),
        (15_000, Happened::Asked(2, Change::Leave(NodeId(1)))),
        (20_000, Happened::Invoked(1)),
        (20_000, sent(3, 1, 2, write(2, &new), Fate::Arrives(1_500))),
        (20_000, sent(4, 1, 3, write(2, &new), Fate::Lost)),
        (21_500, Happened::Arrived(3)),
        (
            21_500,
            sent(
                5,
                2,
                1,
                KeyAnswer::Written { op: op(2), again: false, newer: None }.into(),
                Fate::Arrives(1_600),
            ),
        ),
        (23_100, Happened::Arrived(5)),
        (23_100, Happened::Ended(1)),
        (25_000, Happened::Stopped(2, 3)),
        (30_000, Happened::Invoked(2)),
        (
            30_000,
            sent(6, 3, 1, KeyRequest::Read { op: op(5), key: key() }.into(), Fate::Arrives(700)),
        ),
        (30_700, Happened::Arrived(6)),
        (30_700, sent(7, 1, 3, found, Fate::Arrives(800))),
        (31_500, Happened::Arrived(7)),
        (31_500, Happened::Ended(2)),
        (40_000, Happened::Invoked(3)),
        (41_000, Happened::Ended(3)),
        (50_000, Happened::FaultEnded(storm)),
    ];
    let what = "op 2 began after op 1 ended with 20.000@n1, and found 1.000@n2";
    let violation = Violation { also: vec!["P4"], ..Violation::new("P3", what) };
    let verdict = Verdict {
        violation: Some(violation.shown_by("k", &[1, 2])),
        hash: 0x1234,
        text: Some(String::new()),
        told,
        events: 27,
        tally: Default::default(),
        history,
        held: vec![
            (1, Held { is_owner: true, record: Some(new) }),
            (3, Held { is_owner: true, record: Some(old) }),
            (4, Held { is_owner: false, record: None }),
        ],
        simulated_us: 50_000,
        converged_us: None,
        trace: Vec::new(),
    };
    (scenario, verdict)
}

#[test]
fn a_story_is_one_list_in_the_order_of_time_with_short_names() {
    let (scenario, verdict) = missed_write();
    insta::assert_snapshot!(story::<Store>(&scenario, &verdict, WIDTH));
}

#[test]
fn a_story_of_a_run_that_held_names_the_keys() {
    let (scenario, mut verdict) = missed_write();
    (verdict.violation, verdict.held) = (None, Vec::new());
    insta::assert_snapshot!(story::<Store>(&scenario, &verdict, WIDTH));
}

/// The moments of a story, in its order.
fn moments(text: &str) -> Vec<f64> {
    // They end at the twelfth character, behind the mark.
    let moment = |line: &str| line.get(1..12).map(|start| start.trim_start().to_string());
    let is_whole = |start: &String| start.split_once('.').is_some_and(|(_, us)| us.len() == 3);
    text.lines()
        .filter_map(moment)
        .filter(is_whole)
        .filter_map(|start| start.parse().ok())
        .collect()
}

#[test]
fn a_story_of_any_run_fits_is_in_order_and_has_no_notation_of_ours() {
    let mut with_faults = 0;
    for seed in 0..20 {
        let scenario = swarm::scenario(seed, &Fixed::default());
        let mut verdict = run(&scenario, true);
        let ok: Vec<(usize, &Done)> = verdict
            .history
            .iter()
            .enumerate()
            .filter(|(_, done)| version_of(done).is_some())
            .collect();
        let Some((place, done)) = ok.get(ok.len() / 2) else { continue };
        let (place, key) = (*place, done.action.key().to_string());
        let what = format!("op {place} is as it should be, which it should not");
        verdict.violation = Some(Violation::new("P3", what).shown_by(&key, &[place]));
        let text = story::<Store>(&scenario, &verdict, WIDTH);
        assert!(text.starts_with(&format!("seed {seed}: ")), "{text}");
        let said = text.lines().rev().find(|line| line.starts_with("violated: ")).unwrap();
        assert!(said.starts_with(&format!("violated: P3: op {place} is")), "{text}");
        assert!(text.contains(&format!("op {place} ")), "{text}");
        assert!(text.lines().any(|line| line.starts_with('>')), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for ours in ["Some(", "None", " { ", "Micros", "NodeId", "175921860", "17000000"] {
            assert!(!text.contains(ours), "{ours}\n{text}");
        }
        let moments = moments(&text);
        assert!(moments.is_sorted() && moments.len() > 1, "{text}");
        assert!(text.lines().count() < 150, "{text}");
        with_faults += usize::from(text.contains("  fault "));
    }
    assert!(with_faults > 5, "{with_faults} stories told of faults");
}
