//! Detectors by hand: the test says when time passes, and what arrives.

use super::*;
use crate::core::{ring::RING_SIZE, time::Timestamp};

const PERIOD: Micros = Micros(1_000);
const EVICT_AFTER: Micros = Micros(20_000);

/// The effects of a step.
#[derive(Default)]
struct World {
    now: u64,
    sent: Vec<(NodeId, Vec<u8>)>,
    gone: Option<BTreeSet<NodeId>>,
    notes: Vec<Note>,
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1)
    }

    fn uptime(&self) -> Micros {
        Micros(self.now)
    }
}

impl Timers<DetectorTimer> for World {
    fn set_timer(&mut self, DetectorTimer: DetectorTimer, _after: Micros) {}
}

impl Network for World {
    fn send(&mut self, to: NodeId, message: Message) {
        let Body::Gossip(bytes) = message.body else { panic!("a detector says {message:?}") };
        self.sent.push((to, bytes));
    }
}

impl Trace for World {
    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

impl Advise for World {
    fn gone(&mut self, members: BTreeSet<NodeId>) {
        self.gone = Some(members);
    }
}

fn ring(members: u32) -> Arc<Ring> {
    let addresses: Vec<String> = (1..=members).map(|n| format!("node{n}:1")).collect();
    Arc::new(Ring::form(&addresses, 1, RING_SIZE).unwrap())
}

fn detector(node: u32, incarnation: u32, ring: &Arc<Ring>) -> Detector {
    let config =
        DetectorConfig { node: NodeId(node), seed: 7, period: PERIOD, evict_after: EVICT_AFTER };
    Detector::new(config, ring.clone(), Incarnation(incarnation))
}

/// Detectors n1, n2, …, and what each one says is gone.
struct Cluster {
    detectors: Vec<Detector>,
    gone: Vec<BTreeSet<NodeId>>,
    world: World,
    /// Gossip that was delivered: from, to, what.
    delivered: Vec<(NodeId, NodeId, Vec<u8>)>,
}

impl Cluster {
    fn new(members: u32) -> Self {
        let ring = ring(members);
        let mut world = World::default();
        let mut detectors: Vec<Detector> =
            (1..=members).map(|node| detector(node, 1, &ring)).collect();
        detectors.iter_mut().for_each(|detector| detector.start(&mut world));
        let gone = vec![BTreeSet::new(); detectors.len()];
        Self { detectors, gone, world, delivered: Vec::new() }
    }

    fn step(&mut self, node: u32, input: DetectorInput) {
        let at = node as usize - 1;
        self.detectors[at].handle(input, &mut self.world);
        if let Some(gone) = self.world.gone.take() {
            self.gone[at] = gone;
        }
    }

    /// Lets time pass for those that are awake; their messages to each other arrive at once.
    fn pass(&mut self, time: Micros, awake: &[u32]) {
        let until = self.world.now + time.0;
        while self.world.now < until {
            self.world.now += PERIOD.0 / TICKS;
            for node in awake {
                self.step(*node, DetectorInput::Timer);
                self.deliver(*node, awake);
            }
        }
    }

    fn deliver(&mut self, from: u32, awake: &[u32]) {
        let mut waiting: Vec<_> = self.take_sent(from);
        while let Some((from, to, message)) = waiting.pop() {
            if awake.contains(&to.0) {
                self.delivered.push((from, to, message.clone()));
                self.step(to.0, DetectorInput::Gossip(from, message));
                waiting.extend(self.take_sent(to.0));
            }
        }
    }

    fn take_sent(&mut self, from: u32) -> Vec<(NodeId, NodeId, Vec<u8>)> {
        let sent = std::mem::take(&mut self.world.sent);
        sent.into_iter().map(|(to, message)| (NodeId(from), to, message)).collect()
    }

    fn health(&self, of: u32, by: u32) -> Health {
        self.detectors[by as usize - 1].health()[&NodeId(of)]
    }

    fn count(&self, note: Note) -> usize {
        self.world.notes.iter().filter(|n| **n == note).count()
    }
}

const LONG: Micros = Micros(2 * EVICT_AFTER.0);

#[test]
fn members_find_each_other_and_who_is_silent_is_gone_after_its_time() {
    let mut cluster = Cluster::new(4);
    cluster.pass(Micros(10_000), &[1, 2, 3, 4]);
    for by in 1..=4 {
        assert!((1..=4).filter(|of| *of != by).all(|of| cluster.health(of, by) == Health::Alive));
    }
    cluster.pass(Micros(12_000), &[1, 2, 3]);
    assert_eq!(cluster.health(4, 1), Health::Down);
    assert!(cluster.gone[0].is_empty(), "not yet");
    cluster.pass(LONG, &[1, 2, 3]);
    assert!(cluster.gone[..3].iter().all(|gone| *gone == BTreeSet::from([NodeId(4)])));
    // It is back before it was evicted: nobody asks for that any more.
    cluster.pass(Micros(10_000), &[1, 2, 3, 4]);
    assert!(cluster.gone[..3].iter().all(BTreeSet::is_empty));
    assert_eq!(cluster.health(4, 1), Health::Alive);
}

/// Found by the simulation: members that all took each other for dead said nothing to each other any more.
#[test]
fn members_that_lost_each_other_find_each_other_again() {
    let mut cluster = Cluster::new(3);
    cluster.pass(Micros(10_000), &[1, 2, 3]);
    for _ in 0..100 {
        // Each one is alone.
        cluster.pass(Micros(200), &[1]);
        cluster.world.now -= 200;
        cluster.pass(Micros(200), &[2]);
        cluster.world.now -= 200;
        cluster.pass(Micros(200), &[3]);
    }
    let all = [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)];
    assert!(all.iter().all(|(of, by)| cluster.health(*of, *by) == Health::Down));
    cluster.pass(Micros(20_000), &[1, 2, 3]);
    assert!(all.iter().all(|(of, by)| cluster.health(*of, *by) == Health::Alive));
    assert!(cluster.gone.iter().all(BTreeSet::is_empty));
}

#[test]
fn who_was_never_heard_of_is_gone_as_well() {
    let mut cluster = Cluster::new(3);
    cluster.pass(LONG, &[1, 2]);
    assert_eq!(cluster.gone[0], BTreeSet::from([NodeId(3)]));
}

#[test]
fn a_member_that_is_new_seems_unknown_until_it_is_heard_of_or_for_long_is_not() {
    let mut cluster = Cluster::new(2);
    assert_eq!(cluster.health(2, 1), Health::Unknown, "at the start");
    cluster.pass(Micros(10_000), &[1, 2]);
    assert_eq!(cluster.health(2, 1), Health::Alive);
    // Two members come, and only one of them is there.
    let grown = Arc::new(ring(4).next(ring(4).members().clone()).unwrap());
    cluster.step(1, DetectorInput::Ring(grown.clone()));
    cluster.step(2, DetectorInput::Ring(grown.clone()));
    cluster.detectors.push(detector(3, 1, &grown));
    cluster.gone.push(BTreeSet::new());
    cluster.detectors[2].start(&mut cluster.world);
    assert_eq!([3, 4].map(|of| cluster.health(of, 1)), [Health::Unknown; 2]);
    cluster.pass(Micros(20_000), &[1, 2, 3]);
    assert_eq!([3, 4].map(|of| cluster.health(of, 1)), [Health::Alive, Health::Down]);
}

#[test]
fn who_paused_does_not_hold_it_against_others() {
    let mut cluster = Cluster::new(4);
    let all = [1, 2, 3, 4];
    cluster.pass(Micros(10_000), &all);
    // n1 stands still for as long as would do for all others to be evicted.
    cluster.pass(LONG, &[2, 3, 4]);
    assert_eq!(cluster.gone[1], BTreeSet::from([NodeId(1)]), "the others cannot know");
    let before = cluster.count(Note::SeemsDown);
    cluster.pass(Micros(200), &all);
    assert_eq!(cluster.count(Note::OwnPauseNoticed), 1);
    cluster.pass(Micros(10_000), &all);
    assert!(cluster.gone.iter().all(BTreeSet::is_empty), "{:?}", cluster.gone);
    assert_eq!(cluster.count(Note::SeemsDown), before, "nobody was taken for dead");
    assert!(all[1..].iter().all(|of| cluster.health(*of, 1) == Health::Alive));
}

/// n4 comes back while n1 stands still: n1 cannot know, and must give it the time that it has to answer.
#[test]
fn who_was_down_before_a_pause_is_not_gone_at_its_end() {
    let mut cluster = Cluster::new(4);
    cluster.pass(Micros(10_000), &[1, 2, 3, 4]);
    cluster.pass(Micros(10_000), &[1, 2, 3]);
    assert_eq!(cluster.health(4, 1), Health::Down);
    cluster.pass(LONG, &[2, 3, 4]);
    assert_eq!(cluster.health(4, 2), Health::Alive);
    let before = cluster.count(Note::OwnPauseNoticed);
    // The first look, before anything is heard.
    cluster.step(1, DetectorInput::Timer);
    assert_eq!(cluster.count(Note::OwnPauseNoticed), before + 1);
    assert_eq!(cluster.health(4, 1), Health::Down, "it was not heard yet");
    assert!(cluster.gone[0].is_empty(), "{:?}", cluster.gone[0]);
    cluster.pass(Micros(10_000), &[1, 2, 3, 4]);
    assert_eq!(cluster.health(4, 1), Health::Alive);
    assert!(cluster.gone.iter().all(BTreeSet::is_empty), "{:?}", cluster.gone);
}

#[test]
fn who_was_suspected_before_a_pause_does_not_seem_down_at_its_end() {
    let mut cluster = Cluster::new(4);
    cluster.pass(Micros(10_000), &[1, 2, 3, 4]);
    while cluster.health(4, 1) == Health::Alive {
        cluster.pass(Micros(PERIOD.0 / TICKS), &[1, 2, 3]);
    }
    assert_eq!(cluster.health(4, 1), Health::Suspect);
    cluster.pass(LONG, &[2, 3, 4]);
    let before = cluster.count(Note::OwnPauseNoticed);
    // The first look, before anything is heard.
    cluster.step(1, DetectorInput::Timer);
    assert_eq!(cluster.count(Note::OwnPauseNoticed), before + 1);
    assert_eq!(cluster.health(4, 1), Health::Suspect);
    cluster.pass(Micros(10_000), &[1, 2, 3, 4]);
    assert_eq!(cluster.health(4, 1), Health::Alive);
}

#[test]
fn who_goes_and_comes_is_never_gone() {
    let mut cluster = Cluster::new(4);
    for _ in 0..10 {
        cluster.pass(Micros(EVICT_AFTER.0 / 2), &[1, 2, 3]);
        cluster.pass(Micros(EVICT_AFTER.0 / 2), &[1, 2, 3, 4]);
        assert!(cluster.gone[..3].iter().all(BTreeSet::is_empty));
    }
    assert!(cluster.count(Note::SeemsDown) > 0, "it did seem down");
}

#[test]
fn what_was_said_of_an_earlier_life_does_not_count() {
    let mut cluster = Cluster::new(3);
    cluster.pass(Micros(10_000), &[1, 2, 3]);
    // n3 dies, and the others say so to each other.
    cluster.pass(Micros(15_000), &[1, 2]);
    assert_eq!(cluster.health(3, 1), Health::Down);
    let late = cluster.delivered.clone();
    // It starts again, and all that was ever said arrives once more.
    let ring = cluster.detectors[2].ring.clone();
    cluster.detectors[2] = detector(3, 2, &ring);
    cluster.detectors[2].start(&mut cluster.world);
    cluster.pass(Micros(10_000), &[1, 2, 3]);
    assert_eq!(cluster.health(3, 1), Health::Alive);
    for (from, to, message) in late {
        cluster.step(to.0, DetectorInput::Gossip(from, message));
        cluster.world.sent.clear();
        assert_eq!(cluster.health(3, 1), Health::Alive, "{from} to {to}");
    }
}

#[test]
fn who_is_no_member_and_what_is_no_gossip_are_not_heard() {
    let mut cluster = Cluster::new(2);
    for bytes in [&b""[..], b"x", &[0xff; 64], &[0; 5_000]] {
        cluster.step(1, DetectorInput::Gossip(NodeId(2), bytes.to_vec()));
    }
    assert_eq!(cluster.count(Note::GossipRefused), 4);
    cluster.step(1, DetectorInput::Gossip(NodeId(9), b"x".to_vec()));
    assert_eq!(cluster.count(Note::GossipRefused), 4, "a stranger is not even read");
}

#[test]
fn gossip_is_heard_only_as_it_is_encoded() {
    let mut cluster = Cluster::new(3);
    cluster.pass(Micros(10_000), &[1, 2, 3]);
    let (mut heard, mut with_updates) = (0, 0);
    for (from, to, bytes) in cluster.delivered.clone() {
        let refused = cluster.count(Note::GossipRefused);
        cluster.step(to.0, DetectorInput::Gossip(from, bytes.clone()));
        assert_eq!(cluster.count(Note::GossipRefused), refused, "{bytes:?}");
        heard += 1;
        with_updates += usize::from(updates(&bytes) > Some(0));
        // The first byte is a node's id. The same number, longer than need be, and a byte too much.
        let longer = [&[bytes[0] | 0x80, 0], &bytes[1..]].concat();
        for spoilt in [longer, [&bytes[..], &[0]].concat()] {
            cluster.step(to.0, DetectorInput::Gossip(from, spoilt));
        }
        assert_eq!(cluster.count(Note::GossipRefused), refused + 2, "{bytes:?}");
    }
    assert!(heard > 20 && with_updates > 5, "{heard} were heard, {with_updates} with updates");
}
