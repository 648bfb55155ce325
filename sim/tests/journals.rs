//! Clusters whose nodes keep their journals with the store's own code, on simulated disks.

use harness::{
    fault::{Fault, FaultKind},
    journal::Sometimes,
    tally::Topic,
};
use sim::{journal::JournalSpec, run::run, scenario::Scenario, store::Verdict, swarm};

/// The smallest segments that there may be, on disks that do not fail.
const SPEC: JournalSpec =
    JournalSpec { segment_pages: 3, sector_bytes: 512, sync_fails: 0, cut_starts: 0 };

fn count(verdict: &Verdict, what: Sometimes) -> u64 {
    verdict.tally.count(Topic::Event, what.into())
}

fn with_journals(seed: u64, spec: JournalSpec) -> Scenario {
    let mut scenario = swarm::standard(seed);
    scenario.cluster.journal = Some(spec);
    scenario
}

/// Found by the simulation: cleaning wrote something each time, which was cleaned in its turn, without end.
#[test]
fn the_journals_of_a_cluster_that_nobody_uses_come_to_rest() {
    let mut scenario = with_journals(1, SPEC);
    scenario.faults.clear();
    let busy = run(&scenario, false);
    scenario.heal_at_ms += 60_000;
    let idle = run(&scenario, false);
    assert_eq!((&busy.violation, &idle.violation), (&None, &None));
    let more = |what| count(&idle, what) - count(&busy, what);
    let (written, cleaned) = (more(Sometimes::Written), more(Sometimes::Cleaned));
    // Five nodes, for a minute: what they still write are floors of clocks.
    assert!(written < 5 * 60 * 10, "{written} writes");
    assert!(cleaned <= written, "{cleaned} cleanings of {written} writes");
}

#[test]
fn a_crash_of_all_nodes_in_every_second_loses_nothing_that_was_acknowledged() {
    let (mut started, mut cut, mut lost, mut survived) = (0, 0, 0, 0);
    for seed in 0..20 {
        let spec = JournalSpec { sync_fails: 3, cut_starts: 5, ..SPEC };
        let mut scenario = with_journals(seed, spec);
        let crash = |at_ms| Fault { at_ms, for_ms: 50, kind: FaultKind::CrashAll };
        scenario.faults.extend((1..10).map(|second| crash(second * 1_000)));
        let verdict = run(&scenario, false);
        assert_eq!(verdict.violation, None, "seed {seed}");
        started += count(&verdict, Sometimes::Started);
        cut += count(&verdict, Sometimes::CutStart);
        lost += count(&verdict, Sometimes::Lost);
        survived += count(&verdict, Sometimes::Survived);
    }
    assert!(started > 500 && cut > 20, "{started} starts, {cut} of them cut off");
    assert!(
        lost > 20 && survived > 20,
        "{lost} lost something, {survived} found more than was safe"
    );
}

#[test]
fn a_scenario_without_disks_is_one_whose_journals_are_lists() {
    let text = swarm::standard(1).text();
    assert!(!text.contains("journal"), "{text}");
    let read = Scenario::parse(&text).unwrap();
    assert_eq!(read.cluster.journal, None);
    let verdict = run(&read, false);
    assert_eq!(count(&verdict, Sometimes::Written), 0);
    let text = with_journals(1, SPEC).text();
    assert!(text.contains("segment_pages: 3"), "{text}");
    let wrong = text.replace("segment_pages: 3", "segment_pages: 2");
    let why = Scenario::parse(&wrong).unwrap_err().to_string();
    assert_eq!(why, "cluster.journal.segment_pages is 2, and must be from 3 to 1024");
}
