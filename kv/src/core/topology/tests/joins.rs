//! Processes that ask for a place in the ring, and come back.

use super::*;

fn join(address: &str, instance: u64) -> Change {
    Change::Join(Joiner::new(address, instance))
}

/// The processes of a ring that joined from an address.
fn instances(ring: &Ring, address: &str) -> Vec<u64> {
    let at = ring.members().values().filter(|member| member.address == address);
    at.map(|member| member.instance).collect()
}

#[test]
fn of_two_processes_at_one_address_the_one_that_asks_last_joins() {
    let mut world = World::new(3, &ring(3, 2));
    // Nothing is proposed in between.
    for instance in [9, 7] {
        world.nodes[0].want(join("x:1", instance));
    }
    world.step(1, TopologyInput::Gone(BTreeSet::new()));
    world.settle(&[1, 2, 3]);
    assert_eq!(instances(world.nodes[0].ring(), "x:1"), [7], "the larger number is no later one");
}

#[test]
fn a_joiner_that_starts_again_while_the_ring_is_joint_takes_its_own_place() {
    let mut world = World::new(3, &ring(3, 2));
    world.step(1, TopologyInput::Change(join("x:1", 9)));
    world.settle(&[1, 2, 3]);
    assert!(world.nodes[0].ring().is_joint());
    world.step(2, TopologyInput::Change(join("x:1", 7)));
    world.settle(&[1, 2, 3]);
    for _ in 0..10 {
        for node in 1..=3 {
            if world.armed[node as usize - 1].contains(&TopologyTimer::Propose) {
                world.fire(node, TopologyTimer::Propose);
                world.settle(&[1, 2, 3]);
            }
        }
    }
    assert_eq!(instances(world.nodes[0].ring(), "x:1"), [7]);
}

#[test]
fn a_process_that_asked_before_the_ring_was_decided_does_not_drive_out_the_one_that_joins() {
    let mut world = World::new(3, &ring(3, 2));
    // n2 was asked by an earlier process, which is gone.
    world.nodes[1].want(join("x:1", 9));
    world.step(1, TopologyInput::Change(join("x:1", 7)));
    world.settle(&[1, 2, 3]);
    assert_eq!(instances(world.nodes[1].ring(), "x:1"), [7]);
    world.step(2, TopologyInput::Gone(BTreeSet::new()));
    world.settle(&[1, 2, 3]);
    assert_eq!(instances(world.nodes[1].ring(), "x:1"), [7]);
}

#[test]
fn processes_that_want_to_join_do_not_crowd_out_an_operator() {
    let mut topology = World::new(1, &ring(3, 2)).nodes.remove(0);
    (0..200).for_each(|n| topology.want(join(&format!("x{n}:1"), n + 1)));
    assert_eq!(topology.wanted.len(), MOST_JOINS);
    topology.want(Change::Leave(NodeId(2)));
    assert!(topology.wanted.contains_key(&Change::Leave(NodeId(2))));
}
