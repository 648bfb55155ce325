//! Puts that owners hold something newer than: issued again at QUORUM and ALL, and at no other level.

use super::*;

/// Far ahead of the clock of n1.
const AHEAD: u64 = 5_000_000;

/// n2 and the `writer` hold "ahead", by a clock that is ahead, and n1 knows nothing of it.
fn ahead(nodes: usize, writer: u32) -> (World, Version) {
    let mut world = World::new(nodes, nodes);
    (world.effects.now, world.effects.replies) = (AHEAD, Vec::new());
    world.put(writer, "ahead", Level::One);
    world.deliver(|_, to, name| name == "write" && to == 2);
    world.waiting.clear();
    world.effects = Effects::default();
    let version = world.shards[&NodeId(2)].version("k").unwrap();
    assert_eq!(world.shards[&NodeId(1)].version("k"), None);
    (world, version)
}

/// Whether the write was issued again, and then not once more.
fn reissued(world: &World) -> bool {
    let count = world.effects.notes.iter().filter(|note| **note == Note::WriteReissued).count();
    assert!(count <= 1, "once is enough");
    count == 1
}

/// A newer ring of the same members.
fn next_ring(world: &World) -> Arc<Ring> {
    let ring = &world.shards[&NodeId(1)].ring;
    Arc::new(ring.next(ring.members().clone()).unwrap())
}

fn written(replies: &[Reply]) -> Version {
    match replies {
        [Reply::Written(version)] => *version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_put_at_quorum_beats_what_a_majority_was_told_before_though_its_clock_is_behind() {
    let (mut world, ahead) = ahead(3, 3);
    world.put(1, "v", Level::Quorum);
    assert!(world.held(1) == Some("v".into()) && !reissued(&world));
    world.deliver(|_, to, _| to == 2);
    world.deliver(|from, _, _| from == 2);
    assert!(reissued(&world), "n2 tells that it holds something newer");
    assert!(world.replies().is_empty(), "no other owner has the second version");
    world.deliver(|_, to, _| to == 2);
    world.deliver(|from, _, _| from == 2);
    assert!(written(&world.replies()) > ahead);
    world.deliver_all();
    assert_eq!([1, 2, 3].map(|node| world.held(node)), [1; 3].map(|_| Some("v".to_string())));
}

#[test]
fn a_put_at_all_is_issued_again_when_all_have_told() {
    let (mut world, ahead) = ahead(3, 3);
    world.put(1, "v", Level::All);
    world.deliver(|_, to, _| to == 2);
    world.deliver(|from, _, _| from == 2);
    assert!(!reissued(&world), "n3 did not tell yet");
    world.deliver_all();
    assert!(reissued(&world));
    assert!(written(&world.replies()) > ahead);
}

#[test]
fn where_clocks_agree_nothing_is_issued_again() {
    let mut world = World::new(3, 3);
    for (node, level) in [(1, Level::Quorum), (2, Level::Quorum), (3, Level::All)] {
        world.put(node, "v", level);
        world.deliver_all();
        written(&world.replies());
    }
    assert!(!reissued(&world));
}

#[test]
fn an_acknowledgement_of_the_first_issue_does_not_count_for_the_second() {
    let (mut world, _) = ahead(3, 3);
    world.put(1, "v", Level::Quorum);
    world.deliver(|_, _, name| name == "write");
    world.deliver(|from, _, _| from == 2);
    assert!(reissued(&world));
    assert_eq!(world.deliver(|from, _, name| name == "written" && from == 3), 1);
    assert!(world.replies().is_empty(), "n3 has the first version only");
    assert!(world.effects.notes.contains(&Note::LateAnswer));
    world.deliver_all();
    written(&world.replies());
}

#[test]
fn a_put_is_issued_again_once_for_what_is_newer_then_was_written_at_the_same_time() {
    let (mut world, first) = ahead(3, 3);
    world.put(1, "v", Level::Quorum);
    world.deliver(|_, to, _| to == 2);
    world.deliver(|from, _, _| from == 2);
    assert!(reissued(&world));
    let waiting = std::mem::take(&mut world.waiting);
    world.effects.now = 2 * AHEAD;
    world.put(3, "later", Level::One);
    world.deliver(|_, to, name| name == "write" && to == 2);
    let later = world.shards[&NodeId(2)].version("k").unwrap();
    (world.waiting, world.effects.replies) = (waiting, Vec::new());
    world.deliver(|_, to, _| to == 2);
    world.deliver(|from, _, _| from == 2);
    let version = written(&world.replies());
    assert!(first < version && version < later && reissued(&world));
}

#[test]
fn what_an_owner_told_on_an_older_ring_is_kept() {
    let (mut world, ahead) = ahead(5, 3);
    world.put(1, "v", Level::Quorum);
    world.deliver(|_, to, _| to == 2);
    world.deliver(|from, _, _| from == 2);
    let next = next_ring(&world);
    (1..=5).for_each(|node| world.step(node, Input::Ring(next.clone())));
    // Neither holds anything newer.
    world.deliver(|_, to, name| name == "write" && (to == 4 || to == 5));
    world.deliver(|from, _, name| name == "written" && (from == 4 || from == 5));
    assert!(reissued(&world));
    world.deliver_all();
    assert!(written(&world.replies()) > ahead);
}

#[test]
fn what_the_coordinator_itself_holds_on_a_newer_ring_counts_as_told() {
    let (mut world, ahead) = ahead(3, 2);
    world.put(1, "v", Level::Quorum);
    world.waiting.clear();
    let record = world.shards[&NodeId(2)].record("k").unwrap();
    let body = ShardBody::Delta { slot: slot_of_k(), records: vec![(Key::trusted("k"), record)] };
    world.step(1, Input::Message(NodeId(2), Message { epoch: Epoch(1), body }));
    let next = next_ring(&world);
    (1..=3).for_each(|node| world.step(node, Input::Ring(next.clone())));
    world.deliver(|_, to, name| name == "write" && to == 3);
    world.deliver(|from, _, name| name == "written" && from == 3);
    assert!(reissued(&world), "n3 holds nothing newer, but n1 does");
    world.deliver_all();
    assert!(written(&world.replies()) > ahead);
}

#[test]
fn a_second_issue_begins_anew_on_a_newer_ring_with_its_version() {
    let (mut world, ahead) = ahead(3, 3);
    world.put(1, "v", Level::Quorum);
    world.deliver(|_, to, _| to == 2);
    world.deliver(|from, _, _| from == 2);
    let second = world.shards[&NodeId(1)].version("k").unwrap();
    assert!(reissued(&world) && second > ahead);
    let next = next_ring(&world);
    (1..=3).for_each(|node| world.step(node, Input::Ring(next.clone())));
    world.deliver_all();
    assert_eq!(written(&world.replies()), second);
    assert!(reissued(&world));
}

#[test]
fn a_put_at_another_level_has_one_version() {
    let (mut world, ahead) = ahead(3, 3);
    world.put(1, "v", Level::One);
    world.deliver_all();
    assert!(written(&world.replies()) < ahead, "ONE promises no order");
    // At LINEARIZABLE, something newer is written after the versions were told.
    let mut world = World::new(3, 3);
    world.put(1, "v", Level::Linearizable);
    world.deliver(|_, to, name| name == "read" && to == 2);
    world.deliver(|from, _, name| name == "found" && from == 2);
    world.effects.now = AHEAD;
    let waiting = std::mem::take(&mut world.waiting);
    world.put(3, "ahead", Level::One);
    world.deliver(|_, to, name| name == "write" && to == 2);
    (world.waiting, world.effects.replies) = (waiting, Vec::new());
    world.deliver_all();
    let version = written(&world.replies());
    assert!(version < world.shards[&NodeId(2)].version("k").unwrap() && !reissued(&world));
}

#[test]
fn what_an_owner_told_moves_the_clock_on_though_nobody_waits_for_it() {
    let (mut world, ahead) = ahead(3, 3);
    let newer = Some(ahead);
    let answer = KeyAnswer::Written { op: OpId { shard: 0, sequence: 9 }, again: false, newer };
    let message = Message { epoch: Epoch(1), body: answer.into() };
    world.step(1, Input::Message(NodeId(2), message));
    assert!(world.effects.notes.contains(&Note::LateAnswer));
    world.put(1, "v", Level::One);
    assert!(written(&world.replies()) > ahead);
}

#[test]
fn after_a_pause_no_put_gets_another_version() {
    let (mut world, _) = ahead(3, 3);
    world.put(1, "v", Level::Quorum);
    world.step(1, Input::Paused);
    assert_eq!(world.replies(), [Reply::Failed(Failure::Timeout)], "it may have taken effect");
    world.deliver_all();
    assert!(!reissued(&world) && world.replies().is_empty());
    // One that has its second version is finished.
    let (mut world, ahead) = self::ahead(3, 3);
    world.put(1, "v", Level::Quorum);
    world.deliver(|_, to, _| to == 2);
    world.deliver(|from, _, _| from == 2);
    assert!(reissued(&world));
    world.step(1, Input::Paused);
    world.deliver_all();
    assert!(written(&world.replies()) > ahead);
}
