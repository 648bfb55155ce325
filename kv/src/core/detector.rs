//! Who seems alive: failure detection by SWIM, as the crate `foca` has it, driven through the same clock
//! and network as the rest of a node.
//!
//! It advises, and nothing rests on it: whoever is silent for long is to be evicted by agreement, and if
//! that was wrong, no promise is broken. Its messages do not wait for the journal.
//!
//! Source: Das, Gupta, Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group
//! Membership Protocol" (2002).

use std::{
    collections::{BTreeMap, BTreeSet},
    num::{NonZeroU8, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use foca::{
    Config, Foca, Header, Member, NoCustomBroadcast, Notification, PostcardCodec, Runtime, State,
};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::core::{
    env::{Clock, DetectorTimer, Network, Note, Timers, Trace},
    exact,
    message::{Body, Message},
    ring::Ring,
    time::Micros,
    types::{Incarnation, NodeId},
};

/// The detector looks at its timers so many times in a period.
const TICKS: u64 = 5;
/// A member is suspected for so many periods at least before it seems down.
const SUSPICION: u64 = 3;
/// The longest message, in bytes.
const MAX_GOSSIP: usize = 1_400;
/// Members that seem down are greeted: so many in a period.
const GREETED: usize = 3;

/// What a detector is told when it is made, and never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DetectorConfig {
    /// This node.
    pub node: NodeId,
    /// Decides who is probed when.
    pub seed: u64,
    /// Between two probes. Zero: nobody is watched.
    pub period: Micros,
    /// Who seemed dead for so long is to be evicted. Zero: nobody is.
    pub evict_after: Micros,
}

/// What the detector reacts to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DetectorInput {
    /// A peer says something.
    Gossip(NodeId, Vec<u8>),
    /// Its timer fired.
    Timer,
    /// There is a newer ring.
    Ring(Arc<Ring>),
}

/// The way from a detector to the node's topology.
pub trait Advise {
    /// These members, and no others, seem to be gone for good.
    fn gone(&mut self, members: BTreeSet<NodeId>);
}

/// All that a detector needs of its world.
pub trait DetectorEnv: Clock + Timers<DetectorTimer> + Network + Trace + Advise {}

impl<T: Clock + Timers<DetectorTimer> + Network + Trace + Advise> DetectorEnv for T {}

/// A process of a member, as SWIM knows it: of two with the same id the later one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Life {
    node: NodeId,
    /// The incarnation of its journal, and how often it was taken for dead since.
    incarnation: u32,
    revivals: u32,
}

impl foca::Identity for Life {
    type Addr = NodeId;

    fn addr(&self) -> NodeId {
        self.node
    }

    fn renew(&self) -> Option<Self> {
        Some(Self { revivals: self.revivals.wrapping_add(1), ..*self })
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        (self.incarnation, self.revivals) > (other.incarnation, other.revivals)
    }
}

/// How a member seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It answers.
    Alive,
    /// It did not answer lately.
    Suspect,
    /// It was silent for long, or for long was never heard of.
    Down,
    /// It is new here, or this node is, and nobody has heard of it yet.
    Unknown,
}

impl Health {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Health::Alive => "alive",
            Health::Suspect => "suspect",
            Health::Down => "down",
            Health::Unknown => "unknown",
        }
    }
}

type Swim = Foca<Life, PostcardCodec, ChaCha8Rng, NoCustomBroadcast>;

/// Timers of the protocol: when each is due, by the monotonic clock, in order.
type Due = BTreeMap<(Micros, u64), foca::Timer<Life>>;

/// The machine that says who seems alive.
pub struct Detector {
    config: DetectorConfig,
    ring: Arc<Ring>,
    swim: Swim,
    due: Due,
    /// Timers that were ever armed.
    armed: u64,
    /// When it looked last.
    looked: Micros,
    /// Since when members are suspected, and since when they seem to be down.
    suspect_since: BTreeMap<NodeId, Micros>,
    down_since: BTreeMap<NodeId, Micros>,
    /// Members of which nobody was heard yet, and since when they are expected.
    expected: BTreeMap<NodeId, Micros>,
    /// Who is to be evicted, as the topology was told.
    gone: BTreeSet<NodeId>,
    /// Whom to greet next.
    turn: usize,
}

impl Detector {
    /// A detector of a node that knows nobody yet.
    pub fn new(config: DetectorConfig, ring: Arc<Ring>, incarnation: Incarnation) -> Self {
        let id = Life { node: config.node, incarnation: incarnation.0, revivals: 0 };
        let seed = config.seed ^ u64::from(config.node.0) << 32 ^ u64::from(incarnation.0);
        let random = ChaCha8Rng::seed_from_u64(seed);
        let swim = Foca::new(id, swim_config(&config, &ring), random, PostcardCodec);
        Self {
            config,
            ring,
            swim,
            due: BTreeMap::new(),
            armed: 0,
            looked: Micros(0),
            suspect_since: BTreeMap::new(),
            down_since: BTreeMap::new(),
            expected: BTreeMap::new(),
            gone: BTreeSet::new(),
            turn: 0,
        }
    }

    /// How each other member seems.
    pub fn health(&self) -> BTreeMap<NodeId, Health> {
        let seems = |node| match self.known(node) {
            None if self.may_still_come(node) => Health::Unknown,
            _ => self.health_of(node),
        };
        self.others().map(|node| (node, seems(node))).collect()
    }

    /// Whether a member of which nobody was heard is so new that this says nothing of it.
    fn may_still_come(&self, node: NodeId) -> bool {
        let patience = 2 * suspicion(&self.ring) * self.config.period.0;
        let since = self.expected.get(&node);
        since.is_none_or(|since| self.looked.0.saturating_sub(since.0) <= patience)
    }

    fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.ring.members().keys().copied().filter(|node| *node != self.config.node)
    }

    fn known(&self, node: NodeId) -> Option<&Member<Life>> {
        self.swim.iter_membership_state().find(|member| member.id().node == node)
    }

    fn health_of(&self, node: NodeId) -> Health {
        match self.known(node).map(Member::state) {
            Some(State::Alive) => Health::Alive,
            Some(State::Suspect) => Health::Suspect,
            Some(State::Down) | None => Health::Down,
        }
    }

    /// Whether anybody is watched.
    pub fn is_on(&self) -> bool {
        self.config.period.0 > 0
    }

    /// The first step.
    pub fn start(&mut self, env: &mut impl DetectorEnv) {
        if self.is_on() {
            self.looked = env.uptime();
            env.set_timer(DetectorTimer, self.tick());
        }
    }

    fn tick(&self) -> Micros {
        Micros((self.config.period.0 / TICKS).max(1))
    }

    /// One step.
    pub fn handle(&mut self, input: DetectorInput, env: &mut impl DetectorEnv) {
        if !self.is_on() {
            return;
        }
        match input {
            DetectorInput::Gossip(from, bytes) => self.gossip(from, &bytes, env),
            DetectorInput::Timer => self.look(env),
            // Two threads may bring rings in the other order.
            DetectorInput::Ring(ring) if ring.epoch() <= self.ring.epoch() => {}
            DetectorInput::Ring(ring) => {
                self.ring = ring;
                let ring = &self.ring;
                // What may change while it runs does, and no more does.
                let changed = self.swim.set_config(swim_config(&self.config, ring));
                debug_assert!(changed.is_ok(), "the periods stay");
                self.down_since.retain(|node, _| ring.members().contains_key(node));
                self.gone.retain(|node| ring.members().contains_key(node));
            }
        }
    }

    fn gossip(&mut self, from: NodeId, bytes: &[u8], env: &mut impl DetectorEnv) {
        // Whoever is no member is told by others, at our epoch.
        if !self.ring.members().contains_key(&from) {
            return;
        }
        match updates(bytes) {
            Some(_) => self.drive(env, |swim, runtime| swim.handle_data(bytes, runtime)),
            None => env.note(Note::GossipRefused),
        }
    }

    /// Looks at what is due, and at who is silent for too long.
    fn look(&mut self, env: &mut impl DetectorEnv) {
        let now = env.uptime();
        self.notice_own_pause(now, env);
        self.looked = now;
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let timer = entry.remove();
            self.drive(env, |swim, runtime| swim.handle_timer(timer, runtime));
        }
        self.expect(now);
        self.greet(env);
        self.end_suspicions(now, env);
        self.judge(now, env);
        env.set_timer(DetectorTimer, self.tick());
    }

    /// Notes since when members are expected that were never heard of.
    fn expect(&mut self, now: Micros) {
        let others: Vec<NodeId> = self.others().filter(|id| self.known(*id).is_none()).collect();
        self.expected.retain(|node, _| others.contains(node));
        for node in others {
            // One that SWIM forgot, because it has been down for very long, is none that may still come.
            let since = self.down_since.get(&node).copied().unwrap_or(now);
            self.expected.entry(node).or_insert(since);
        }
    }

    /// Who did nothing for a while has heard nobody, and must not hold that against them: all that was
    /// due is put off by as long.
    fn notice_own_pause(&mut self, now: Micros, env: &mut impl DetectorEnv) {
        let late = now.0.saturating_sub(self.looked.0 + self.tick().0);
        if late < self.config.period.0 {
            return;
        }
        env.note(Note::OwnPauseNoticed);
        let put_off = |at: Micros| Micros(at.0 + late);
        let due = std::mem::take(&mut self.due);
        self.due = due.into_iter().map(|((at, n), timer)| ((put_off(at), n), timer)).collect();
        let since = self.down_since.values_mut().chain(self.suspect_since.values_mut());
        let since = since.chain(self.expected.values_mut());
        since.for_each(|since| *since = put_off(*since));
    }

    /// Tells members that SWIM does not know of, or takes for dead, that this node is there: once in a
    /// period, a few of them. Members that all take each other for dead would be silent for ever.
    fn greet(&mut self, env: &mut impl DetectorEnv) {
        let turn = self.turn;
        self.turn = turn.wrapping_add(1);
        let (ticks, greeted) = (usize::try_from(TICKS).unwrap_or(1), GREETED);
        if !turn.is_multiple_of(ticks) {
            return;
        }
        let is_down = |node: &NodeId| self.health_of(*node) == Health::Down;
        let down: Vec<NodeId> = self.others().filter(is_down).collect();
        for place in 0..greeted.min(down.len()) {
            let node = down[(turn / ticks * greeted + place) % down.len()];
            let life = Life { node, incarnation: 0, revivals: 0 };
            self.drive(env, |swim, runtime| swim.announce(life, runtime));
        }
    }

    /// A suspicion ends: it is refuted, or its member seems down. SWIM forgets its timer for that when this
    /// node was taken for dead meanwhile; a member that is alive learns that it seems down, and tells.
    fn end_suspicions(&mut self, now: Micros, env: &mut impl DetectorEnv) {
        let suspects: Vec<Member<Life>> = (self.swim.iter_membership_state())
            .filter(|member| member.state() == State::Suspect)
            .cloned()
            .collect();
        let patience = 2 * suspicion(&self.ring) * self.config.period.0;
        let is_suspect = |node: &NodeId| suspects.iter().any(|member| member.id().node == *node);
        self.suspect_since.retain(|node, _| is_suspect(node));
        for suspect in suspects {
            let since = *self.suspect_since.entry(suspect.id().node).or_insert(now);
            if now.0.saturating_sub(since.0) > patience {
                let down = Member::new(*suspect.id(), suspect.incarnation(), State::Down);
                self.drive(env, |swim, runtime| swim.apply_many([down].into_iter(), true, runtime));
            }
        }
    }

    /// Tells the topology who is silent for too long, when that changes.
    fn judge(&mut self, now: Micros, env: &mut impl DetectorEnv) {
        let down: BTreeSet<NodeId> =
            self.others().filter(|node| self.health_of(*node) == Health::Down).collect();
        self.down_since.retain(|node, _| down.contains(node));
        for node in &down {
            self.down_since.entry(*node).or_insert(now);
        }
        let Micros(patience) = self.config.evict_after;
        if patience == 0 {
            return;
        }
        // One after the other, so that seldom two propose the same at a time.
        let rank = self.others().filter(|node| *node < self.config.node && !down.contains(node));
        let patience = patience + rank.count() as u64 * (self.config.period.0 / 4);
        let is_gone = |since: &Micros| now.0.saturating_sub(since.0) >= patience;
        let gone: BTreeSet<NodeId> =
            self.down_since.iter().filter(|(_, since)| is_gone(since)).map(|(n, _)| *n).collect();
        if gone != self.gone {
            self.gone.clone_from(&gone);
            env.gone(gone);
        }
    }

    /// Lets SWIM act. What it cannot read or does not expect, it leaves alone.
    fn drive(
        &mut self,
        env: &mut impl DetectorEnv,
        act: impl FnOnce(&mut Swim, &mut Effects) -> Result<(), foca::Error>,
    ) {
        let mut effects = Effects::default();
        if act(&mut self.swim, &mut effects).is_err() {
            env.note(Note::GossipRefused);
        }
        let now = env.uptime();
        for (timer, after) in effects.timers {
            self.armed += 1;
            let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX / 2);
            self.due.insert((Micros(now.0 + after), self.armed), timer);
        }
        for note in effects.notes {
            env.note(note);
        }
        for (to, bytes) in effects.sent {
            env.send(to, Message { epoch: self.ring.epoch(), body: Body::Gossip(bytes) });
        }
    }
}

/// What SWIM wants done.
#[derive(Default)]
struct Effects {
    timers: Vec<(foca::Timer<Life>, Duration)>,
    sent: Vec<(NodeId, Vec<u8>)>,
    notes: Vec<Note>,
}

impl Runtime<Life> for Effects {
    fn notify(&mut self, notification: Notification<'_, Life>) {
        match notification {
            Notification::MemberUp(_) => self.notes.push(Note::SeemsUp),
            Notification::MemberDown(_) => self.notes.push(Note::SeemsDown),
            Notification::Rejoin(_) => self.notes.push(Note::TakenForDead),
            Notification::Rename(..)
            | Notification::Active
            | Notification::Idle
            | Notification::Defunct => {}
        }
    }

    fn send_to(&mut self, to: Life, data: &[u8]) {
        self.sent.push((to.node, data.to_vec()));
    }

    fn submit_after(&mut self, timer: foca::Timer<Life>, after: Duration) {
        self.timers.push((timer, after));
    }
}

/// How many updates a message has. None: SWIM would not have encoded it so, though its codec takes it.
fn updates(bytes: &[u8]) -> Option<u16> {
    let (_, rest) = exact::take::<Header<Life>>(bytes).ok()?;
    let Some((count, mut rest)) = rest.split_first_chunk() else {
        return rest.is_empty().then_some(0);
    };
    let count = u16::from_be_bytes(*count);
    for _ in 0..count {
        (_, rest) = exact::take::<Member<Life>>(rest).ok()?;
    }
    rest.is_empty().then_some(count)
}

/// For how many periods a member is suspected before it seems down: what one says reaches n others, and the
/// answer all of them, after a number of periods that grows with log n (section 4.2 of the paper).
fn suspicion(ring: &Ring) -> u64 {
    let doublings = ring.members().len().checked_ilog2().unwrap_or(0);
    SUSPICION.max(u64::from(doublings) + 1)
}

/// SWIM with what it takes to find each other again after a partition.
fn swim_config(config: &DetectorConfig, ring: &Ring) -> Config {
    let period = config.period.max(Micros(10));
    let times = |count: u64| Duration::from_micros(period.0 * count);
    let often = |count| {
        let num_members = NonZeroUsize::MIN;
        Some(foca::PeriodicParams { frequency: times(count), num_members })
    };
    Config {
        probe_period: times(1),
        probe_rtt: times(1) * 2 / 5,
        num_indirect_probes: NonZeroUsize::new(3).expect("not 0"),
        max_transmissions: NonZeroU8::new(10).expect("not 0"),
        suspect_to_down_after: times(suspicion(ring)),
        remove_down_after: Some(Duration::from_secs(3_600)),
        max_packet_size: NonZeroUsize::new(MAX_GOSSIP).expect("not 0"),
        notify_down_members: true,
        periodic_announce: often(30),
        periodic_announce_to_down_members: often(5),
        periodic_gossip: often(1),
    }
}

#[cfg(test)]
mod tests;
