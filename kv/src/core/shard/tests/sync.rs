//! Comparisons: how they go on, end, are given up, and what they tell of how far a node is behind.

use super::*;

fn record(time: u64, node: u32) -> Record {
    let version = Version { timestamp: Timestamp::from_micros(time), node: NodeId(node) };
    Record { version, value: Some(Value::trusted("v")) }
}

impl World {
    fn give(&mut self, node: u32, key: &str, record: &Record) {
        self.shards.get_mut(&NodeId(node)).unwrap().restore(&Key::trusted(key), record);
    }

    /// Time goes by, in which everybody looked at the clock.
    fn wait(&mut self, micros: u64) {
        self.effects.now += micros;
        for shard in self.shards.values_mut() {
            shard.sync.ticked = self.effects.uptime();
        }
    }

    fn tick(&mut self, node: u32) {
        self.step(node, Input::Timer(ShardTimer::Sync));
    }

    fn behind(&self, node: u32) -> Behind {
        self.shards[&NodeId(node)].behind(self.effects.uptime())
    }

    fn to_compare(&self, node: u32) -> Vec<u32> {
        self.behind(node).peers_to_compare.iter().map(|peer| peer.0).collect()
    }

    fn digests(&self, node: u32) -> Vec<(Slot, u64)> {
        self.shards[&NodeId(node)].digests()
    }
}

/// Two owners of everything: each holds keys that the other lacks, and older versions of some, many of one
/// tag and some of none.
fn two_that_differ(keys: u64) -> World {
    let mut world = World::new(2, 2);
    for number in 0..keys {
        let key = match number % 4 {
            0 => format!("key{number}"),
            _ => format!("{{tag}}{number}"),
        };
        match number % 3 {
            0 => world.give(1, &key, &record(1, 1)),
            1 => world.give(2, &key, &record(1, 2)),
            _ => {
                world.give(1, &key, &record(1, 1));
                world.give(2, &key, &record(number % 2 + 1, 2));
            }
        }
    }
    world
}

#[test]
fn one_tick_is_enough_whatever_the_owners_lack() {
    let mut world = two_that_differ(2_000);
    assert_ne!(world.digests(1), world.digests(2));
    world.tick(2);
    world.deliver_all();
    assert_eq!(world.digests(1), world.digests(2));
    assert!(world.effects.notes.contains(&Note::SyncPaged));
}

#[test]
fn no_message_of_a_comparison_is_about_more_than_a_few_keys() {
    let mut world = two_that_differ(600);
    world.tick(1);
    world.tick(2);
    let most = 4 * world.shards[&NodeId(1)].config.page;
    while !world.waiting.is_empty() {
        for (_, _, message) in &world.waiting {
            if let Body::Shard(ShardBody::SlotsRequest {
                request: SlotsRequest::Versions { ranges, .. },
                ..
            }) = &message.body
            {
                assert!(ranges.iter().map(|range| range.versions.len()).sum::<usize>() <= most);
            }
            if let Body::Shard(ShardBody::SlotsAnswer {
                answer: SlotsAnswer::Newer { parts, .. },
                ..
            }) = &message.body
            {
                assert!(parts.iter().map(|part| part.records.len()).sum::<usize>() <= most);
                assert!(parts.iter().map(|part| part.want.len()).sum::<usize>() <= most);
            }
            if let Body::Shard(ShardBody::Delta { records, .. }) = &message.body {
                assert!(records.len() <= 64);
            }
        }
        world.deliver(|_, _, _| true);
    }
    assert_eq!(world.digests(1), world.digests(2));
}

#[test]
fn a_node_knows_how_far_it_is_behind_until_a_whole_comparison_found_nothing() {
    let mut world = World::new(2, 2);
    world.wait(10_000_000);
    (0..100).for_each(|n| world.give(1, &format!("{{tag}}{n}"), &record(1, 1)));
    assert_eq!(world.to_compare(2), [1], "it was not compared yet");
    world.tick(2);
    world.deliver(|_, _, name| name == "digests");
    world.deliver(|_, _, name| name == "differ");
    assert_eq!(world.behind(2).records_behind, 100);
    world.deliver(|_, _, name| name == "versions");
    world.deliver(|_, _, name| name == "newer");
    assert_eq!((world.behind(2).records_behind, world.to_compare(2)), (92, vec![1]));
    world.deliver_all();
    assert_eq!(world.digests(1), world.digests(2));
    assert_eq!(
        (world.behind(2).records_behind, world.to_compare(2)),
        (0, vec![1]),
        "it lacked some"
    );
    world.tick(2);
    world.deliver_all();
    assert!(world.behind(2).is_nothing());
    assert_eq!(world.to_compare(1), [2], "n1 did not ask");
    let first = world.shards[&NodeId(1)].ring.clone();
    let next = Arc::new(first.next(first.members().clone()).unwrap());
    (1..=2).for_each(|node| world.step(node, Input::Ring(next.clone())));
    assert_eq!(world.to_compare(2), [1], "the ring is new");
}

#[test]
fn records_that_may_be_on_their_way_are_not_lacking() {
    let mut world = World::new(2, 2);
    world.wait(10_000_000);
    let now = world.effects.now().micros();
    // As old as a request can be, and older.
    world.give(1, "young", &record(now - 2 * TIMEOUT.0, 1));
    world.tick(2);
    world.deliver_all();
    assert!(world.behind(2).is_nothing());
    world.give(1, "old", &record(now - 2 * TIMEOUT.0 - 1, 1));
    world.tick(2);
    world.deliver_all();
    assert_eq!(world.to_compare(2), [1]);
}

#[test]
fn whoever_is_not_compared_with_yet_does_not_wait_for_a_tick_of_its_own() {
    let mut world = World::new(5, 5);
    world.tick(1);
    world.deliver_all();
    assert!(world.behind(1).is_nothing());
    // From then on a tick is about one of them.
    world.tick(1);
    assert_eq!(world.waiting.len(), 1);
}

#[test]
fn a_peer_that_does_not_answer_is_given_up_for_now_and_keeps_nobody_waiting() {
    let mut world = World::new(3, 3);
    world.tick(1);
    world.deliver_all();
    assert!(world.behind(1).is_nothing());
    for _ in 0..12 {
        world.tick(1);
        while world.deliver(|_, to, _| to != 3) > 0 {}
        world.waiting.clear();
    }
    assert_eq!(world.to_compare(1), [3]);
    world.give(2, "k", &record(1, 2));
    for _ in 0..3 {
        world.tick(1);
        while world.deliver(|_, to, _| to != 3) > 0 {}
    }
    assert_eq!(world.held(1), Some("v".into()), "n2 answers");
}

#[test]
fn after_a_pause_of_its_own_a_node_trusts_no_comparison() {
    let mut world = World::new(2, 2);
    world.tick(2);
    world.deliver_all();
    assert!(world.behind(2).is_nothing());
    // An answer from before the pause lies in the socket.
    world.tick(2);
    world.effects.now += 8_000_000;
    assert_eq!(world.to_compare(2), [1]);
    // So does a question: what differs now will not once it was filled.
    world.tick(1);
    world.deliver(|_, to, name| to == 2 && name == "digests");
    assert!(world.waiting.iter().all(|(_, _, message)| message.body.name() != "differ"));
    world.tick(2);
    world.deliver(|_, _, name| name == "digests");
    let is_late = |body: &Body| {
        matches!(
            body,
            Body::Shard(ShardBody::SlotsAnswer {
                answer: SlotsAnswer::Differ { pass: 2.., .. },
                ..
            })
        )
    };
    world.waiting.retain(|(_, _, message)| is_late(&message.body));
    let late = world.waiting.remove(0);
    world.hear(2, late.0, late.2);
    assert_eq!(world.to_compare(2), [1], "that one was given before");
    world.deliver_all();
    assert!(world.behind(2).is_nothing());
}

#[test]
fn answers_that_come_twice_or_late_or_not_at_all_keep_no_owner_from_becoming_equal() {
    for nth in [4, 10, 40] {
        let mut world = two_that_differ(200);
        let (mut sent, mut held_back) = (0u64, Vec::new());
        for _ in 0..500 {
            (1..=2).for_each(|node| world.tick(node));
            while !world.waiting.is_empty() {
                let mut waiting = Vec::new();
                for message in std::mem::take(&mut world.waiting) {
                    sent += 1;
                    // No pattern, or the same message of each comparison would be lost.
                    match xxhash_rust::xxh3::xxh3_64(&sent.to_le_bytes()) % nth {
                        0 => {}
                        1 => held_back.push(message),
                        2 => waiting.extend([message.clone(), message]),
                        _ => waiting.push(message),
                    }
                }
                world.waiting = waiting;
                world.deliver(|_, _, _| true);
            }
            world.waiting.append(&mut held_back);
        }
        assert_eq!(world.digests(1), world.digests(2), "one in {nth}");
        assert_eq!(world.shards[&NodeId(1)].records().len(), 200);
    }
}

#[test]
fn a_slot_that_is_always_being_written_is_compared_a_part_at_a_time() {
    let mut world = World::new(2, 2);
    (0..2_000).for_each(|n| {
        (1..=2).for_each(|node| world.give(node, &format!("{{tag}}{n}"), &record(1, 1)));
    });
    world.tick(2);
    world.deliver_all();
    // One write is under way.
    world.give(1, "{tag}", &record(1_000_000, 1));
    world.tick(2);
    let mut delivered = 0;
    while let count @ 1.. = world.deliver(|_, _, _| true) {
        delivered += count;
    }
    let versions = 4 * world.shards[&NodeId(1)].config.page;
    assert!(delivered < 2 * (2_000 / versions), "{delivered} messages");
    assert_eq!(world.digests(1), world.digests(2), "but what it finds, it merges");
}

#[test]
fn while_one_peer_brings_what_is_lacking_the_others_do_not_bring_it_too() {
    let mut world = World::new(3, 3);
    world.wait(10_000_000);
    for number in 0..500 {
        (1..=2).for_each(|node| world.give(node, &format!("{{tag}}{number}"), &record(1, 1)));
    }
    world.tick(3);
    for _ in 0..4 {
        world.deliver(|_, _, _| true);
    }
    assert_eq!(world.shards[&NodeId(3)].counts().0, 8, "the first answer came");
    (1..=2).for_each(|node| world.tick(node));
    let mut sent = [0; 2];
    while !world.waiting.is_empty() {
        for (from, to, message) in &world.waiting {
            if let (NodeId(from @ 1..=2), NodeId(3)) = (from, to) {
                sent[*from as usize - 1] += match &message.body {
                    Body::Shard(ShardBody::SlotsAnswer {
                        answer: SlotsAnswer::Newer { parts, .. },
                        ..
                    }) => parts.iter().map(|part| part.records.len()).sum(),
                    Body::Shard(ShardBody::Delta { records, .. }) => records.len(),
                    _ => 0,
                };
            }
        }
        world.deliver(|_, _, _| true);
    }
    assert_eq!(world.digests(3), world.digests(1));
    assert_eq!(sent[0] + sent[1], 492, "{sent:?}");
}
