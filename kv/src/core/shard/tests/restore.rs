//! Records of a backup.

use super::*;

fn record(micros: u64, value: Option<&str>) -> Record {
    let version = Version { timestamp: Timestamp::from_micros(micros), node: NodeId(9) };
    Record { version, value: value.map(Value::trusted) }
}

fn restore(world: &mut World, record: &Record, level: Level) -> Vec<Reply> {
    let (key, record) = (Key::trusted("k"), record.clone());
    let request = Request::Restore { key, record, level };
    world.step(1, Input::Request(RequestId(3), slot_of_k(), request));
    world.deliver_all();
    world.replies()
}

#[test]
fn a_restored_record_keeps_its_version_and_loses_to_what_is_newer() {
    let mut world = World::new(3, 3);
    let old = record(1_000, Some("old"));
    assert_eq!(restore(&mut world, &old, Level::Quorum), [Reply::Written(old.version)]);
    for shard in world.shards.values() {
        assert_eq!(shard.record("k"), Some(old.clone()));
    }
    world.put(2, "new", Level::Quorum);
    world.deliver_all();
    let written = world.replies();
    for lost in [old, record(2_000, None)] {
        assert_eq!(restore(&mut world, &lost, Level::All), [Reply::Written(lost.version)]);
        assert_eq!(world.held(3).as_deref(), Some("new"));
    }
    // What is written after a restore is newer than what was restored, whatever the clock says.
    let ahead = record(5_000_000, Some("ahead"));
    restore(&mut world, &ahead, Level::Quorum);
    assert_eq!(world.held(2).as_deref(), Some("ahead"));
    world.put(2, "newest", Level::Quorum);
    world.deliver_all();
    assert_ne!(world.replies(), written);
    assert_eq!(world.held(1).as_deref(), Some("newest"));
}

#[test]
fn a_record_from_the_future_is_refused() {
    let ring = ring(1, 1);
    let mut effects = Effects::default();
    let mut shard = shard_of(1, 1, &ring);
    shard.guard = ClockGuard::new(Micros(80_000));
    // The clock says 1,000,000, and half of the bound is allowed.
    for (micros, is_taken) in [(1_040_000, true), (1_040_001, false), (u64::MAX >> 10, false)] {
        let (key, record) = (Key::trusted("k"), record(micros, Some("v")));
        let request = Request::Restore { key, record: record.clone(), level: Level::One };
        shard.handle(Input::Request(RequestId(4), slot_of_k(), request), &mut effects);
        let (_, reply) = effects.replies.pop().unwrap();
        let is_refused = matches!(reply, Reply::Failed(Failure::Clock(ClockDoubt::RecordAhead(_))));
        assert_eq!(reply == Reply::Written(record.version), is_taken, "{micros}");
        assert_eq!(is_refused, !is_taken, "{micros}");
    }
}
