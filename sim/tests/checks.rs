//! Each check finds what it is for, and lets pass what is allowed: small histories by hand.

use std::collections::BTreeMap;

use kv::{
    core::{
        quorum::Level,
        record::{Record, Version},
        time::{Micros, Timestamp},
        types::{Epoch, Key, NodeId, Value},
    },
    node::config::NodeConfig,
};
use sim::{
    check::{Violation, p0, p3, p4, p7, p8, p9, p13, p14, p16},
    history::{Done, Outcome},
    scenario::Action,
    tally::{Tally, Topic},
    world::clock::true_time,
};

fn version(time: u64) -> Version {
    Version { timestamp: Timestamp(time), node: NodeId(1) }
}

fn done(action: Action, from: u64, upto: u64, outcome: Outcome) -> Done {
    Done {
        epoch: Epoch(1),
        number: 0,
        client: 0,
        node: NodeId(1),
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
    done(action, from, upto, Outcome::Written(version(time)))
}

/// A get that found what `put` wrote with the version `time`; 0: nothing.
fn get(level: Level, time: u64, from: u64, upto: u64) -> Done {
    let value = Some(Value::trusted(&format!("v{time}")));
    let record = (time > 0).then(|| Record { version: version(time), value });
    done(Action::Get("k".into(), level), from, upto, Outcome::Found(record))
}

fn with(mut done: Done, outcome: Outcome) -> Done {
    done.outcome = outcome;
    done
}

use Level::{All, Linearizable, One, Quorum, Session};

#[test]
fn p0_falls_for_values_that_nobody_wrote_or_that_failed_or_came_later() {
    let fell = |history: &[Done]| p0::check(history, &mut Tally::default()).is_err();
    assert!(!fell(&[put(Quorum, 1, 1, 2), get(One, 1, 3, 4), get(One, 0, 5, 6)]));
    assert!(fell(&[get(One, 1, 3, 4)]), "nobody wrote it");
    assert!(fell(&[put(Quorum, 1, 5, 6), get(One, 1, 3, 4)]), "it was read before it was written");
    let failed = with(put(Quorum, 1, 1, 2), Outcome::Failed("busy"));
    assert!(fell(&[failed, get(One, 1, 3, 4)]), "its write failed");
    let unknown = with(put(Quorum, 1, 1, 2), Outcome::Unknown("timeout"));
    assert!(!fell(&[unknown, get(One, 1, 3, 4)]), "a write that timed out may surface");
}

#[test]
fn p3_falls_when_a_quorum_read_misses_a_quorum_write_that_was_over() {
    let fell = |history: &[Done]| p3::check(history).is_err();
    assert!(fell(&[put(Quorum, 2, 1, 2), get(Quorum, 1, 3, 4)]));
    assert!(fell(&[put(All, 2, 1, 2), get(Quorum, 0, 3, 4)]));
    assert!(!fell(&[put(Quorum, 2, 1, 5), get(Quorum, 1, 3, 4)]), "they overlap");
    assert!(!fell(&[put(One, 2, 1, 2), get(Quorum, 1, 3, 4)]), "ONE promises nothing of it");
    assert!(!fell(&[put(Quorum, 2, 1, 2), get(One, 1, 3, 4)]), "nor does a read at ONE");
    assert!(!fell(&[put(Quorum, 1, 1, 2), get(Quorum, 7, 3, 4)]), "newer is fine");
}

#[test]
fn p4_falls_when_a_quorum_read_goes_back() {
    let fell = |history: &[Done]| p4::check(history).is_err();
    assert!(fell(&[get(Quorum, 2, 1, 2), get(Quorum, 1, 3, 4)]));
    assert!(fell(&[get(All, 2, 1, 2), get(Quorum, 0, 3, 4)]));
    assert!(!fell(&[get(Quorum, 2, 1, 4), get(Quorum, 1, 2, 3)]), "they overlap");
    assert!(!fell(&[get(One, 2, 1, 2), get(Quorum, 1, 3, 4)]));
}

#[test]
fn p8_falls_when_all_and_one_miss_each_other_on_a_ring_that_does_not_change() {
    let fell = |history: &[Done], rings| p8::check(history, rings).is_err();
    let all_then_one = [put(All, 2, 1, 2), get(One, 1, 3, 4)];
    let one_then_all = [put(One, 2, 1, 2), get(All, 1, 3, 4)];
    assert!(fell(&all_then_one, false));
    assert!(fell(&one_then_all, false));
    assert!(!fell(&all_then_one, true));
    assert!(!fell(&[put(Quorum, 2, 1, 2), get(One, 1, 3, 4)], false));
}

#[test]
fn p9_falls_when_a_version_names_two_values_and_counts_what_is_not_promised() {
    let mut tally = Tally::default();
    let other = Record { version: version(1), value: Some(Value::trusted("other")) };
    let torn = with(get(One, 1, 3, 4), Outcome::Found(Some(other)));
    assert!(p9::check(&[put(One, 1, 1, 2), torn], &mut tally).is_err());
    assert!(p9::check(&[put(One, 2, 1, 2), get(One, 1, 3, 4)], &mut tally).is_ok());
    assert_eq!(tally.count(Topic::Event, "stale read at one"), 1);
    assert!(p9::check(&[put(One, 2, 1, 2), put(One, 1, 3, 4)], &mut tally).is_ok());
    assert_eq!(tally.count(Topic::Event, "lost update between coordinators"), 1);
}

#[test]
fn p14_falls_when_a_coordinator_issues_an_older_version_than_it_answered_with() {
    let fell = |history: &[Done]| p14::check(history).is_err();
    assert!(fell(&[get(One, 2, 1, 2), put(One, 1, 3, 4)]));
    assert!(!fell(&[get(One, 2, 1, 2), put(One, 3, 3, 4)]));
    let mut elsewhere = put(One, 1, 3, 4);
    elsewhere.node = NodeId(2);
    assert!(!fell(&[get(One, 2, 1, 2), elsewhere]), "another coordinator did not see it");
}

#[test]
fn p7_falls_for_a_session_read_older_than_what_its_client_saw() {
    let fell = |history: &[Done]| p7::check(history).is_err();
    let of = |client, done: Done| Done { client, ..done };
    let newer = [put(One, 2, 1, 2), get(Session, 2, 3, 4), get(Session, 3, 5, 6)];
    assert!(!fell(&newer));
    assert!(fell(&[put(One, 2, 1, 2), get(Session, 1, 3, 4)]), "its own write");
    assert!(fell(&[get(One, 2, 1, 2), get(Session, 0, 3, 4)]), "what it read before");
    assert!(!fell(&[put(One, 2, 1, 2), of(1, get(Session, 0, 3, 4))]), "another client's");
    assert!(!fell(&[put(One, 2, 1, 2), get(One, 0, 3, 4)]), "ONE promises nothing");
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
    with(lget(time, from, upto), Outcome::Found(Some(tombstone)))
}

fn unknown(done: Done) -> Done {
    with(done, Outcome::Unknown("timeout"))
}

fn p13_violation(history: &[Done]) -> Option<Violation> {
    p13::check(history, &mut Tally::default()).err()
}

fn p13_fell(history: &[Done]) -> bool {
    p13_violation(history).is_some()
}

#[test]
fn p13_falls_when_versions_go_against_time() {
    assert!(!p13_fell(&[lget(0, 1, 2), lput(1, 3, 4), lget(1, 5, 6), lput(2, 7, 8)]));
    assert!(p13_fell(&[lput(2, 1, 2), lput(1, 3, 4)]), "a write after a write");
    assert!(p13_fell(&[lput(2, 1, 2), lget(1, 3, 4), lput(1, 5, 6)]), "a read after a write");
    assert!(p13_fell(&[lput(1, 1, 2), lget(0, 3, 4)]), "nothing after a write");
    let read_then_written = [lput(2, 1, 9), lget(2, 2, 3), lput(1, 4, 5)];
    assert!(p13_fell(&read_then_written), "a write after a read");
    let back = [lput(1, 1, 2), lput(2, 3, 9), lget(2, 4, 5), lget(1, 6, 7)];
    assert!(p13_fell(&back), "a read after a newer read");
}

#[test]
fn p13_lets_operations_that_overlap_go_either_way() {
    assert!(!p13_fell(&[lput(2, 1, 3), lput(1, 2, 4)]));
    assert!(!p13_fell(&[lput(2, 1, 4), lget(0, 2, 3)]));
    assert!(!p13_fell(&[lput(2, 1, 4), lget(2, 2, 3), lget(2, 5, 6)]));
    assert!(!p13_fell(&[lput(1, 1, 2), lput(2, 3, 8), lget(1, 4, 6), lget(2, 5, 7)]));
}

#[test]
fn p13_falls_for_versions_that_no_write_made() {
    assert!(p13_fell(&[lget(1, 1, 2)]), "nobody wrote it");
    assert!(p13_fell(&[lget(1, 1, 2), lput(1, 3, 4)]), "it was read before it was written");
    assert!(p13_fell(&[lput(1, 1, 3), lput(1, 2, 4)]), "two writes of one version");
    let other = Record { version: version(1), value: Some(Value::trusted("other")) };
    let torn = with(lget(1, 3, 4), Outcome::Found(Some(other)));
    assert!(p13_fell(&[lput(1, 1, 2), torn]), "another value");
    let failed = with(lput(1, 1, 2), Outcome::Failed("unavailable"));
    assert!(!p13_fell(&[failed.clone(), lget(0, 3, 4)]));
    assert!(p13_fell(&[failed, lget(1, 3, 4)]), "a write that failed did not happen");
}

#[test]
fn p13_takes_unknown_writes_to_have_happened_late_or_never_but_not_early() {
    let write = unknown(lput(2, 3, 4));
    assert!(!p13_fell(&[write.clone(), lget(0, 5, 6)]), "never");
    assert!(!p13_fell(&[write.clone(), lget(0, 5, 6), lget(2, 7, 8)]), "late");
    assert!(p13_fell(&[lget(2, 1, 2), write.clone()]), "early");
    assert!(p13_fell(&[write.clone(), lget(2, 5, 6), lget(0, 7, 8)]), "seen, it stays");
    assert!(!p13_fell(&[lput(1, 1, 2), write.clone(), lget(2, 5, 6)]));
    assert!(p13_fell(&[lput(3, 1, 2), write.clone(), lget(2, 5, 6)]), "older than what was over");
    assert!(p13_fell(&[lput(3, 1, 2), write.clone(), lput(4, 1, 9), lget(2, 5, 6)]));
    let mut elsewhere = write;
    elsewhere.node = NodeId(2);
    assert!(p13_fell(&[elsewhere, lget(2, 5, 6)]), "a version names its coordinator");
    let read_again = with(lget(2, 7, 8), get_outcome("v2", 5));
    assert!(p13_fell(&[unknown(lput(2, 3, 4)), lget(2, 5, 6), read_again]), "it has one version");
}

fn get_outcome(value: &str, time: u64) -> Outcome {
    let value = Some(Value::trusted(value));
    Outcome::Found(Some(Record { version: version(time), value }))
}

#[test]
fn p13_gives_each_tombstone_that_was_read_a_deletion_of_its_own() {
    let ok = ldelete(1, 2, Outcome::Written(version(1)));
    assert!(!p13_fell(&[ok.clone(), found_tombstone(1, 3, 4)]));
    assert!(p13_fell(&[ok, found_tombstone(2, 3, 4)]));
    let deleted = |from| ldelete(from, from + 1, Outcome::Unknown("timeout"));
    let reads = [found_tombstone(1, 7, 8), found_tombstone(2, 15, 16)];
    let [one, two] = reads.clone();
    assert!(!p13_fell(&[deleted(1), deleted(3), one.clone(), two.clone()]));
    assert!(p13_fell(&[deleted(1), one.clone(), two.clone()]), "one deletion, two versions");
    let late = deleted(9);
    assert!(!p13_fell(&[deleted(1), late.clone(), one.clone(), two.clone()]));
    assert!(p13_fell(&[late, deleted(11), one, two]), "the first one began too late");
}

#[test]
fn p13_leaves_out_keys_and_reads_of_other_levels() {
    let wrong = [lput(2, 1, 2), lput(1, 3, 4)];
    assert!(p13_fell(&wrong));
    assert!(!p13_fell(&[wrong.as_slice(), &[put(Quorum, 5, 5, 6)]].concat()), "a mixed key");
    let unknown_one = unknown(put(One, 5, 5, 6));
    assert!(!p13_fell(&[wrong.as_slice(), &[unknown_one]].concat()), "perhaps a mixed key");
    let failed = with(put(One, 5, 5, 6), Outcome::Failed("busy"));
    assert!(p13_fell(&[wrong.as_slice(), &[failed]].concat()), "nothing was written at ONE");
    assert!(!p13_fell(&[lput(1, 1, 2), get(Quorum, 0, 3, 4)]), "reads at QUORUM are P3's");
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
    assert!(!is_late(&[(put("v", Quorum), 1_000)], 1_150), "a pause, and a clock that is off");
    assert!(is_late(&[(put("v", Quorum), 1_000)], 1_151));
    assert!(!is_late(&[(put("v", Linearizable), 1_000)], 1_650), "and two timeouts, late timers");
    assert!(is_late(&[(put("v", Linearizable), 1_000)], 1_651));
    assert!(is_late(&[(put("w", Quorum), 2_000), (put("v", Quorum), 1_000)], 2_000));
    assert!(is_late(&[(delete(), 1_000)], 2_000));
    assert!(!is_late(&[(delete(), 2_000), (delete(), 1_000)], 2_000), "it may be the other one");
    assert!(!is_late(&[(put("v", Quorum), 1_000)], 10), "how early is for other checks to say");
}
