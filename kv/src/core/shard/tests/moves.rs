//! Slots that change hands: page by page, and whatever is lost on the way.

use super::*;

const KEYS: usize = 7;

fn key(number: usize) -> String {
    format!("{{tag}}{number}")
}

/// n1, n2 and n3 have some records of one slot. Then n4 joins and n3 leaves.
struct Change {
    world: World,
    last: Arc<Ring>,
}

impl Change {
    /// With a record that n3 alone has, or with none.
    fn begun(only_of_n3: Option<&str>) -> Self {
        let mut world = World::new(4, 3);
        let mut members: BTreeMap<NodeId, Member> = world.shards[&NodeId(1)].ring.members().clone();
        let state = |members: &mut BTreeMap<NodeId, Member>, node, state| {
            members.get_mut(&NodeId(node)).unwrap().state = state;
        };
        state(&mut members, 3, MemberState::Leaving);
        state(&mut members, 4, MemberState::Joining);
        let joint = Arc::new(world.shards[&NodeId(1)].ring.next(members.clone()).unwrap());
        members.remove(&NodeId(3));
        state(&mut members, 4, MemberState::Active);
        let last = Arc::new(joint.next(members).unwrap());
        for number in 0..KEYS {
            (1..=3).for_each(|node| world.hold(node, &key(number)));
        }
        if let Some(key) = only_of_n3 {
            world.hold(3, key);
        }
        (1..=4).for_each(|node| world.step(node, Input::Ring(joint.clone())));
        Self { world, last }
    }

    /// Rounds of pulls and offers in which one message of `nth` is lost, until n4, and n3 if it is to offer
    /// anything, are through.
    fn rounds(&mut self, nth: u64, offers: bool) {
        let mut sent = 0u64;
        for _ in 0..5_000 {
            if self.moving(4) == (0, 0) && (!offers || self.moving(3) == (0, 0)) {
                return;
            }
            (3..=4).for_each(|node| self.world.step(node, Input::Timer(ShardTimer::Pull)));
            while !self.world.waiting.is_empty() {
                self.world.waiting.retain(|(_, _, message)| {
                    sent += 1;
                    // No pattern, or the same message of each round would be lost.
                    let is_lost =
                        xxhash_rust::xxh3::xxh3_64(&sent.to_le_bytes()).is_multiple_of(nth);
                    !is_lost && (offers || message.body.name() != "offer")
                });
                self.world.deliver(|_, _, _| true);
            }
        }
    }

    /// The change after this one.
    fn next_in_which_n1_is(&self, state: MemberState) -> Arc<Ring> {
        let mut members = self.last.members().clone();
        members.get_mut(&NodeId(1)).unwrap().state = state;
        Arc::new(self.last.next(members).unwrap())
    }

    fn moving(&self, node: u32) -> (usize, usize) {
        self.world.shards[&NodeId(node)].moving()
    }

    fn lacks(&self, node: u32) -> Vec<String> {
        let shard = &self.world.shards[&NodeId(node)];
        (0..KEYS).map(key).filter(|key| shard.version(key).is_none()).collect()
    }
}

impl World {
    /// A replica holds a record of this key.
    fn hold(&mut self, node: u32, key: &str) {
        let version = Version { timestamp: Timestamp(1), node: NodeId(1) };
        let record = Record { version, value: Some(Value::trusted("v")) };
        self.shards.get_mut(&NodeId(node)).unwrap().restore(&Key::trusted(key), &record);
    }
}

#[test]
fn who_gains_a_slot_pulls_it_page_by_page_and_all_of_it_though_messages_are_lost() {
    for nth in [3, 5, 1_000] {
        let mut change = Change::begun(None);
        assert_eq!(change.moving(4).0, usize::from(RING_SIZE), "whether it has records or not");
        change.rounds(nth, false);
        assert_eq!(change.moving(4).0, 0, "one message of {nth} is lost");
        assert_eq!(change.lacks(4), Vec::<String>::new());
        assert!(change.world.effects.notes.contains(&Note::PullPaged));
    }
}

#[test]
fn who_leaves_hands_over_what_it_alone_has_and_what_comes_after_the_first_page() {
    for only in ["{tag}", "{tag}3x", "{tag}9"] {
        let mut change = Change::begun(Some(only));
        change.rounds(3, true);
        assert_eq!(change.moving(3), (0, 0));
        for node in [1, 2, 4] {
            assert!(change.world.shards[&NodeId(node)].version(only).is_some(), "n{node}: {only}");
        }
        assert!(change.world.effects.notes.contains(&Note::OfferPaged));
        assert!(!change.world.effects.notes.contains(&Note::SlotDropped), "the ring is joint");
    }
}

#[test]
fn a_slot_is_dropped_when_every_owner_has_it_and_not_before() {
    let mut change = Change::begun(None);
    change.rounds(1_000, true);
    (1..=4).for_each(|node| change.world.step(node, Input::Ring(change.last.clone())));
    for _ in 0..100 {
        change.world.step(3, Input::Timer(ShardTimer::Pull));
        while change.world.deliver(|from, to, _| (from, to) != (3, 4)) > 0 {}
        change.world.waiting.clear();
    }
    assert_eq!(change.lacks(3), Vec::<String>::new(), "n4 did not confirm");
    change.rounds(1_000, true);
    assert_eq!(change.lacks(3).len(), KEYS);
    assert_eq!(change.lacks(4), Vec::<String>::new());
}

#[test]
fn what_others_have_is_handed_over_before_it_is_forgotten() {
    let mut change = Change::begun(None);
    change.rounds(1_000, true);
    let many = 100 * change.world.shards[&NodeId(3)].config.page;
    for number in KEYS..many {
        (1..=4).for_each(|node| change.world.hold(node, &key(number)));
    }
    (1..=4).for_each(|node| change.world.step(node, Input::Ring(change.last.clone())));
    assert!(!change.world.shards[&NodeId(3)].has_handed_over(), "n4 was not asked");
    while change.world.deliver(|_, _, _| true) > 0 {}
    assert!(change.world.shards[&NodeId(3)].has_handed_over());
    assert_eq!(change.moving(3), (0, 1), "it forgets in rounds");
    let held = change.world.shards[&NodeId(3)].counts().0;
    assert!(0 < held && held < many, "{held} of {many}");
}

#[test]
fn while_a_change_is_under_way_old_owners_get_what_is_given_up_too() {
    let mut change = Change::begun(None);
    change.rounds(1_000, true);
    let joint = change.next_in_which_n1_is(MemberState::Leaving);
    // n3 learns of its own leave when the next change has begun.
    (1..=4).for_each(|node| change.world.step(node, Input::Ring(joint.clone())));
    for _ in 0..100 {
        change.world.step(3, Input::Timer(ShardTimer::Pull));
        while change.world.deliver(|from, to, _| (from, to) != (3, 1)) > 0 {}
        change.world.waiting.clear();
    }
    assert_eq!(change.lacks(3), Vec::<String>::new(), "n1 would be an owner, were it given up");
    change.rounds(1_000, true);
    assert_eq!(change.lacks(3).len(), KEYS);
}

#[test]
fn nobody_waits_for_an_owner_who_is_evicted_to_take_what_is_given_up() {
    let mut change = Change::begun(None);
    change.rounds(1_000, true);
    let joint = change.next_in_which_n1_is(MemberState::Evicted);
    (2..=4).for_each(|node| change.world.step(node, Input::Ring(joint.clone())));
    change.world.waiting.retain(|(_, to, _)| *to != NodeId(1));
    change.rounds(1_000, true);
    assert_eq!(change.lacks(3).len(), KEYS);
}
