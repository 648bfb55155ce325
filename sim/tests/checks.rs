//! Each check finds what it is for, and lets pass what is allowed: small histories by hand.

use kv::{
    clock::Timestamp,
    quorum::Level,
    record::{Record, Version},
    types::{NodeId, Value},
};
use sim::{
    check::{p0, p3, p4, p7, p8, p9, p14},
    history::{Done, Outcome},
    scenario::{Action, RingPlan},
    tally::{Tally, Topic},
};

fn version(time: u64) -> Version {
    Version { timestamp: Timestamp(time), node: NodeId(1) }
}

fn done(action: Action, from: u64, upto: u64, outcome: Outcome) -> Done {
    Done {
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

use Level::{All, One, Quorum, Session};

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
    assert!(fell(&all_then_one, RingPlan::Static));
    assert!(fell(&one_then_all, RingPlan::Static));
    assert!(!fell(&all_then_one, RingPlan::Joint));
    assert!(!fell(&[put(Quorum, 2, 1, 2), get(One, 1, 3, 4)], RingPlan::Static));
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
