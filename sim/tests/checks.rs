//! Each check finds what it is for, and lets pass what is allowed: small histories by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use harness::{
    property::Property as _,
    tally::{Tally, Topic},
    violation::Violation,
};
use kv::{
    core::{
        quorum::Level,
        record::{Record, Version},
        ring::Ring,
        time::{Micros, Timestamp},
        types::{Key, NodeId, Value},
    },
    node::config::NodeConfig,
};
use sim::{
    check::{
        p0, p1, p3, p4, p5, p6, p7, p8, p9, p10, p10::AllCrashed, p13, p14, p16, property::Property,
    },
    evidence::Evidence,
    scenario::Action,
    shown::true_time,
    store::{Answer, Done, Outcome},
};
use strum::VariantArray as _;

fn version(time: u64) -> Version {
    Version { timestamp: Timestamp(time), node: NodeId(1) }
}

fn done(action: Action, from: u64, upto: u64, outcome: Outcome) -> Done {
    Done {
        client: 0,
        node: 1,
        action,
        invoked: from,
        invoked_us: from,
        returned: Some(upto),
        returned_us: Some(upto),
        outcome,
    }
}

/// A put of `v{time}`, which got the version `time`.
fn put(level: Level, time: u64, from: u64, upto: u64) -> Done {
    let action = Action::Put("k".into(), format!("v{time}"), level);
    done(action, from, upto, Outcome::Ok(Answer::Written(version(time))))
}

/// A get that found what `put` wrote with the version `time`; 0: nothing.
fn get(level: Level, time: u64, from: u64, upto: u64) -> Done {
    let value = Some(Value::trusted(&format!("v{time}")));
    let record = (time > 0).then(|| Record { version: version(time), value });
    done(Action::Get("k".into(), level), from, upto, Outcome::Ok(Answer::Found(record)))
}

fn with(mut done: Done, outcome: Outcome) -> Done {
    done.outcome = outcome;
    done
}

use Level::{All, Linearizable, One, Quorum, Session};

#[test]
fn p0_is_violated_by_values_that_nobody_wrote_or_that_failed_or_came_later() {
    let violated = |history: &[Done]| p0::check(history, &mut Tally::default()).is_err();
    assert!(!violated(&[put(Quorum, 1, 1, 2), get(One, 1, 3, 4), get(One, 0, 5, 6)]));
    assert!(violated(&[get(One, 1, 3, 4)]), "nobody wrote it");
    assert!(
        violated(&[put(Quorum, 1, 5, 6), get(One, 1, 3, 4)]),
        "it was read before it was written"
    );
    let failed = with(put(Quorum, 1, 1, 2), Outcome::Failed("busy"));
    assert!(violated(&[failed, get(One, 1, 3, 4)]), "its write failed");
    let unknown = with(put(Quorum, 1, 1, 2), Outcome::Unknown("timeout"));
    assert!(!violated(&[unknown, get(One, 1, 3, 4)]), "a write that timed out may surface");
}

#[test]
fn p3_is_violated_when_a_quorum_read_misses_a_quorum_write_that_was_over() {
    let violated = |history: &[Done]| p3::check(history).is_err();
    assert!(violated(&[put(Quorum, 2, 1, 2), get(Quorum, 1, 3, 4)]));
    assert!(violated(&[put(All, 2, 1, 2), get(Quorum, 0, 3, 4)]));
    assert!(!violated(&[put(Quorum, 2, 1, 5), get(Quorum, 1, 3, 4)]), "they overlap");
    assert!(!violated(&[put(One, 2, 1, 2), get(Quorum, 1, 3, 4)]), "ONE promises nothing of it");
    assert!(!violated(&[put(Quorum, 2, 1, 2), get(One, 1, 3, 4)]), "nor does a read at ONE");
    assert!(!violated(&[put(Quorum, 1, 1, 2), get(Quorum, 7, 3, 4)]), "newer is fine");
}

#[test]
fn p4_is_violated_when_a_quorum_read_goes_back() {
    let violated = |history: &[Done]| p4::check(history).is_err();
    assert!(violated(&[get(Quorum, 2, 1, 2), get(Quorum, 1, 3, 4)]));
    assert!(violated(&[get(All, 2, 1, 2), get(Quorum, 0, 3, 4)]));
    assert!(!violated(&[get(Quorum, 2, 1, 4), get(Quorum, 1, 2, 3)]), "they overlap");
    assert!(!violated(&[get(One, 2, 1, 2), get(Quorum, 1, 3, 4)]));
}

#[test]
fn p6_is_violated_when_the_later_of_two_ok_quorum_writes_has_the_lower_version() {
    let violated = |history: &[Done]| p6::check(history).is_err();
    assert!(violated(&[put(Quorum, 2, 1, 2), put(Quorum, 1, 3, 4)]));
    assert!(violated(&[put(All, 2, 1, 2), put(Linearizable, 1, 3, 4)]));
    assert!(violated(&[put(Quorum, 2, 1, 2), put(Quorum, 2, 3, 4)]), "the same is not greater");
    let between = [put(Quorum, 3, 1, 2), put(Quorum, 4, 3, 9), put(Quorum, 2, 5, 6)];
    assert!(violated(&between), "whatever is written at the same time");
    assert!(!violated(&[put(Quorum, 1, 1, 2), put(Quorum, 2, 3, 4)]));
    assert!(!violated(&[put(Quorum, 2, 1, 3), put(Quorum, 1, 2, 4)]), "they overlap");
    assert!(!violated(&[put(One, 2, 1, 2), put(Quorum, 1, 3, 4)]), "ONE promises no order");
    assert!(!violated(&[put(Quorum, 2, 1, 2), put(Session, 1, 3, 4)]), "nor does SESSION");
    assert!(!violated(&[put(Quorum, 2, 1, 2), unknown(put(Quorum, 1, 3, 4))]), "it is not ok");
    assert!(!violated(&[unknown(put(Quorum, 2, 1, 2)), put(Quorum, 1, 3, 4)]));
    assert!(!violated(&[put(Quorum, 2, 1, 2), get(Quorum, 1, 3, 4)]), "reads are P3's");
}

#[test]
fn p8_is_violated_when_all_and_one_miss_each_other_on_a_ring_that_does_not_change() {
    let violated = |history: &[Done], rings| p8::check(history, rings).is_err();
    let all_then_one = [put(All, 2, 1, 2), get(One, 1, 3, 4)];
    let one_then_all = [put(One, 2, 1, 2), get(All, 1, 3, 4)];
    assert!(violated(&all_then_one, false));
    assert!(violated(&one_then_all, false));
    assert!(!violated(&all_then_one, true));
    assert!(!violated(&[put(Quorum, 2, 1, 2), get(One, 1, 3, 4)], false));
}

#[test]
fn p9_is_violated_when_a_version_names_two_values_and_counts_what_is_not_promised() {
    let mut tally = Tally::default();
    let other = Record { version: version(1), value: Some(Value::trusted("other")) };
    let torn = with(get(One, 1, 3, 4), Outcome::Ok(Answer::Found(Some(other))));
    assert!(p9::check(&[put(One, 1, 1, 2), torn], &mut tally).is_err());
    assert!(p9::check(&[put(One, 2, 1, 2), get(One, 1, 3, 4)], &mut tally).is_ok());
    assert_eq!(tally.count(Topic::Event, "stale read at one"), 1);
    assert!(p9::check(&[put(One, 2, 1, 2), put(One, 1, 3, 4)], &mut tally).is_ok());
    assert_eq!(tally.count(Topic::Event, "lost update between coordinators"), 1);
}

#[test]
fn p14_is_violated_when_a_coordinator_issues_an_older_version_than_it_answered_with() {
    let violated = |history: &[Done]| p14::check(history).is_err();
    assert!(violated(&[get(One, 2, 1, 2), put(One, 1, 3, 4)]));
    assert!(!violated(&[get(One, 2, 1, 2), put(One, 3, 3, 4)]));
    let mut elsewhere = put(One, 1, 3, 4);
    elsewhere.node = 2;
    assert!(!violated(&[get(One, 2, 1, 2), elsewhere]), "another coordinator did not see it");
}

#[test]
fn p7_is_violated_by_a_session_read_older_than_what_its_client_saw() {
    let violated = |history: &[Done]| p7::check(history).is_err();
    let of = |client, done: Done| Done { client, ..done };
    let newer = [put(One, 2, 1, 2), get(Session, 2, 3, 4), get(Session, 3, 5, 6)];
    assert!(!violated(&newer));
    assert!(violated(&[put(One, 2, 1, 2), get(Session, 1, 3, 4)]), "its own write");
    assert!(violated(&[get(One, 2, 1, 2), get(Session, 0, 3, 4)]), "what it read before");
    assert!(!violated(&[put(One, 2, 1, 2), of(1, get(Session, 0, 3, 4))]), "another client's");
    assert!(!violated(&[put(One, 2, 1, 2), get(One, 0, 3, 4)]), "ONE promises nothing");
}

/// Operations at LINEARIZABLE.
fn lput(time: u64, from: u64, upto: u64) -> Done {
    put(Linearizable, time, from, upto)
}

fn lget(time: u64, from: u64, upto: u64) -> Done {
    get(Linearizable, time, from, upto)
}

fn ldelete(from: u64, upto: u64, outcome: Outcome) -> Done {
    done(Action::Delete("k".into(), Linearizable), from, upto, outcome)
}

/// A get that found the tombstone of the version `time`.
fn found_tombstone(time: u64, from: u64, upto: u64) -> Done {
    let tombstone = Record { version: version(time), value: None };
    with(lget(time, from, upto), Outcome::Ok(Answer::Found(Some(tombstone))))
}

fn unknown(done: Done) -> Done {
    with(done, Outcome::Unknown("timeout"))
}

fn p13_violation(history: &[Done]) -> Option<Violation> {
    p13::check(history, &mut Tally::default()).err()
}

fn p13_violated(history: &[Done]) -> bool {
    p13_violation(history).is_some()
}

#[test]
fn p13_is_violated_when_versions_go_against_time() {
    assert!(!p13_violated(&[lget(0, 1, 2), lput(1, 3, 4), lget(1, 5, 6), lput(2, 7, 8)]));
    assert!(p13_violated(&[lput(2, 1, 2), lput(1, 3, 4)]), "a write after a write");
    assert!(p13_violated(&[lput(2, 1, 2), lget(1, 3, 4), lput(1, 5, 6)]), "a read after a write");
    assert!(p13_violated(&[lput(1, 1, 2), lget(0, 3, 4)]), "nothing after a write");
    let read_then_written = [lput(2, 1, 9), lget(2, 2, 3), lput(1, 4, 5)];
    assert!(p13_violated(&read_then_written), "a write after a read");
    let back = [lput(1, 1, 2), lput(2, 3, 9), lget(2, 4, 5), lget(1, 6, 7)];
    assert!(p13_violated(&back), "a read after a newer read");
}

#[test]
fn p13_lets_operations_that_overlap_go_either_way() {
    assert!(!p13_violated(&[lput(2, 1, 3), lput(1, 2, 4)]));
    assert!(!p13_violated(&[lput(2, 1, 4), lget(0, 2, 3)]));
    assert!(!p13_violated(&[lput(2, 1, 4), lget(2, 2, 3), lget(2, 5, 6)]));
    assert!(!p13_violated(&[lput(1, 1, 2), lput(2, 3, 8), lget(1, 4, 6), lget(2, 5, 7)]));
}

#[test]
fn p13_is_violated_by_versions_that_no_write_made() {
    assert!(p13_violated(&[lget(1, 1, 2)]), "nobody wrote it");
    assert!(p13_violated(&[lget(1, 1, 2), lput(1, 3, 4)]), "it was read before it was written");
    assert!(p13_violated(&[lput(1, 1, 3), lput(1, 2, 4)]), "two writes of one version");
    let other = Record { version: version(1), value: Some(Value::trusted("other")) };
    let torn = with(lget(1, 3, 4), Outcome::Ok(Answer::Found(Some(other))));
    assert!(p13_violated(&[lput(1, 1, 2), torn]), "another value");
    let failed = with(lput(1, 1, 2), Outcome::Failed("unavailable"));
    assert!(!p13_violated(&[failed.clone(), lget(0, 3, 4)]));
    assert!(p13_violated(&[failed, lget(1, 3, 4)]), "a write that failed did not happen");
}

#[test]
fn p13_takes_unknown_writes_to_have_happened_late_or_never_but_not_early() {
    let write = unknown(lput(2, 3, 4));
    assert!(!p13_violated(&[write.clone(), lget(0, 5, 6)]), "never");
    assert!(!p13_violated(&[write.clone(), lget(0, 5, 6), lget(2, 7, 8)]), "late");
    assert!(p13_violated(&[lget(2, 1, 2), write.clone()]), "early");
    assert!(p13_violated(&[write.clone(), lget(2, 5, 6), lget(0, 7, 8)]), "seen, it stays");
    assert!(!p13_violated(&[lput(1, 1, 2), write.clone(), lget(2, 5, 6)]));
    assert!(
        p13_violated(&[lput(3, 1, 2), write.clone(), lget(2, 5, 6)]),
        "older than what was over"
    );
    assert!(p13_violated(&[lput(3, 1, 2), write.clone(), lput(4, 1, 9), lget(2, 5, 6)]));
    let mut elsewhere = write;
    elsewhere.node = 2;
    assert!(p13_violated(&[elsewhere, lget(2, 5, 6)]), "a version names its coordinator");
    let read_again = with(lget(2, 7, 8), get_outcome("v2", 5));
    assert!(
        p13_violated(&[unknown(lput(2, 3, 4)), lget(2, 5, 6), read_again]),
        "it has one version"
    );
}

fn get_outcome(value: &str, time: u64) -> Outcome {
    let value = Some(Value::trusted(value));
    Outcome::Ok(Answer::Found(Some(Record { version: version(time), value })))
}

#[test]
fn p13_gives_each_tombstone_that_was_read_a_deletion_of_its_own() {
    let ok = ldelete(1, 2, Outcome::Ok(Answer::Written(version(1))));
    assert!(!p13_violated(&[ok.clone(), found_tombstone(1, 3, 4)]));
    assert!(p13_violated(&[ok, found_tombstone(2, 3, 4)]));
    let deleted = |from| ldelete(from, from + 1, Outcome::Unknown("timeout"));
    let reads = [found_tombstone(1, 7, 8), found_tombstone(2, 15, 16)];
    let [one, two] = reads.clone();
    assert!(!p13_violated(&[deleted(1), deleted(3), one.clone(), two.clone()]));
    assert!(p13_violated(&[deleted(1), one.clone(), two.clone()]), "one deletion, two versions");
    let late = deleted(9);
    assert!(!p13_violated(&[deleted(1), late.clone(), one.clone(), two.clone()]));
    assert!(p13_violated(&[late, deleted(11), one, two]), "the first one began too late");
}

#[test]
fn p13_leaves_out_keys_and_reads_of_other_levels() {
    let wrong = [lput(2, 1, 2), lput(1, 3, 4)];
    assert!(p13_violated(&wrong));
    assert!(!p13_violated(&[wrong.as_slice(), &[put(Quorum, 5, 5, 6)]].concat()), "a mixed key");
    let unknown_one = unknown(put(One, 5, 5, 6));
    assert!(!p13_violated(&[wrong.as_slice(), &[unknown_one]].concat()), "perhaps a mixed key");
    let failed = with(put(One, 5, 5, 6), Outcome::Failed("busy"));
    assert!(p13_violated(&[wrong.as_slice(), &[failed]].concat()), "nothing was written at ONE");
    assert!(!p13_violated(&[lput(1, 1, 2), get(Quorum, 0, 3, 4)]), "reads at QUORUM are P3's");
}

#[test]
fn p13_shows_what_was_over_what_began_and_the_writes_of_both() {
    let history = [lput(1, 1, 2), lput(2, 3, 9), lget(2, 4, 5), lget(1, 6, 7)];
    let violation = p13_violation(&history).unwrap();
    assert_eq!(violation.operations, [0, 1, 2, 3]);
    assert_eq!(violation.key.as_deref(), Some("k"));
    assert!(violation.what.starts_with("op 3 began after op 2 ended with "), "{violation}");
}

#[test]
fn p13_counts_contention_and_unknown_writes_that_were_read() {
    let counted = |history: &[Done]| {
        let mut tally = Tally::default();
        p13::check(history, &mut tally).unwrap();
        let of = |name| tally.count(Topic::Event, name);
        (of("linearizable key contended"), of("unknown linearizable write read later"))
    };
    assert_eq!(counted(&[lput(1, 1, 2), lput(2, 3, 4)]), (0, 0));
    assert_eq!(counted(&[lput(1, 1, 3), lput(2, 2, 4)]), (1, 0));
    assert_eq!(counted(&[unknown(lput(1, 1, 3)), lget(0, 4, 5)]), (0, 0));
    assert_eq!(counted(&[unknown(lput(1, 1, 3)), lget(1, 4, 5)]), (0, 1));
}

/// Whether P16 is violated when these writes were asked for at these milliseconds of the run, and the last one took
/// effect under a version of this one. A pause is longer than 100 ms, a request takes 150 at most, and clocks are off
/// by no more than 50.
fn is_late(asked: &[(Action, u64)], ms: u64) -> bool {
    let config = NodeConfig {
        pause_after: Micros::from_millis(100),
        request_timeout: Micros::from_millis(150),
        max_clock_drift: Micros::from_millis(50),
        ..NodeConfig::default()
    };
    // Its client was told nothing.
    let gave_up = |(action, ms): &(Action, u64)| {
        done(action.clone(), ms * 1_000, ms * 1_000 + 1, Outcome::Unknown("no answer"))
    };
    let history: Vec<Done> = asked.iter().map(gave_up).collect();
    let version = Version { timestamp: true_time(ms * 1_000), node: NodeId(1) };
    let value = match &asked.last().unwrap().0 {
        Action::Put(_, value, _) => Some(Value::trusted(value)),
        Action::Delete(..) | Action::Get(..) => None,
    };
    let written = BTreeMap::from([((Key::trusted("k"), version), value)]);
    p16::check(&history, &written, &config).is_err()
}

#[test]
fn p16_is_violated_by_a_write_that_takes_effect_long_after_it_was_asked_for() {
    let put = |value: &str, level| Action::Put("k".into(), value.into(), level);
    let delete = || Action::Delete("k".into(), Quorum);
    assert!(!is_late(&[(put("v", One), 1_000)], 1_150), "a pause, and a clock that is off");
    assert!(is_late(&[(put("v", One), 1_000)], 1_151));
    for level in [Quorum, All, Linearizable] {
        assert!(!is_late(&[(put("v", level), 1_000)], 1_650), "and two timeouts, late timers");
        assert!(is_late(&[(put("v", level), 1_000)], 1_651));
    }
    assert!(is_late(&[(put("w", Quorum), 2_000), (put("v", Quorum), 1_000)], 2_000));
    assert!(is_late(&[(delete(), 1_000)], 2_000));
    assert!(!is_late(&[(delete(), 2_000), (delete(), 1_000)], 2_000), "it may be the other one");
    assert!(!is_late(&[(put("v", Quorum), 1_000)], 10), "how early is for other checks to say");
}

/// A run of one node at R = 1, or of three at R = 3, whose clients did this, and whose nodes end with these
/// versions of "k"; none is nothing.
fn evidence(history: &[Done], ends: &[Option<u64>]) -> Evidence {
    let addresses: Vec<String> = (1..=ends.len()).map(|node| format!("node{node}:1")).collect();
    let ring = Arc::new(Ring::form(&addresses, ends.len(), 256).unwrap());
    let record = |time: u64| Record {
        version: version(time),
        value: Some(Value::trusted(&format!("v{time}"))),
    };
    let holds =
        |end: &Option<u64>| end.iter().map(|time| (Key::trusted("k"), record(*time))).collect();
    Evidence {
        history: history.to_vec(),
        config: NodeConfig::default(),
        ring_changes: false,
        ring,
        held: (1..).map(NodeId).zip(ends.iter().map(holds)).collect(),
        disks_lost: Vec::new(),
        least_owners: ends.len(),
        all_crashed: Vec::new(),
        written: BTreeMap::new(),
    }
}

#[test]
fn p1_is_violated_when_owners_differ_or_an_ok_write_is_gone() {
    let violated = |evidence: &Evidence| p1::check(evidence, &mut Tally::default()).is_err();
    let written = [put(Quorum, 2, 1, 2)];
    assert!(!violated(&evidence(&written, &[Some(2), Some(2), Some(2)])));
    assert!(!violated(&evidence(&written, &[Some(3), Some(3), Some(3)])), "newer is fine");
    assert!(violated(&evidence(&written, &[Some(2), Some(1), Some(2)])), "owners differ");
    assert!(violated(&evidence(&written, &[Some(2), None, Some(2)])), "one lacks it");
    assert!(violated(&evidence(&written, &[Some(1), Some(1), Some(1)])), "it is gone");
    assert!(violated(&evidence(&written, &[None, None, None])), "all is gone");
    let unknown_only = [unknown(put(Quorum, 2, 1, 2))];
    assert!(!violated(&evidence(&unknown_only, &[None, None, None])), "it may not have happened");
    // Two of three disks that had it were lost.
    let mut lost = evidence(&written, &[None, None, None]);
    let disk = BTreeMap::from([(Key::trusted("k"), version(2))]);
    lost.disks_lost = vec![disk.clone()];
    assert!(violated(&lost), "a majority had acknowledged it");
    lost.disks_lost = vec![disk.clone(), disk];
    assert!(!violated(&lost));
}

#[test]
fn p5_is_violated_when_what_a_quorum_read_found_is_gone_in_the_end() {
    let violated = |evidence: &Evidence| p5::check(evidence).is_err();
    let read = [unknown(put(Quorum, 2, 1, 2)), get(Quorum, 2, 3, 4)];
    assert!(!violated(&evidence(&read, &[Some(2)])));
    assert!(violated(&evidence(&read, &[Some(1)])));
    assert!(violated(&evidence(&read, &[None])));
    let at_one = [unknown(put(Quorum, 2, 1, 2)), get(One, 2, 3, 4)];
    assert!(!violated(&evidence(&at_one, &[None])), "ONE promises nothing of it");
}

/// A put that was over when all nodes crashed, what each of three owners had after that, and what was on disks that
/// are lost.
fn all_crashed(level: Level, had: &[Option<u64>], lost: &[u64]) -> Evidence {
    let disk = |time: u64| BTreeMap::from([(Key::trusted("k"), version(time))]);
    let kept = (1..).map(NodeId).zip(had);
    let kept = kept.map(|(node, time)| (node, time.map(disk).unwrap_or_default())).collect();
    let mut evidence = evidence(&[put(level, 1, 1, 2)], &[None]);
    evidence.all_crashed = vec![AllCrashed { at_us: 3, kept, away: BTreeSet::new() }];
    evidence.disks_lost = lost.iter().map(|time| disk(*time)).collect();
    evidence.least_owners = 3;
    evidence
}

#[test]
fn p10_is_violated_when_fewer_have_an_ok_write_after_a_crash_of_all_than_acknowledged_it() {
    let violated = |evidence: &Evidence| {
        let Evidence { history, all_crashed, disks_lost, least_owners, .. } = evidence;
        p10::check(history, all_crashed, disks_lost, *least_owners).is_err()
    };
    let had = |level, had: &[Option<u64>]| violated(&all_crashed(level, had, &[]));
    assert!(!had(Quorum, &[Some(1), Some(1), None]));
    assert!(!had(Quorum, &[Some(1), Some(7), None]), "newer is fine");
    assert!(
        had(Quorum, &[Some(1), None, None]),
        "one of two is not enough, though it can tell the others"
    );
    assert!(!had(One, &[Some(1), None, None]));
    assert!(had(One, &[None, None, None]));
    assert!(had(All, &[Some(1), Some(1), None]));
    assert!(!violated(&all_crashed(Quorum, &[Some(1), None], &[1])), "it was on a lost disk");
    assert!(violated(&all_crashed(Quorum, &[Some(2), None], &[])));
    let mut late = all_crashed(Quorum, &[None, None, None], &[]);
    late.all_crashed[0].at_us = 2;
    assert!(!violated(&late), "it was not over");
    let mut away = all_crashed(Quorum, &[Some(1), None], &[]);
    away.all_crashed[0].away.insert(NodeId(3));
    assert!(!violated(&away), "one that did not start again may have it");
    let mut few = all_crashed(Quorum, &[Some(1)], &[]);
    few.least_owners = 1;
    assert!(!violated(&few), "there was one owner once");
}

/// Evidence that holds, and evidence that violates a property: whoever adds one is asked for both here.
fn cases(property: Property) -> (Evidence, Evidence) {
    let both =
        |holds: &[Done], violates: &[Done]| (evidence(holds, &[None]), evidence(violates, &[None]));
    match property {
        Property::P0 => both(&[get(One, 0, 1, 2)], &[get(One, 1, 1, 2)]),
        Property::P1 => (
            evidence(&[put(Quorum, 1, 1, 2)], &[Some(1)]),
            evidence(&[put(Quorum, 1, 1, 2)], &[None]),
        ),
        Property::P3 => both(
            &[put(Quorum, 2, 1, 4), get(Quorum, 1, 2, 3)],
            &[put(Quorum, 2, 1, 2), get(Quorum, 1, 3, 4)],
        ),
        Property::P4 => both(
            &[get(Quorum, 1, 1, 2), get(Quorum, 2, 3, 4)],
            &[get(Quorum, 2, 1, 2), get(Quorum, 1, 3, 4)],
        ),
        Property::P5 => (
            evidence(&[get(Quorum, 2, 3, 4)], &[Some(2)]),
            evidence(&[get(Quorum, 2, 3, 4)], &[None]),
        ),
        Property::P6 => both(
            &[put(Quorum, 1, 1, 2), put(Quorum, 2, 3, 4)],
            &[put(Quorum, 2, 1, 2), put(Quorum, 1, 3, 4)],
        ),
        Property::P7 => both(
            &[put(One, 1, 1, 2), get(Session, 1, 3, 4)],
            &[put(One, 2, 1, 2), get(Session, 1, 3, 4)],
        ),
        Property::P8 => {
            both(&[put(All, 1, 1, 2), get(One, 1, 3, 4)], &[put(All, 2, 1, 2), get(One, 1, 3, 4)])
        }
        Property::P9 => {
            let other = Record { version: version(1), value: Some(Value::trusted("other")) };
            let torn = with(get(One, 1, 3, 4), Outcome::Ok(Answer::Found(Some(other))));
            both(&[put(One, 1, 1, 2), get(One, 1, 3, 4)], &[put(One, 1, 1, 2), torn])
        }
        Property::P10 => (
            all_crashed(Quorum, &[Some(1), Some(2), None], &[]),
            all_crashed(Quorum, &[Some(1), None, None], &[]),
        ),
        Property::P13 => both(&[lput(1, 1, 2), lput(2, 3, 4)], &[lput(2, 1, 2), lput(1, 3, 4)]),
        Property::P14 => {
            both(&[get(One, 2, 1, 2), put(One, 3, 3, 4)], &[get(One, 2, 1, 2), put(One, 1, 3, 4)])
        }
        Property::P16 => {
            let late = |ms: u64| {
                let mut late = evidence(&[put(Quorum, 1, 1, 2)], &[None]);
                let version = Version { timestamp: true_time(ms * 1_000), node: NodeId(1) };
                late.written.insert((Key::trusted("k"), version), Some(Value::trusted("v1")));
                late
            };
            (late(10), late(100_000))
        }
    }
}

#[test]
fn every_property_has_a_case_that_holds_and_one_that_violates_it() {
    for property in Property::VARIANTS.iter().copied() {
        let (holds, violates) = cases(property);
        let judge = |evidence| property.judge(evidence, &mut Tally::default());
        assert_eq!(judge(&holds), Ok(()), "{property:?}");
        let violation = judge(&violates).expect_err("it is violated");
        assert_eq!(violation.property, <&str>::from(property), "{violation}");
    }
}

#[test]
fn every_property_is_one_that_a_planted_bug_may_violate() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bugs");
    let mut named = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("# may fail: ")).unwrap_or("");
        named.extend(line.split(',').map(|name| name.trim().to_string()));
    }
    let missing: Vec<&Property> =
        Property::VARIANTS.iter().filter(|p| !named.contains(<&str>::from(**p))).collect();
    assert!(missing.is_empty(), "no planted bug may violate {missing:?}");
}
