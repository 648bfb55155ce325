//! The ring as a value: who is a member, where each member sits, and who owns each slot.
//!
//! Source: DeCandia et al., "Dynamo" (2007), section 4.2 for the ring and its virtual nodes; the old
//! and the new owner set of a joint ring follow Ongaro and Ousterhout, "Raft" (2014), section 6.

pub mod allocate;
mod change;
mod layout;
mod owners;
mod place;
pub mod plan;
mod slot;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

pub use change::{Acceptor, Change, ChangeError, Joiner};
pub use owners::{NodeSet, Owners};
pub use slot::{RING_SIZE, slot_of};

use crate::core::types::{Epoch, NodeId, Slot};

/// The most members that a ring may have, those that join and leave included.
pub const MAX_MEMBERS: usize = 200;
/// The most tokens of a member: more than any is allocated.
const MOST_TOKENS: usize = 64;
/// Joins that were given up and are remembered, so that who asks on is told: the oldest is forgotten first.
const MOST_GIVEN_UP: usize = 64;
/// The last epoch that a ring may have.
const MAX_EPOCH: Epoch = Epoch(1 << 62);

/// What a member is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MemberState {
    /// In the new owner sets only: it is being filled.
    Joining,
    /// In the old and in the new owner sets.
    Active,
    /// In the old owner sets only: it hands over what it holds.
    Leaving,
    /// In the old owner sets only: it is gone for good, and nobody waits for it.
    Evicted,
}

impl MemberState {
    /// Whether such a member is in the old owner sets.
    pub fn is_old(self) -> bool {
        self != Self::Joining
    }

    /// Whether such a member is in the new owner sets.
    pub fn is_new(self) -> bool {
        matches!(self, Self::Joining | Self::Active)
    }
}

/// A member of a ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Where its peers reach it.
    pub address: String,
    /// Where clients reach it. Empty: it has not said so yet.
    pub client: String,
    /// Tells this process from any other that joined from the same address.
    pub instance: u64,
    /// What it is doing.
    pub state: MemberState,
    /// The slots at which it sits: its virtual nodes, in ascending order.
    pub tokens: Vec<Slot>,
}

/// Tells one cluster's rings from another's. Decided when the ring is formed, kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Why members do not make a ring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// No member, or none that stays.
    #[error("a ring needs at least one member that is not joining and one that is not leaving")]
    NoMembers,
    /// More members than [`MAX_MEMBERS`], or than slots.
    #[error("{given} members are too many: a ring of {size} slots has at most {limit}")]
    TooManyMembers {
        /// The members given.
        given: usize,
        /// The limit.
        limit: usize,
        /// The ring's slots.
        size: u16,
    },
    /// R is not between 1 and the most members.
    #[error("replication {replication} is not between 1 and {MAX_MEMBERS}")]
    Replication {
        /// The R given.
        replication: usize,
        /// The members given.
        members: usize,
    },
    /// A member without tokens, with a token twice, or beyond the ring.
    #[error("the tokens of member {0} are missing, out of range or another's")]
    Tokens(NodeId),
    /// More tokens than a member ever has.
    #[error("member {0} has more than {MOST_TOKENS} tokens")]
    TooManyTokens(NodeId),
    /// An epoch that no cluster reaches.
    #[error("the epoch {0} is beyond {MAX_EPOCH}")]
    Epoch(Epoch),
    /// More joins that were given up than are remembered.
    #[error("a ring remembers at most {MOST_GIVEN_UP} joins that were given up")]
    GivenUp,
    /// A member whose id the ring has not handed out yet.
    #[error("the ring has not handed out the id {0} yet")]
    Id(NodeId),
    /// Fewer slots without a token than members that join.
    #[error("{joining} members cannot join: of {size} slots {free} are without a token")]
    Full {
        /// The ring's slots.
        size: u16,
        /// Slots without a token.
        free: usize,
        /// The members that are to join.
        joining: usize,
    },
    /// Two members have one address.
    #[error("the address {0:?} is given twice")]
    Address(String),
}

/// The value that all members agree on. Immutable: a change makes a ring of the next epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "RingValue", into = "RingValue")]
pub struct Ring {
    value: RingValue,
    /// The value's hash, taken once: a model checker hashes rings in each state.
    fingerprint: u64,
    /// Distinct owner sets, and which of them each slot has. Derived, so not part of equality.
    sets: Vec<Arc<Owners>>,
    table: Vec<u32>,
}

/// What of a ring is not derived.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct RingValue {
    cluster: ClusterId,
    epoch: Epoch,
    size: u16,
    replication: usize,
    /// The id of the next member that joins. Ids are never used again.
    next_id: NodeId,
    members: BTreeMap<NodeId, Member>,
    /// Processes whose join was given up, the latest last. They may still ask: they are not to join after all.
    given_up: Vec<u64>,
}

impl PartialEq for Ring {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Ring {}

impl PartialOrd for Ring {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ring {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }
}

impl Hash for Ring {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl From<Ring> for RingValue {
    fn from(ring: Ring) -> Self {
        ring.value
    }
}

impl TryFrom<RingValue> for Ring {
    type Error = RingError;

    fn try_from(value: RingValue) -> Result<Self, RingError> {
        value.check()?;
        let (sets, table) = value.derive();
        let mut hasher = Xxh3::new();
        value.hash(&mut hasher);
        Ok(Self { value, fingerprint: hasher.finish(), sets, table })
    }
}

impl Ring {
    /// The first ring of a cluster: `addresses` become the members n1, n2, … in their order.
    /// The same list makes the same ring on each node.
    pub fn form(addresses: &[String], replication: usize, size: u16) -> Result<Self, RingError> {
        let count = addresses.len();
        let limit = MAX_MEMBERS.min(usize::from(size));
        if count > limit {
            return Err(RingError::TooManyMembers { given: count, limit, size });
        }
        if count == 0 {
            return Err(RingError::NoMembers);
        }
        if replication == 0 || replication > MAX_MEMBERS {
            return Err(RingError::Replication { replication, members: count });
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = addresses.iter().find(|address| !seen.insert(*address)) {
            return Err(RingError::Address(twice.clone()));
        }
        let mut members = BTreeMap::new();
        for (index, (address, tokens)) in
            addresses.iter().zip(allocate::initial(count, size)).enumerate()
        {
            let id = NodeId(u32::try_from(index + 1).expect("at most MAX_MEMBERS"));
            let (address, state) = (address.clone(), MemberState::Active);
            let member = Member { address, client: String::new(), instance: 0, state, tokens };
            members.insert(id, member);
        }
        let identity = format!("{size}/{replication}/{}", addresses.join(","));
        let cluster = ClusterId(xxh3_64(identity.as_bytes()));
        let next_id = NodeId(u32::try_from(count + 1).expect("at most MAX_MEMBERS"));
        let (epoch, given_up) = (Epoch(1), Vec::new());
        RingValue { cluster, epoch, size, replication, next_id, members, given_up }.try_into()
    }

    /// A later ring of the same cluster with other members.
    pub fn next(&self, members: BTreeMap<NodeId, Member>) -> Result<Self, RingError> {
        let epoch = Epoch(self.value.epoch.0 + 1);
        let above = members.keys().max().map_or(NodeId(1), |id| NodeId(id.0.saturating_add(1)));
        let next_id = self.value.next_id.max(above);
        let given_up = self.given_up_with(&members);
        RingValue { epoch, next_id, members, given_up, ..self.value.clone() }.try_into()
    }

    /// Whether the join of a process was given up: by an operator, or because it was silent.
    pub fn gave_up(&self, instance: u64) -> bool {
        self.value.given_up.contains(&instance)
    }

    /// The joins that were given up, once these are the members.
    fn given_up_with(&self, members: &BTreeMap<NodeId, Member>) -> Vec<u64> {
        let dropped = self.members().iter().filter(|(id, member)| {
            member.state == MemberState::Joining && !members.contains_key(id)
        });
        let mut all = self.value.given_up.clone();
        all.extend(dropped.map(|(_, member)| member.instance));
        all.drain(..all.len().saturating_sub(MOST_GIVEN_UP));
        all
    }

    /// Which cluster's ring this is.
    pub fn cluster(&self) -> ClusterId {
        self.value.cluster
    }

    /// The number of this ring.
    pub fn epoch(&self) -> Epoch {
        self.value.epoch
    }

    /// The number of slots.
    pub fn size(&self) -> u16 {
        self.value.size
    }

    /// R: on how many distinct members each key is.
    pub fn replication(&self) -> usize {
        self.value.replication
    }

    /// The members by id.
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.value.members
    }

    /// Whether a member joins or leaves.
    pub fn is_joint(&self) -> bool {
        self.value.members.values().any(|member| member.state != MemberState::Active)
    }

    /// The slot of a key.
    pub fn slot_of(&self, key: &str) -> Slot {
        slot_of(key, self.value.size)
    }

    /// The members that own a slot together with `node`, ascending, without `node`.
    pub fn peers_of(&self, node: NodeId) -> Vec<NodeId> {
        let shared = self.sets.iter().filter(|owners| owners.position(node).is_some());
        let peers: BTreeSet<NodeId> = shared.flat_map(|owners| owners.all()).copied().collect();
        peers.into_iter().filter(|peer| *peer != node).collect()
    }

    /// The distinct owner sets of the ring.
    pub fn owner_sets(&self) -> impl Iterator<Item = &Owners> {
        self.sets.iter().map(Arc::as_ref)
    }

    /// The owners of a slot.
    pub fn owners(&self, slot: Slot) -> &Arc<Owners> {
        let set = self.table[usize::from(slot.0)];
        &self.sets[set as usize]
    }
}

impl RingValue {
    fn check(&self) -> Result<(), RingError> {
        let limit = MAX_MEMBERS.min(usize::from(self.size));
        if self.members.len() > limit {
            let given = self.members.len();
            return Err(RingError::TooManyMembers { given, limit, size: self.size });
        }
        // Those after it are still to be counted, too.
        if self.epoch > MAX_EPOCH {
            return Err(RingError::Epoch(self.epoch));
        }
        if self.given_up.len() > MOST_GIVEN_UP {
            return Err(RingError::GivenUp);
        }
        let has = |is: fn(MemberState) -> bool| self.members.values().any(|m| is(m.state));
        if !has(MemberState::is_old) || !has(MemberState::is_new) {
            return Err(RingError::NoMembers);
        }
        if let Some(id) = self.members.keys().find(|id| **id >= self.next_id) {
            return Err(RingError::Id(*id));
        }
        if self.replication == 0 || self.replication > MAX_MEMBERS {
            let (replication, members) = (self.replication, self.members.len());
            return Err(RingError::Replication { replication, members });
        }
        let mut taken = vec![false; usize::from(self.size)];
        let mut take = |token: &Slot| {
            let slot = taken.get_mut(usize::from(token.0));
            slot.is_some_and(|taken| !std::mem::replace(taken, true))
        };
        for (id, member) in &self.members {
            // The owners of each are looked for: whoever sends us a ring must not keep us busy with that.
            if member.tokens.len() > MOST_TOKENS {
                return Err(RingError::TooManyTokens(*id));
            }
            let all_good = member.tokens.iter().all(&mut take);
            if member.tokens.is_empty() || !all_good {
                return Err(RingError::Tokens(*id));
            }
        }
        Ok(())
    }

    /// The owner sets of all slots. Owners change only at tokens: between two tokens the slots
    /// share one set.
    fn derive(&self) -> (Vec<Arc<Owners>>, Vec<u32>) {
        let mut tokens: Vec<Sitting> = (self.members.iter())
            .flat_map(|(id, member)| {
                member.tokens.iter().map(|at| Sitting { at: *at, id: *id, state: member.state })
            })
            .collect();
        tokens.sort_unstable_by_key(|token| token.at);
        let is_joint = self.members.values().any(|member| member.state != MemberState::Active);
        let mut sets: Vec<Arc<Owners>> = Vec::new();
        // By a number that seldom is the same for two sets, the next free one where it is: cheaper
        // to compare than the sets.
        let mut known: BTreeMap<u64, u32> = BTreeMap::new();
        let mut table = vec![0; usize::from(self.size)];
        let mut from = 0;
        // The slots after the last token belong to the first: the ring wraps.
        for turn in 0..=tokens.len() {
            let owners = self.owners_from(&tokens, turn % tokens.len(), is_joint);
            let mix = |number: u64, id: &NodeId| number.wrapping_mul(0x9e37_79b9) ^ u64::from(id.0);
            let mut number = owners.all.iter().fold(0, mix);
            let set = loop {
                match known.get(&number) {
                    Some(set) if *sets[*set as usize] == owners => break *set,
                    Some(_) => number = number.wrapping_add(1),
                    None => {
                        let set = u32::try_from(sets.len()).expect("fewer sets than slots");
                        sets.push(Arc::new(owners));
                        known.insert(number, set);
                        break set;
                    }
                }
            };
            let upto = tokens.get(turn).map_or(self.size, |token| token.at.0 + 1);
            table[usize::from(from)..usize::from(upto)].fill(set);
            from = upto;
        }
        (sets, table)
    }

    /// The first R distinct members clockwise from a token, for the old and for the new set.
    fn owners_from(&self, tokens: &[Sitting], first: usize, is_joint: bool) -> Owners {
        let walk = |is: fn(MemberState) -> bool| {
            let mut owners: Vec<NodeId> = Vec::with_capacity(self.replication);
            for token in tokens[first..].iter().chain(&tokens[..first]) {
                if owners.len() == self.replication {
                    break;
                }
                if is(token.state) && !owners.contains(&token.id) {
                    owners.push(token.id);
                }
            }
            owners
        };
        let mut all = walk(MemberState::is_old);
        let old: NodeSet = (0..all.len()).collect();
        if !is_joint {
            return Owners { all, old, new: old };
        }
        let new = walk(MemberState::is_new);
        all.extend(new.iter().filter(|id| !all.contains(id)).copied().collect::<Vec<_>>());
        let is_new = |(at, id): (usize, &NodeId)| new.contains(id).then_some(at);
        let new = all.iter().enumerate().filter_map(is_new).collect();
        Owners { all, old, new }
    }
}

/// A token, with the member that sits at it.
struct Sitting {
    at: Slot,
    id: NodeId,
    state: MemberState,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: usize) -> Vec<String> {
        (1..=count).map(|n| format!("host{n}:7")).collect()
    }

    fn ring(count: usize, replication: usize) -> Ring {
        Ring::form(&addresses(count), replication, RING_SIZE).unwrap()
    }

    #[test]
    fn each_slot_has_as_many_distinct_owners_as_replicas() {
        for (count, replication) in
            [(1, 1), (1, 3), (2, 1), (2, 2), (3, 3), (3, 5), (5, 3), (100, 5), (100, 100)]
        {
            let ring = ring(count, replication);
            for slot in 0..RING_SIZE {
                let owners = ring.owners(Slot(slot));
                let distinct: BTreeSet<_> = owners.all().iter().collect();
                assert_eq!(distinct.len(), replication.min(count), "all members where R ≥ N");
                assert_eq!(owners.old(), owners.new_set());
            }
        }
    }

    #[test]
    fn owners_are_the_successors_of_the_slot_and_wrap_past_the_end() {
        let ring = ring(3, 2);
        let mut tokens: Vec<(Slot, NodeId)> = Vec::new();
        for (id, member) in ring.members() {
            tokens.extend(member.tokens.iter().map(|token| (*token, *id)));
        }
        tokens.sort();
        for slot in (0..RING_SIZE).step_by(97).chain([RING_SIZE - 1]) {
            let after = tokens.iter().filter(|(token, _)| token.0 >= slot);
            let mut expected: Vec<NodeId> = Vec::new();
            for (_, id) in after.chain(tokens.iter()) {
                if expected.len() < 2 && !expected.contains(id) {
                    expected.push(*id);
                }
            }
            assert_eq!(ring.owners(Slot(slot)).all(), expected, "slot {slot}");
        }
    }

    #[test]
    fn the_slots_are_shared_evenly() {
        for count in [1, 3, 7, 100] {
            let ring = ring(count, 1);
            let mut shares: BTreeMap<NodeId, usize> = BTreeMap::new();
            for slot in 0..RING_SIZE {
                *shares.entry(ring.owners(Slot(slot)).all()[0]).or_default() += 1;
            }
            let mean = f64::from(RING_SIZE) / count as f64;
            let most = *shares.values().max().unwrap() as f64;
            assert!(most / mean < 1.1, "{count} members: {most} against {mean}");
        }
    }

    #[test]
    fn the_sets_of_a_joint_ring_leave_out_the_joining_or_the_leaving() {
        let base = ring(4, 3);
        let mut members = base.members().clone();
        members.get_mut(&NodeId(3)).unwrap().state = MemberState::Leaving;
        members.get_mut(&NodeId(4)).unwrap().state = MemberState::Joining;
        let joint = base.next(members).unwrap();
        assert!(joint.is_joint());
        assert_eq!(joint.epoch(), Epoch(2));
        for slot in 0..RING_SIZE {
            let owners = joint.owners(Slot(slot));
            let old: BTreeSet<_> = owners.members(owners.old()).collect();
            let new: BTreeSet<_> = owners.members(owners.new_set()).collect();
            assert_eq!(old, BTreeSet::from([NodeId(1), NodeId(2), NodeId(3)]));
            assert_eq!(new, BTreeSet::from([NodeId(1), NodeId(2), NodeId(4)]));
            assert_eq!(owners.all().len(), 4);
        }
    }

    #[test]
    fn bad_sizes_are_refused() {
        let form = |count, replication| Ring::form(&addresses(count), replication, RING_SIZE);
        assert!(matches!(form(0, 1), Err(RingError::NoMembers)));
        assert!(matches!(form(3, 0), Err(RingError::Replication { .. })));
        assert!(matches!(form(3, MAX_MEMBERS + 1), Err(RingError::Replication { .. })));
        assert!(matches!(form(201, 3), Err(RingError::TooManyMembers { .. })));
        let twice = ["a:1".to_string(), "a:1".to_string()];
        assert!(matches!(Ring::form(&twice, 1, RING_SIZE), Err(RingError::Address(_))));
    }

    #[test]
    fn a_forced_ring_is_final_without_those_who_are_gone_and_is_far_ahead() {
        let base = ring(3, 3);
        let forced = |gone: &[u32]| base.forced(&gone.iter().copied().map(NodeId).collect());
        let ring = forced(&[1, 2]).unwrap();
        assert_eq!((ring.epoch(), ring.is_joint()), (Epoch(1_001), false));
        assert_eq!(ring.members().keys().collect::<Vec<_>>(), [&NodeId(3)]);
        assert_eq!(forced(&[1]), Err(ChangeError::NoNeed));
        assert_eq!(forced(&[1, 9]), Err(ChangeError::NoMember(NodeId(9))));
        assert_eq!(forced(&[1, 2, 3]), Err(ChangeError::Ring(RingError::NoMembers)));
    }

    #[test]
    fn a_ring_survives_its_encoding_and_a_bad_one_does_not() {
        let ring = ring(3, 2);
        let bytes = postcard::to_stdvec(&ring).unwrap();
        assert_eq!(postcard::from_bytes::<Ring>(&bytes).unwrap(), ring);
        let mut value = ring.value;
        value.members.get_mut(&NodeId(1)).unwrap().tokens.push(Slot(RING_SIZE));
        let bytes = postcard::to_stdvec(&value).unwrap();
        assert!(postcard::from_bytes::<Ring>(&bytes).is_err());
    }
}
