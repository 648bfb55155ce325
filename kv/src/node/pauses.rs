//! What a node does when it notices that it stood still.
//!
//! Whatever lies in the sockets of a node when it wakes is old. A request that were run then would get a new
//! version, and beat what was acknowledged to others meanwhile. So each request is of an *era*, the time
//! between two pauses in which its connection was taken, and in a later era it is refused. Whoever feeds a node
//! looks at the clocks first, and who finds a pause begins the next era before it feeds anything.

use super::{
    eras::{Era, Pause},
    outbox::Outbox,
    ports::Ports,
    pulse::Times,
    state::Node,
    step::{OfShard, OfTopology},
};
use crate::{
    core::{shard::Input, time::Micros, topology::TopologyInput, types::Epoch},
    node::locks::atomic::Ordering,
};

impl<P: Ports> Node<P> {
    /// The era that it is now, as far as somebody noticed.
    pub fn era(&self) -> Era {
        self.pauses.era()
    }

    /// The era that it is now, after a look at the clocks. To be called several times within
    /// [`crate::node::config::NodeConfig::pause_after`] also when nothing else happens, or idleness is taken for a pause.
    pub fn look(&self) -> Era {
        self.times();
        self.era()
    }

    /// Whether requests are coordinated: no pause was noticed, or a majority has said since that this
    /// node's ring is the newest.
    pub fn is_confirmed(&self) -> bool {
        self.pauses.lets_through(self.era(), Epoch(u64::MAX))
    }

    /// The clocks. A pause is noticed before whoever reads them goes on.
    pub(super) fn times(&self) -> Times {
        let read = || (self.ports.now(), self.ports.uptime());
        let mut noticed = None;
        let times = self.pauses.pulse.look(read, |length| noticed = Some(self.begin_era(length)));
        if let Some((pause, mut outbox)) = noticed {
            self.ports.paused(pause);
            self.flush(&mut outbox);
        }
        times
    }

    /// Nothing is fed before every machine knows: whoever comes by waits for its turn.
    fn begin_era(&self, length: Micros) -> (Pause, Outbox) {
        let times = (self.ports.now(), self.ports.uptime());
        let era = Era(self.pauses.era.fetch_add(1, Ordering::AcqRel) + 1);
        let mut outbox = Outbox::default();
        for (shard, machine) in (0..).zip(&self.shards) {
            let name = OfShard(shard);
            self.step(name, times, machine, &mut outbox, |s, env| s.handle(Input::Paused, env));
        }
        self.step(OfTopology, times, &self.topology, &mut outbox, |topology, env| {
            topology.handle(TopologyInput::Paused(era.0), env);
        });
        (Pause { era, length }, outbox)
    }

    /// A majority said, in this era, that the ring of this epoch is the newest.
    pub(super) fn confirm(&self, era: Era, epoch: Epoch) {
        self.pauses.confirmed_at.fetch_max(epoch.0, Ordering::AcqRel);
        self.pauses.confirmed.fetch_max(era.0, Ordering::AcqRel);
        self.ports.confirmed(era, epoch);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        sync::Arc,
    };

    use super::*;
    use crate::{
        core::{
            env::{Entry, Failure, Note, Reply, Request},
            message::{Body, Message, TopologyBody},
            quorum::Level,
            ring::{RING_SIZE, Ring},
            time::Timestamp,
            types::{Key, NodeId, RequestId, Value},
        },
        node::{Alarm, Position, config::NodeConfig, recover::Recovered},
    };

    /// A world whose clocks the test sets.
    #[derive(Default)]
    struct World {
        wall: Cell<u64>,
        uptime: Cell<u64>,
        messages: RefCell<Vec<(NodeId, Message)>>,
        replies: RefCell<Vec<Reply>>,
        paused: RefCell<Vec<Micros>>,
    }

    impl World {
        fn pass(&self, ms: u64) {
            self.wall.set(self.wall.get() + ms * 1_000);
            self.uptime.set(self.uptime.get() + ms * 1_000);
        }
    }

    impl Ports for &World {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.wall.get())
        }

        fn uptime(&self) -> Micros {
            Micros(self.uptime.get())
        }

        fn set_timer(&self, _alarm: Alarm, _after: Micros) {}

        fn append(&self, _entry: Entry) -> Position {
            Position(0)
        }

        fn durable(&self) -> Position {
            Position(u64::MAX)
        }

        fn note(&self, _note: Note) {}

        fn send(&self, outbox: &mut Outbox) {
            self.messages.borrow_mut().append(&mut outbox.messages);
            self.replies.borrow_mut().extend(outbox.replies.drain(..).map(|(_, reply)| reply));
        }

        fn paused(&self, pause: Pause) {
            self.paused.borrow_mut().push(pause.length);
        }
    }

    /// The node n1 of a cluster of so many, for which a second is a pause.
    fn node(world: &World, members: usize) -> Node<&World> {
        world.wall.set(1_000_000_000);
        let addresses: Vec<String> = (1..=members).map(|n| format!("h{n}:1")).collect();
        let ring = Arc::new(Ring::form(&addresses, members, RING_SIZE).unwrap());
        let config = NodeConfig { shards: 2, max_clock_drift: Micros(0), ..NodeConfig::default() };
        Node::start(NodeId(1), &config, ring, Recovered::default(), world)
    }

    /// What is answered at once to a write of a connection that was taken in this era.
    fn put(node: &Node<&World>, era: Era, level: Level) -> Option<Reply> {
        let mut batch = node.batch();
        batch.set_era(era);
        let (key, value) = (Key::trusted("k"), Some(Value::trusted("v")));
        node.request(&mut batch, RequestId(1), Request::Put { key, value, level });
        node.run_and_flush(&mut batch);
        node.ports().replies.borrow_mut().pop()
    }

    const REFUSED: Option<Reply> = Some(Reply::Failed(Failure::Paused));

    #[test]
    fn after_a_pause_nothing_is_run_that_is_older_and_nothing_before_a_majority_confirmed() {
        let world = World::default();
        let node = node(&world, 3);
        let before = node.era();
        assert!(matches!(put(&node, before, Level::One), Some(Reply::Written(_))));
        world.messages.borrow_mut().clear();
        world.pass(1_001);
        assert_eq!(put(&node, before, Level::One), REFUSED);
        assert_eq!(world.paused.borrow()[..], [Micros(1_001_000)]);
        let after = node.era();
        assert!(after > before && !node.is_confirmed());
        assert_eq!(put(&node, after, Level::One), REFUSED);
        let asked = |message: &(NodeId, Message)| {
            matches!(message.1.body, Body::Topology(TopologyBody::IsNewest { .. }))
        };
        assert_eq!(world.messages.borrow().iter().filter(|message| asked(message)).count(), 2);
        let mut batch = node.batch();
        let body = TopologyBody::Newest { era: after.0 }.into();
        node.message(&mut batch, NodeId(2), Message { epoch: Epoch(1), body });
        node.run_and_flush(&mut batch);
        assert!(matches!(put(&node, after, Level::One), Some(Reply::Written(_))));
        assert_eq!(put(&node, before, Level::One), REFUSED, "an old connection stays old");
        assert_eq!((node.era().pauses(), world.messages.borrow().is_empty()), (1, false));
    }

    #[test]
    fn a_node_that_looks_at_the_clocks_now_and_then_is_not_paused_however_idle() {
        let world = World::default();
        let node = node(&world, 1);
        let first = node.era();
        for _ in 0..50 {
            world.pass(900);
            assert_eq!(node.look(), first);
        }
        assert!(matches!(put(&node, first, Level::One), Some(Reply::Written(_))));
        assert!(world.paused.borrow().is_empty());
    }

    #[test]
    fn a_leap_of_the_wall_clock_against_the_other_is_a_pause_too_and_a_step_back_is_not() {
        let world = World::default();
        let node = node(&world, 1);
        let first = node.era();
        world.pass(5);
        world.wall.set(world.wall.get() - 60_000_000);
        assert_eq!(node.look(), first);
        world.pass(20);
        assert_eq!(node.look(), first);
        world.wall.set(world.wall.get() + 1_500_000);
        assert!(node.look() > first, "a machine was suspended, and its monotonic clock with it");
        assert_eq!(world.paused.borrow()[..], [Micros(1_500_000)]);
        assert!(node.is_confirmed(), "the only member needs nobody's word");
    }

    #[test]
    fn a_write_that_has_no_version_yet_is_given_up_after_a_pause() {
        let world = World::default();
        let node = node(&world, 3);
        assert_eq!(put(&node, node.era(), Level::Linearizable), None);
        world.pass(3_000);
        node.look();
        let given_up = Reply::Failed(Failure::Unavailable);
        assert_eq!(world.replies.borrow_mut().pop(), Some(given_up));
    }
}
