//! After a pause: whether our ring is still the newest.

use super::*;

#[test]
fn after_a_pause_a_majority_says_that_the_ring_is_the_newest_and_answers_of_before_do_not_count() {
    let ring = ring(5, 3);
    let mut world = World::new(5, &ring);
    world.step(1, TopologyInput::Paused(7));
    assert_eq!(world.waiting.len(), 4);
    let early = world.waiting.clone();
    world.settle(&[1, 2]);
    assert_eq!(world.confirmed, [], "two of five are no majority");
    world.step(1, TopologyInput::Paused(8));
    world.waiting = early;
    world.settle(&[1, 2, 3, 4, 5]);
    assert_eq!(world.confirmed, [], "they were asked before the last pause");
    assert!(world.armed[0].contains(&TopologyTimer::Confirm));
    world.step(1, TopologyInput::Timer(TopologyTimer::Confirm));
    world.settle(&[1, 2, 3]);
    assert_eq!(world.confirmed, [(1, 8, Epoch(1))]);
    world.step(1, TopologyInput::Timer(TopologyTimer::Confirm));
    assert!(world.waiting.is_empty() && world.confirmed.len() == 1, "it is over");
}

#[test]
fn a_node_that_was_away_while_the_ring_changed_is_told_and_asks_again_of_the_new_one() {
    let ring = ring(3, 3);
    let mut world = World::new(4, &ring);
    let next = after(&ring, &[Change::Join(Joiner::new("node4:1", 4))]);
    (2..=4).for_each(|node| world.step(node, TopologyInput::Install(next.clone())));
    world.waiting.clear();
    world.step(1, TopologyInput::Paused(7));
    world.settle(&[1, 2, 3, 4]);
    assert_eq!(world.nodes[0].ring().epoch(), next.epoch());
    assert_eq!(world.confirmed, [(1, 7, next.epoch())]);
}

#[test]
fn a_node_that_was_evicted_meanwhile_is_never_confirmed_and_the_only_member_is_at_once() {
    let three = ring(3, 3);
    let mut world = World::new(3, &three);
    let joint = after(&three, &[Change::Evict(NodeId(1))]);
    let last = Arc::new(joint.after(&BTreeSet::new(), true).unwrap());
    [2, 3].into_iter().for_each(|node| world.step(node, TopologyInput::Install(last.clone())));
    world.waiting.clear();
    world.step(1, TopologyInput::Paused(7));
    world.settle(&[1, 2, 3]);
    world.step(1, TopologyInput::Timer(TopologyTimer::Confirm));
    world.settle(&[1, 2, 3]);
    assert_eq!((world.nodes[0].ring().epoch(), &world.confirmed[..]), (last.epoch(), &[][..]));
    let mut alone = World::new(1, &ring(1, 3));
    alone.step(1, TopologyInput::Paused(7));
    assert_eq!(alone.confirmed, [(1, 7, Epoch(1))]);
}
