//! The operators of the simulation: they ask members for changes of the ring, start the processes that
//! join, and stop those that learn that they are members no more. What is decided the nodes decide.

mod settled;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use harness::{
    fault::FaultKind,
    operator::{Operated, Operator},
    random::Random,
    world::World,
};
use kv::core::{
    env::Entry,
    record::Version,
    ring::{Change, ChangeError, Joiner, MemberState, Ring},
    types::{Epoch, Key, NodeId},
};
use kv::node::recover::Recovered;

use crate::{
    gates::Sometimes,
    scenario::{Action, ChangeKind, Cluster, Scenario},
    store::{Done, Store, inspect, newest},
};

/// How often the operators look, in microseconds.
const LOOK_EVERY_US: u64 = 20_000;
/// How long after it was asked for, a change that does not show is asked for again.
const ASK_AGAIN_US: u64 = 300_000;
/// Evicted processes that join anew in a run, at most.
const MOST_RETURNS: usize = 8;
/// How long a process that is to die when it joins lives at most, in microseconds.
const DOOMED_WITHIN_US: u64 = 300_000;
/// Processes that join count from here: zero is the first members'.
const FIRST_INSTANCE: u64 = 1;

/// A change that is to be made.
struct Wanted {
    /// What. A ring to be given up is whichever is joint when it is asked for.
    change: Change,
    /// When it is asked for next, in microseconds of the run.
    at: u64,
    asked: bool,
    /// It is about a node that died.
    is_dead: bool,
}

/// The operators.
pub struct StoreOperator {
    first: Arc<Ring>,
    /// The newest ring that any node has for certain.
    newest: Arc<Ring>,
    wanted: Vec<Wanted>,
    /// Nodes that die for good, and when.
    deaths: Vec<(u64, NodeId)>,
    /// Processes that die soon after they joined, so many more.
    doomed: usize,
    /// Nodes that died, and those that were told to go: whoever else is evicted was taken for dead.
    died: BTreeSet<NodeId>,
    told_to_go: BTreeSet<NodeId>,
    /// The addresses of all that were members.
    addresses: BTreeMap<NodeId, String>,
    /// Processes that were members at any time.
    instances: BTreeSet<u64>,
    /// Evicted processes that join anew, so many more.
    returns: usize,
    /// Members evict whom they take for dead, and operators leave them that long to do it.
    evicts: bool,
    patience_us: u64,
    /// When the faults are healed.
    heal_at_us: u64,
    next_instance: u64,
    /// What could be read of damaged journals, for the processes that come back.
    head_starts: BTreeMap<u64, Vec<Entry>>,
    /// The operators have begun to look.
    is_looking: bool,
    random: Random,
    /// What was on each disk that was lost.
    disks_lost: Vec<BTreeMap<Key, Version>>,
    /// Who took whom for alive since the phase began.
    seen_alive: BTreeSet<(NodeId, NodeId)>,
    /// Whether members look at each other.
    detects: bool,
}

impl StoreOperator {
    fn of(scenario: &Scenario) -> Self {
        let Cluster { nodes, replication, slots, .. } = scenario.cluster;
        let addresses: Vec<String> = (1..=nodes).map(|n| format!("node{n}:1")).collect();
        let first = Ring::form(&addresses, replication, slots)
            .expect("a scenario's cluster is checked when it is read");
        let first = Arc::new(first);
        let (mut deaths, mut doomed) = (Vec::new(), 0);
        let mut wanted = Vec::new();
        for (instance, asked) in (FIRST_INSTANCE..).zip(&scenario.changes) {
            let at = asked.at_ms * 1_000;
            let change = match asked.kind {
                ChangeKind::Join => {
                    Change::Join(Joiner::new(format!("joiner{instance}:1"), instance))
                }
                ChangeKind::Leave(node) => Change::Leave(NodeId(node)),
                ChangeKind::Accuse(node) => Change::Evict(NodeId(node)),
                ChangeKind::Kill(node) => {
                    deaths.push((at, NodeId(node)));
                    Change::Evict(NodeId(node))
                }
                ChangeKind::Replace(node) => {
                    deaths.push((at, NodeId(node)));
                    let change = Change::Evict(NodeId(node));
                    wanted.push(Wanted { change, at, asked: false, is_dead: true });
                    Change::Join(Joiner::new(format!("node{node}:1"), instance))
                }
                ChangeKind::Cancel => Change::Cancel(Epoch(0)),
                ChangeKind::Client(node) => Change::Client(NodeId(node), format!("client{node}:1")),
                ChangeKind::KillJoiner => {
                    doomed += 1;
                    continue;
                }
            };
            let is_dead = matches!(asked.kind, ChangeKind::Kill(_));
            wanted.push(Wanted { change, at, asked: false, is_dead });
        }
        // Where the members themselves evict who is dead, nobody asks for it until they had the time.
        let config = &scenario.cluster.config;
        let evicts = config.detect_every.0 > 0 && config.evict_after.0 > 0;
        let patience_us = match evicts {
            true => 20 * config.detect_every.0 + 2 * config.evict_after.0,
            false => 0,
        };
        wanted.iter_mut().filter(|w| w.is_dead).for_each(|wanted| wanted.at += patience_us);
        let newest = first.clone();
        let random = Random::new(scenario.seed, "operator");
        let next_instance = FIRST_INSTANCE + scenario.changes.len() as u64;
        Self {
            first,
            newest,
            wanted,
            deaths,
            doomed,
            died: BTreeSet::new(),
            told_to_go: BTreeSet::new(),
            addresses: BTreeMap::new(),
            instances: BTreeSet::new(),
            returns: MOST_RETURNS,
            evicts,
            patience_us,
            heal_at_us: scenario.heal_at_ms * 1_000,
            next_instance,
            head_starts: BTreeMap::new(),
            is_looking: false,
            random,
            disks_lost: Vec::new(),
            seen_alive: BTreeSet::new(),
            detects: config.detect_every.0 > 0,
        }
    }

    /// The ring that the nodes start with.
    pub fn first(&self) -> &Arc<Ring> {
        &self.first
    }

    /// The newest ring that any node has for certain.
    pub fn current(&self) -> &Arc<Ring> {
        &self.newest
    }

    /// Whether all that was wanted is done, and no change is under way.
    pub fn is_done(&self) -> bool {
        self.wanted.is_empty() && self.deaths.is_empty() && !self.newest.is_joint()
    }

    /// Starts those who have become members, and stops those who know that they are members no more.
    fn see(&mut self, world: &mut World<Store>) {
        for node in world.hosts.nodes().map(NodeId) {
            if inspect(&world.hosts, node, |n| n.is_released()) == Some(true) {
                world.tally.sometimes(Sometimes::Released);
                world.look(|watch, scene| watch.released(scene.hosts, node));
                world.retire(node.0);
                self.comes_back(node, world);
            }
        }
        while let Some(ring) = world.watch.rings.at(Epoch(self.newest.epoch().0 + 1)).cloned() {
            self.instances.extend(ring.members().values().map(|member| member.instance));
            let name = if ring.is_joint() { Sometimes::JointRing } else { Sometimes::FinalRing };
            world.tally.sometimes(name);
            self.see_who_is_gone(&ring, world);
            self.newest = ring;
        }
        let known: BTreeSet<NodeId> = world.hosts.nodes().map(NodeId).collect();
        let joined = self.newest.members().keys().filter(|id| !known.contains(id));
        for node in joined.copied().collect::<Vec<_>>() {
            world.tally.sometimes(Sometimes::Joined);
            let instance = self.newest.members()[&node].instance;
            let head_start = self.head_starts.remove(&instance).unwrap_or_default();
            if !head_start.is_empty() {
                world.tally.sometimes(Sometimes::CameBackDamaged);
            }
            world.join(node.0, self.newest.clone(), head_start);
            if self.doomed > 0 {
                self.doomed -= 1;
                self.dies_soon(node, world.at());
            }
        }
    }

    /// A process that joined dies, mostly before it has all that it is to have.
    fn dies_soon(&mut self, node: NodeId, now: u64) {
        let at = now + self.random.random_range(0..DOOMED_WITHIN_US);
        self.deaths.push((at, node));
        let (change, at) = (Change::Evict(node), at + self.patience_us);
        self.wanted.push(Wanted { change, at, asked: false, is_dead: true });
    }

    /// Whoever is gone from a ring without being told to was evicted by its peers.
    fn see_who_is_gone(&mut self, ring: &Ring, world: &mut World<Store>) {
        for (id, member) in self.newest.members() {
            self.addresses.entry(*id).or_insert_with(|| member.address.clone());
            let is_gone = !ring.members().contains_key(id);
            if is_gone && member.state == MemberState::Evicted && !self.told_to_go.contains(id) {
                let name = match self.died.contains(id) {
                    true => Sometimes::EvictedDead,
                    false => Sometimes::EvictedAlive,
                };
                world.tally.sometimes(name);
            }
        }
    }

    /// An evicted process that was not told to go joins anew.
    fn comes_back(&mut self, node: NodeId, world: &mut World<Store>) {
        if self.told_to_go.contains(&node) || self.returns == 0 {
            return;
        }
        let Some(address) = self.addresses.get(&node).cloned() else { return };
        self.returns -= 1;
        world.tally.sometimes(Sometimes::JoinedAnew);
        let change = Change::Join(Joiner::new(address, self.next_instance));
        self.next_instance += 1;
        self.wanted.push(Wanted { change, at: world.at(), asked: false, is_dead: false });
    }

    /// Asks members for what is wanted, and asks again what does not show.
    fn ask(&mut self, world: &mut World<Store>) {
        let (now, newest, instances) = (world.at(), self.newest.clone(), &self.instances);
        let mut wanted = std::mem::take(&mut self.wanted);
        let members: Vec<NodeId> = newest.members().keys().copied().collect();
        wanted.retain_mut(|wanted| {
            if wanted.at > now {
                return true;
            }
            if let Change::Cancel(epoch) = &mut wanted.change
                && !wanted.asked
            {
                // It waits for something to be given up.
                if !newest.is_joint() && now < self.heal_at_us {
                    return true;
                }
                *epoch = newest.epoch();
            }
            // Whoever died is to be evicted, even if somebody cancels it.
            let is_done = match &wanted.change {
                Change::Evict(node) if wanted.is_dead => !newest.members().contains_key(node),
                Change::Join(joiner) => instances.contains(&joiner.instance),
                change => newest.reflects(change),
            };
            if is_done {
                return false;
            }
            if newest.reflects(&wanted.change) && wanted.is_dead {
                return true;
            }
            // Where the members can evict the dead themselves, nobody does it for them.
            if self.evicts && wanted.is_dead && can_evict(&newest, &self.died) {
                return true;
            }
            let refused = newest.allows(&wanted.change).err();
            if matches!(refused, Some(ChangeError::Last(_))) && wanted.is_dead {
                // All the others are to go: that has to be given up first.
                let member = members[self.random.random_range(0..members.len())];
                world.change(member.0, Change::Cancel(newest.epoch()));
                wanted.at = now + ASK_AGAIN_US;
                return true;
            }
            if refused.is_some() {
                world.tally.sometimes(Sometimes::Refused);
                return false;
            }
            if wanted.asked {
                world.tally.sometimes(Sometimes::AskedAgain);
            }
            wanted.asked = true;
            if let Change::Leave(node) | Change::Evict(node) = &wanted.change {
                self.told_to_go.insert(*node);
            }
            wanted.at = now + ASK_AGAIN_US;
            let member = members[self.random.random_range(0..members.len())];
            world.change(member.0, wanted.change.clone());
            true
        });
        self.wanted = wanted;
    }
}

/// Whether the members evict who died, as far as the ring goes: there is one more than R who could take over,
/// and enough are left who have what the dead held.
fn can_evict(ring: &Ring, died: &BTreeSet<NodeId>) -> bool {
    let stay = ring.members().values().filter(|member| member.state.is_new()).count();
    let enough_left = ring.owner_sets().all(|owners| {
        let old: Vec<NodeId> = owners.members(owners.old()).collect();
        let left = old.iter().filter(|node| !died.contains(node)).count();
        left >= old.len().div_ceil(2)
    });
    stay > ring.replication() && enough_left
}

impl Operated for Store {
    type Operator = StoreOperator;
    const CONVERGENCE: &str = "P1";
}

impl Operator<Store> for StoreOperator {
    fn new(scenario: &Scenario) -> Self {
        Self::of(scenario)
    }

    fn birth(&self) -> Arc<Ring> {
        self.first.clone()
    }

    fn first_look(&self) -> Option<u64> {
        let wanted = self.wanted.iter().map(|wanted| wanted.at);
        let deaths = self.deaths.iter().map(|(at, _)| *at);
        wanted.chain(deaths).chain(self.evicts.then_some(0)).min()
    }

    fn look(&mut self, world: &mut World<Store>, is_parted: bool) -> Vec<u32> {
        let (now, before) = (world.at(), self.newest.epoch());
        self.is_looking = true;
        self.see(world);
        let (due, later): (Vec<_>, Vec<_>) = self.deaths.drain(..).partition(|(at, _)| *at <= now);
        self.deaths = later;
        let dead: Vec<NodeId> = due.into_iter().map(|(_, node)| node).collect();
        self.died.extend(dead.iter().copied());
        self.ask(world);
        world.wake_operator(now + LOOK_EVERY_US);
        if self.newest.epoch() > before && is_parted {
            world.tally.sometimes(Sometimes::ChangedAcross);
        }
        dead.into_iter().map(|node| node.0).collect()
    }

    fn died(&mut self, world: &mut World<Store>, node: u32) {
        let id = NodeId(node);
        if let Some(member) = self.newest.members().get(&id) {
            world.tally.sometimes(match member.state {
                MemberState::Joining => Sometimes::JoinerDied,
                MemberState::Active | MemberState::Leaving | MemberState::Evicted
                    if self.newest.members().len() == 3 =>
                {
                    Sometimes::OneOfThreeDied
                }
                MemberState::Active | MemberState::Leaving | MemberState::Evicted => {
                    Sometimes::MemberDied
                }
            });
        }
        self.disks_lost.extend(on_disk(world, id));
        world.watch.never_starts(id);
    }

    /// As the server does (`kv/src/server/home.rs`): the process asks for a place as another member, and begins with
    /// the records that can be read.
    fn damaged(&mut self, world: &mut World<Store>, node: u32, readable: Vec<Entry>) {
        let id = NodeId(node);
        self.died.insert(id);
        let Some(member) = self.newest.members().get(&id) else { return };
        let (at, instance) = (world.at(), self.next_instance);
        self.next_instance += 1;
        let join = Change::Join(Joiner::new(member.address.clone(), instance));
        for (change, is_dead) in [(Change::Evict(id), true), (join, false)] {
            self.wanted.push(Wanted { change, at, asked: false, is_dead });
        }
        let begins = Recovered::replay(readable).without_identity();
        self.head_starts.insert(instance, begins.head_start().collect());
        if !self.is_looking {
            world.wake_operator(at);
        }
    }

    fn asked(&mut self, world: &mut World<Store>, node: u32, action: &Action) {
        let key = Key::trusted(action.key());
        let of = |node: &kv::node::Node<_>| node.inspect_key(&key, |shard| shard.epoch());
        let epoch = inspect(&world.hosts, NodeId(node), of);
        let newest = self.newest.epoch().0;
        match epoch.map_or(0, |epoch| newest.saturating_sub(epoch.0)) {
            0 => {}
            1 => world.tally.sometimes(Sometimes::RingBehind),
            _ => world.tally.sometimes(Sometimes::RingsBehind),
        }
    }

    fn fault_began(&mut self, world: &mut World<Store>, kind: &FaultKind) {
        if *kind == FaultKind::CrashAll {
            let at = world.at();
            let World { hosts, watch, .. } = &mut *world;
            watch.all_crash(at, hosts.that_go_on().map(NodeId));
        }
        if self.newest.is_joint() {
            world.tally.sometimes(Sometimes::FaultWhileJoint);
        }
    }

    fn phase_began(&mut self) {
        self.seen_alive.clear();
    }

    fn unsettled(&mut self, world: &World<Store>) -> Option<String> {
        self.what_is_missing(&world.hosts)
    }

    fn audit(&self, _: &World<Store>, history: &[Done]) -> Vec<(u32, Action)> {
        self.questions(history)
    }

    fn may_be_audited(&self, node: u32) -> bool {
        self.newest.members().contains_key(&NodeId(node))
    }

    /// A node that goes and comes is not to go for good.
    fn over(&mut self, world: &mut World<Store>, flapped: &[&FaultKind]) {
        let stays = |node: &u32| self.newest.members().contains_key(&NodeId(*node));
        let all_stay = |kind: &&FaultKind| kind.nodes().iter().all(stays);
        if flapped.iter().any(all_stay) && world.setup().config.evict_after.0 > 0 {
            world.tally.sometimes(Sometimes::FlappingStayed);
        }
    }
}

/// What a node's disk has for certain.
fn on_disk(world: &World<Store>, id: NodeId) -> Option<BTreeMap<Key, Version>> {
    let records = newest(&world.hosts.durable_entries(id.0)?);
    Some(records.into_iter().map(|(key, record)| (key, record.version)).collect())
}

impl StoreOperator {
    /// What was on each disk that was lost for good, and on those of nodes that find nobody.
    pub fn disks_lost(&self, world: &World<Store>) -> Vec<BTreeMap<Key, Version>> {
        let stranded = self.stranded(&world.hosts);
        let stranded = stranded.into_iter().filter_map(|node| on_disk(world, node));
        self.disks_lost.iter().cloned().chain(stranded).collect()
    }
}
