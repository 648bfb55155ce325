//! What a cluster would look like as it grows by one member after the other, and what it would look
//! like with random tokens.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::{ClusterId, Member, MemberState, Ring, RingError, RingValue, allocate};
use crate::core::types::{Epoch, NodeId, Slot};

/// Random rings that are drawn to measure one.
const DRAWS: u64 = 3;

/// A ring on the way, as its owner table has it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanStep {
    /// The members.
    pub nodes: usize,
    /// The slots of each member as a replica, ascending.
    pub shares: Vec<usize>,
    /// How many slots found a new owner by the last member's join: slots that two found count twice.
    /// None at the first ring.
    pub moved: Option<usize>,
}

impl PlanStep {
    /// The mean of the shares: what is fair.
    pub fn mean(&self) -> f64 {
        self.shares.iter().sum::<usize>() as f64 / self.nodes as f64
    }

    /// The largest share as a multiple of the mean.
    pub fn most_over_mean(&self) -> f64 {
        self.shares.last().map_or(0.0, |most| *most as f64 / self.mean())
    }

    /// What moved as a multiple of the fair share of the one who joined.
    pub fn moved_over_fair(&self) -> Option<f64> {
        self.moved.map(|moved| moved as f64 / self.mean())
    }
}

/// The way from a first ring of `from` members to one of `to`, by single joins. Where R is more than
/// there are members, all of them own each slot.
pub fn grow(
    replication: usize,
    from: usize,
    to: usize,
    size: u16,
) -> Result<Vec<PlanStep>, RingError> {
    let tokens = match from {
        0 => return Err(RingError::NoMembers),
        _ => allocate::initial(from, size),
    };
    let mut ring = {
        let members = tokens.into_iter().zip(1..);
        let members = members.map(|(tokens, id)| (NodeId(id), member(tokens)));
        first(members.collect(), replication, size)?
    };
    let mut steps = vec![PlanStep { nodes: from, shares: shares(&ring), moved: None }];
    for id in (1..).skip(from).take(to.saturating_sub(from)) {
        let joint = joined(&ring, NodeId(id))?;
        let moved = gained(&joint).values().sum();
        ring = settled(&joint)?;
        let nodes = ring.members().len();
        steps.push(PlanStep { nodes, shares: shares(&ring), moved: Some(moved) });
    }
    Ok(steps)
}

/// The largest share of a member as a multiple of the mean, where each member draws `tokens` random
/// positions out of 2^64: the mean of some draws, for each R.
pub fn random_most_over_mean(nodes: usize, tokens: usize, replications: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0; replications.len()];
    for draw in 0..DRAWS {
        let mut points: Vec<(u64, usize)> = Vec::with_capacity(nodes * tokens);
        for node in 0..nodes {
            let point = |token| xxh3_64(format!("{draw}/{node}/{token}").as_bytes());
            points.extend((0..tokens).map(|token| (point(token), node)));
        }
        points.sort_unstable();
        for (sum, replication) in sums.iter_mut().zip(replications) {
            *sum += random_share(&points, nodes, *replication);
        }
    }
    sums.into_iter().map(|sum| sum / DRAWS as f64).collect()
}

/// The largest share in parts of the mean.
fn random_share(points: &[(u64, usize)], nodes: usize, replication: usize) -> f64 {
    let depth = replication.min(nodes);
    let mut shares = vec![0.0; nodes];
    let mut seen = vec![usize::MAX; nodes];
    let mut before = points.last().map_or(0, |point| point.0);
    for (first, (point, _)) in points.iter().enumerate() {
        // One point has all of the ring.
        let gap = if points.len() == 1 { u64::MAX } else { point.wrapping_sub(before) } as f64;
        before = *point;
        let mut found = 0;
        for (_, node) in points[first..].iter().chain(&points[..first]) {
            if seen[*node] != first {
                seen[*node] = first;
                shares[*node] += gap;
                found += 1;
                if found == depth {
                    break;
                }
            }
        }
    }
    let mean = shares.iter().sum::<f64>() / nodes as f64;
    shares.into_iter().fold(0.0, f64::max) / mean
}

fn member(tokens: Vec<Slot>) -> Member {
    let (address, client) = (String::new(), String::new());
    Member { address, client, instance: 0, state: MemberState::Active, tokens }
}

/// A first ring. Unlike one that is formed it may have fewer members than replicas.
fn first(
    members: BTreeMap<NodeId, Member>,
    replication: usize,
    size: u16,
) -> Result<Ring, RingError> {
    let next_id = members.keys().max().map_or(NodeId(1), |id| NodeId(id.0 + 1));
    let (cluster, epoch) = (ClusterId(0), Epoch(1));
    let given_up = Vec::new();
    RingValue { cluster, epoch, size, replication, next_id, members, given_up }.try_into()
}

/// The joint ring with one more member.
fn joined(ring: &Ring, id: NodeId) -> Result<Ring, RingError> {
    let mut members = ring.members().clone();
    for tokens in allocate::join(&members, 1, ring.replication(), ring.size())? {
        members.insert(id, Member { state: MemberState::Joining, ..member(tokens) });
    }
    ring.next(members)
}

/// The final ring after a joint one.
fn settled(joint: &Ring) -> Result<Ring, RingError> {
    let mut members = joint.members().clone();
    members.retain(|_, member| member.state.is_new());
    for member in members.values_mut() {
        member.state = MemberState::Active;
    }
    joint.next(members)
}

/// The slots of each member as a new owner, ascending.
fn shares(ring: &Ring) -> Vec<usize> {
    let mut shares: BTreeMap<NodeId, usize> = ring.members().keys().map(|id| (*id, 0)).collect();
    for slot in 0..ring.size() {
        let owners = ring.owners(Slot(slot));
        for owner in owners.members(owners.new_set()) {
            *shares.entry(owner).or_default() += 1;
        }
    }
    let mut shares: Vec<usize> = shares.into_values().collect();
    shares.sort_unstable();
    shares
}

/// How many slots each member gains with a joint ring.
fn gained(joint: &Ring) -> BTreeMap<NodeId, usize> {
    let mut gained = BTreeMap::new();
    for slot in 0..joint.size() {
        let owners = joint.owners(Slot(slot));
        for (at, owner) in owners.all().iter().enumerate() {
            if !owners.old().contains(at) {
                *gained.entry(*owner).or_default() += 1;
            }
        }
    }
    gained
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::ring::RING_SIZE;

    /// A ring of members that joined, with so many at first.
    fn ring(first_members: usize, replication: usize, size: u16) -> Ring {
        let tokens = allocate::initial(first_members, size);
        let members = (1..).map(NodeId).zip(tokens.into_iter().map(member));
        first(members.collect(), replication, size).unwrap()
    }

    fn most_over_mean(ring: &Ring) -> f64 {
        let shares = shares(ring);
        PlanStep { nodes: shares.len(), shares, moved: None }.most_over_mean()
    }

    fn without(ring: &Ring, leaver: NodeId) -> Ring {
        let mut members = ring.members().clone();
        members.get_mut(&leaver).unwrap().state = MemberState::Leaving;
        settled(&ring.next(members).unwrap()).unwrap()
    }

    #[test]
    fn joins_keep_the_shares_even_and_move_little_more_than_is_fair() {
        for replication in [1, 3, 5] {
            for from in [1, 3] {
                for step in grow(replication, from, 100, RING_SIZE).unwrap() {
                    let context = format!("R={replication} from {from} at {}", step.nodes);
                    assert!(step.most_over_mean() <= 1.05, "{context}: {}", step.most_over_mean());
                    let moved = step.moved_over_fair().unwrap_or(0.0);
                    assert!(moved <= 1.10, "{context}: moved {moved}");
                    let mean = f64::from(RING_SIZE) * replication.min(step.nodes) as f64
                        / step.nodes as f64;
                    assert!((step.mean() - mean).abs() < 1e-6, "{context}");
                }
            }
        }
    }

    #[test]
    fn first_rings_are_even_too() {
        for replication in [1, 3, 5] {
            for nodes in 1..=100 {
                let most = most_over_mean(&ring(nodes, replication, RING_SIZE));
                assert!(most <= 1.05, "R={replication} N={nodes}: {most}");
            }
        }
    }

    #[test]
    fn all_own_all_where_there_are_as_many_replicas_as_members() {
        let all = usize::from(RING_SIZE);
        for (replication, from, to) in [(1, 1, 1), (2, 1, 2), (100, 1, 12), (100, 99, 100)] {
            for step in grow(replication, from, to, RING_SIZE).unwrap() {
                assert_eq!(step.shares, vec![all; step.nodes]);
                assert!(step.moved.is_none_or(|moved| moved == all));
            }
        }
    }

    #[test]
    fn a_tiny_ring_takes_as_many_members_as_it_has_slots() {
        for size in [4, 8] {
            for replication in [1, 3, 9] {
                let mut ring = ring(1, replication, size);
                let mut refused = false;
                for id in 2..=u32::from(size) {
                    match joined(&ring, NodeId(id)) {
                        Ok(joint) => ring = settled(&joint).unwrap(),
                        Err(why) => {
                            assert!(matches!(why, RingError::Full { free: 0, .. }), "{why}");
                            refused = true;
                        }
                    }
                }
                assert!(allocate::join(ring.members(), 0, replication, size).unwrap().is_empty());
                let tokens: usize = ring.members().values().map(|m| m.tokens.len()).sum();
                assert!(refused && tokens == usize::from(size), "{tokens} tokens of {size}");
            }
        }
    }

    #[test]
    fn random_tokens_are_less_even_the_fewer_they_are() {
        let [few, many] = [16, 256].map(|tokens| random_most_over_mean(50, tokens, &[1])[0]);
        assert!(few > many && many > 1.05, "{few} {many}");
    }

    proptest! {
        #![proptest_config(crate::core::properties::cases(24))]

        #[test]
        fn only_joiners_gain_and_only_last_owners_lose(
            first_members in 1usize..12,
            replication in 1usize..8,
            joining in 1usize..4,
            leaver in prop::option::of(1u32..4),
        ) {
            let base = ring(first_members, replication, RING_SIZE);
            let mut members = base.members().clone();
            // Who leaves in the same change keeps its slots, and counts no more.
            if let Some(leaving) = leaver.and_then(|id| members.get_mut(&NodeId(id))) {
                leaving.state = MemberState::Leaving;
            }
            let allocate = || allocate::join(&members, joining, replication, RING_SIZE).unwrap();
            let allocated = allocate();
            prop_assert_eq!(&allocated, &allocate());
            let mut stays = members.clone();
            stays.retain(|_, member| member.state.is_new());
            for (id, tokens) in (first_members as u32 + 1..).zip(allocated) {
                let joiner = Member { state: MemberState::Joining, ..member(tokens) };
                members.insert(NodeId(id), joiner.clone());
                stays.insert(NodeId(id), joiner);
            }
            prop_assert!(base.next(members).is_ok());
            prop_assume!(stays.len() > joining);
            let joint = base.next(stays).unwrap();
            for owners in joint.owner_sets() {
                let old: Vec<NodeId> = owners.members(owners.old()).collect();
                let is_new = |id: &NodeId| owners.members(owners.new_set()).any(|new| new == *id);
                let kept = old.iter().take_while(|id| is_new(id)).count();
                prop_assert!(!old[kept..].iter().any(is_new), "not the last ones lose");
                let gained = owners.all().len() - old.len();
                let expected = replication.min(joint.members().len()) - kept;
                prop_assert_eq!(gained, expected);
            }
            for id in gained(&joint).keys() {
                prop_assert_eq!(joint.members()[id].state, MemberState::Joining);
            }
        }

        #[test]
        fn several_joiners_at_once_are_even(
            replication in prop::sample::select(vec![1usize, 3, 5]), joining in 2usize..20,
        ) {
            let mut members = ring(3, replication, RING_SIZE).members().clone();
            let allocated = allocate::join(&members, joining, replication, RING_SIZE).unwrap();
            members.extend((4..).map(NodeId).zip(allocated.into_iter().map(member)));
            let most = most_over_mean(&first(members, replication, RING_SIZE).unwrap());
            prop_assert!(most <= 1.05, "{}", most);
        }

        #[test]
        fn joins_improve_what_leaves_made_uneven(
            first_members in 6usize..40,
            replication in prop::sample::select(vec![1usize, 2, 3, 5]),
            leaves in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
        ) {
            let mut ring = ring(first_members, replication, RING_SIZE);
            for leaver in leaves {
                let ids: Vec<NodeId> = ring.members().keys().copied().collect();
                if ids.len() > replication + 1 {
                    ring = without(&ring, ids[leaver.index(ids.len())]);
                }
            }
            let before = most_over_mean(&ring);
            // A joiner takes slots from their last owners only: what a member owns first, it loses
            // when as many joined as there are replicas.
            for id in (first_members as u32 + 1..).take(replication) {
                ring = settled(&joined(&ring, NodeId(id)).unwrap()).unwrap();
            }
            let after = most_over_mean(&ring);
            prop_assert!(after <= 1.05 || after < before, "{} after {}", after, before);
        }
    }
}
