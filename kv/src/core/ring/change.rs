//! How a ring may follow another, and what of it is to be agreed on and reported.
//!
//! A final ring is followed by a joint one, whose old owner sets are the final ring's, or by a final one with
//! the same owners, in which members say where clients reach them. A joint ring is
//! followed by its final ring, by the old ring (cancelled), or by a joint ring with the same old sets, so
//! that a member that dies in the midst of a change blocks nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{Member, MemberState, Owners, Ring, RingError, allocate};
use crate::core::types::{Ballot, Epoch, NodeId};

/// A change of the ring that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// A process wants to be a member.
    Join(Joiner),
    /// A member hands over what it holds, and is one no more.
    Leave(NodeId),
    /// A member is gone for good: the others make do without it.
    Evict(NodeId),
    /// The change that is under way in this joint ring is given up.
    Cancel(Epoch),
    /// Clients reach a member at this address.
    Client(NodeId, String),
}

/// A process that wants to be a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Joiner {
    /// Where its peers reach it.
    pub address: String,
    /// Tells it from any other process that joined from the same address. Not zero.
    pub instance: u64,
    /// Where clients reach it. Empty: it did not say so.
    pub client: String,
    /// Members that have the same address under another name: they are no more.
    pub replaces: BTreeSet<NodeId>,
}

impl Joiner {
    /// A process that its peers reach here.
    pub fn new(address: impl Into<String>, instance: u64) -> Self {
        let (address, client, replaces) = (address.into(), String::new(), BTreeSet::new());
        Self { address, instance, client, replaces }
    }

    /// Whether a member is another process at the address of this one, and so is no more.
    fn takes_over(&self, id: NodeId, member: &Member) -> bool {
        let is_same = member.address == self.address || self.replaces.contains(&id);
        is_same && member.instance != self.instance
    }
}

/// Why a change is refused. Nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No such member.
    #[error("{0} is no member of the ring")]
    NoMember(NodeId),
    /// Fewer members than replicas would stay.
    #[error(
        "only {stay} members would stay, and each key is on {replication}: add a member first, or \
         evict the one that is gone for good"
    )]
    TooFew {
        /// The members that would stay.
        stay: usize,
        /// R.
        replication: usize,
    },
    /// The last member cannot go.
    #[error("{0} is the last member: to end the cluster, stop its process")]
    Last(NodeId),
    /// Forced, though those that stay can decide.
    #[error(
        "no loss has to be accepted: the members that stay are a majority, and have a majority of each \
         key's owners, so that a plain eviction is enough; if some of them are gone for good too, name all \
         that are"
    )]
    NoNeed,
    /// The join of this process was given up.
    #[error(
        "its join was given up, by an operator or because it was silent; start it again to try anew"
    )]
    GivenUp,
    /// There is no change to give up.
    #[error("{0} has no change under way that could be given up")]
    NothingToCancel(Epoch),
    /// The ring is full.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// What a member promised and accepted about the ring after its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acceptor {
    /// No proposal below this is taken.
    pub promised: Option<Ballot>,
    /// The proposal that was taken last.
    pub accepted: Option<(Ballot, Arc<Ring>)>,
}

type Members = BTreeMap<NodeId, Member>;

impl Ring {
    /// Whether a change is done, or on its way in a joint ring: nobody has to ask for it again.
    pub fn reflects(&self, change: &Change) -> bool {
        let state = |node: &NodeId| self.members().get(node).map(|member| member.state);
        match change {
            Change::Join(Joiner { instance, .. }) => {
                self.members().values().any(|member| member.instance == *instance)
            }
            Change::Leave(node) => state(node).is_none_or(|s| !s.is_new()),
            Change::Evict(node) => state(node).is_none_or(|s| s == MemberState::Evicted),
            Change::Cancel(epoch) => self.epoch() > *epoch,
            Change::Client(node, address) => {
                self.members().get(node).is_none_or(|member| member.client == *address)
            }
        }
    }

    /// Whether a change can be asked for on this ring, and why not.
    pub fn allows(&self, change: &Change) -> Result<(), ChangeError> {
        let stay = self.members().values().filter(|member| member.state.is_new()).count();
        match change {
            Change::Join(joiner) if self.gave_up(joiner.instance) => Err(ChangeError::GivenUp),
            Change::Join(_) if self.reflects(change) => Ok(()),
            Change::Join(_) => {
                allocate::join(self.members(), 1, self.replication(), self.size())?;
                let limit = super::MAX_MEMBERS.min(usize::from(self.size()));
                let given = self.members().len() + 1;
                match given <= limit {
                    true => Ok(()),
                    false => {
                        let size = self.size();
                        Err(RingError::TooManyMembers { given, limit, size }.into())
                    }
                }
            }
            Change::Leave(node) | Change::Evict(node) => match self.members().get(node) {
                None => Err(ChangeError::NoMember(*node)),
                Some(member) if !member.state.is_new() => Ok(()),
                Some(_) if stay == 1 => Err(ChangeError::Last(*node)),
                Some(_) => {
                    let (stay, replication) = (stay - 1, self.replication());
                    let is_leave = matches!(change, Change::Leave(_));
                    // With fewer members than replicas, each key is on all of them anyway.
                    match is_leave && stay + 1 == replication {
                        true => Err(ChangeError::TooFew { stay, replication }),
                        false => Ok(()),
                    }
                }
            },
            Change::Cancel(epoch) => match self.is_joint() && self.epoch() == *epoch {
                true => Ok(()),
                false => Err(ChangeError::NothingToCancel(*epoch)),
            },
            Change::Client(node, _) => match self.members().contains_key(node) {
                true => Ok(()),
                false => Err(ChangeError::NoMember(*node)),
            },
        }
    }

    /// The next ring, if one is due: with as many of the changes as can be made now, or with the change
    /// that is under way brought to its end, because all who had to report did.
    pub fn after(&self, changes: &BTreeSet<Change>, is_synced: bool) -> Option<Ring> {
        let members = match self.is_joint() {
            // What clients are told comes after who owns what.
            false => self.begin(changes).or_else(|| self.with_clients(changes)),
            true => self.go_on(changes, is_synced),
        };
        // A change that the ring has no room for is refused when it is asked for, not here.
        members.and_then(|members| self.next(members).ok())
    }

    /// From a final ring to a joint one.
    fn begin(&self, changes: &BTreeSet<Change>) -> Option<Members> {
        let mut ring = self.clone();
        for change in changes {
            if ring.reflects(change) || ring.allows(change).is_err() {
                continue;
            }
            let mut members = ring.members().clone();
            match change {
                Change::Join(joiner) => {
                    // Another process of this address is no more.
                    let same = members.iter().filter(|(id, m)| joiner.takes_over(**id, m));
                    for id in same.map(|(id, _)| *id).collect::<Vec<_>>() {
                        go(&mut members, id, MemberState::Evicted);
                    }
                    let (replication, size) = (ring.replication(), ring.size());
                    let tokens = allocate::join(&members, 1, replication, size).ok()?.pop()?;
                    let Joiner { address, client, instance, .. } = joiner.clone();
                    let state = MemberState::Joining;
                    let member = Member { address, client, instance, state, tokens };
                    members.insert(ring.value.next_id, member);
                }
                Change::Leave(node) => go(&mut members, *node, MemberState::Leaving),
                Change::Evict(node) => go(&mut members, *node, MemberState::Evicted),
                Change::Cancel(_) | Change::Client(..) => {}
            }
            // Only the members are taken from this ring: the epoch counts once.
            if let Ok(next) = ring.next(members) {
                ring = next;
            }
        }
        ring.is_joint().then(|| ring.members().clone())
    }

    /// The same members, at the addresses for clients that they say.
    fn with_clients(&self, changes: &BTreeSet<Change>) -> Option<Members> {
        let mut members = self.members().clone();
        for change in changes {
            if let Change::Client(node, address) = change
                && let Some(member) = members.get_mut(node)
            {
                member.client.clone_from(address);
            }
        }
        (members != *self.members()).then_some(members)
    }

    /// From a joint ring to the next.
    fn go_on(&self, changes: &BTreeSet<Change>, is_synced: bool) -> Option<Members> {
        if changes.contains(&Change::Cancel(self.epoch())) {
            return Some(self.settled(MemberState::is_old));
        }
        // One by one: each may be allowed, and all of them together not.
        let mut ring = self.clone();
        for gone in self.gone_by(changes) {
            if ring.reflects(&Change::Evict(gone)) || ring.allows(&Change::Evict(gone)).is_err() {
                continue;
            }
            let mut members = ring.members().clone();
            go(&mut members, gone, MemberState::Evicted);
            if let Ok(next) = ring.next(members) {
                ring = next;
            }
        }
        if ring.members() != self.members() {
            return Some(ring.members().clone());
        }
        is_synced.then(|| self.settled(MemberState::is_new))
    }

    /// Members that these changes say are gone: who is to be evicted, and who is no more, because another
    /// process of its address wants to join. (That one has to wait until the ring is final.)
    fn gone_by(&self, changes: &BTreeSet<Change>) -> BTreeSet<NodeId> {
        let mut gone = BTreeSet::new();
        for change in changes {
            match change {
                Change::Evict(node) => {
                    gone.insert(*node);
                }
                // One whose join was given up is no more itself.
                Change::Join(joiner) if self.gave_up(joiner.instance) => {}
                Change::Join(joiner) => {
                    let members = self.members().iter();
                    let before = members.filter(|(id, member)| joiner.takes_over(**id, member));
                    gone.extend(before.map(|(id, _)| *id));
                }
                Change::Leave(_) | Change::Cancel(_) | Change::Client(..) => {}
            }
        }
        gone
    }

    /// Only these members, and all of them Active.
    fn settled(&self, stays: fn(MemberState) -> bool) -> Members {
        let members = self.members().iter().filter(|(_, member)| stays(member.state));
        let active = |(id, member): (&NodeId, &Member)| {
            (*id, Member { state: MemberState::Active, ..member.clone() })
        };
        members.map(active).collect()
    }

    /// Whether of each slot, without these members, so many of the old owners are left as a new one has to
    /// pull from. Where not, no change that replaces them ends.
    pub fn can_lose(&self, gone: &BTreeSet<NodeId>) -> bool {
        self.owner_sets().all(|owners| {
            let left = owners.members(owners.old()).filter(|node| !gone.contains(node));
            left.count() >= owners.needed()
        })
    }

    /// The ring that an operator installs at a node that stays, where a majority is gone for good, or too
    /// many owners of some slot: final,
    /// without these members, and of an epoch that no decision of theirs can reach. What only they held
    /// is lost; what the others hold spreads by comparison.
    pub fn forced(&self, gone: &BTreeSet<NodeId>) -> Result<Ring, ChangeError> {
        const FORCED_AHEAD: u64 = 1_000;
        if let Some(unknown) = gone.iter().find(|node| !self.members().contains_key(node)) {
            return Err(ChangeError::NoMember(*unknown));
        }
        let stays = |(id, member): &(&NodeId, &Member)| {
            !gone.contains(id) && member.state != MemberState::Evicted
        };
        let active = |(id, member): (&NodeId, &Member)| {
            (*id, Member { state: MemberState::Active, ..member.clone() })
        };
        let members: Members = self.members().iter().filter(stays).map(active).collect();
        if self.is_majority(&members.keys().copied().collect()) && self.can_lose(gone) {
            return Err(ChangeError::NoNeed);
        }
        let epoch = Epoch(self.epoch().0 + FORCED_AHEAD);
        let given_up = self.given_up_with(&members);
        Ok(super::RingValue { epoch, members, given_up, ..self.value.clone() }.try_into()?)
    }

    /// Whether `next` is one of the rings that may follow this one.
    pub fn may_be_followed_by(&self, next: &Ring) -> bool {
        let (ours, theirs) = (&self.value, &next.value);
        let same_cluster = (ours.cluster, ours.size, ours.replication)
            == (theirs.cluster, theirs.size, theirs.replication);
        let is_fresh = |id: &NodeId| !ours.members.contains_key(id) && *id < ours.next_id;
        if !same_cluster
            || theirs.epoch.0 != ours.epoch.0 + 1
            || theirs.next_id < ours.next_id
            || theirs.members.keys().any(is_fresh)
            || theirs.given_up != self.given_up_with(&theirs.members)
        {
            return false;
        }
        let same_old = next.settled(MemberState::is_old) == self.settled(MemberState::is_old);
        match (self.is_joint(), next.is_joint()) {
            (false, false) => self.differs_in_clients_from(next),
            (_, true) => same_old,
            (true, false) => same_old || *next.members() == self.settled(MemberState::is_new),
        }
    }

    /// Whether two rings have the same members, and clients reach some of them elsewhere.
    fn differs_in_clients_from(&self, next: &Ring) -> bool {
        let without = |ring: &Ring| -> Members {
            let members = ring.members().iter();
            members.map(|(id, m)| (*id, Member { client: String::new(), ..m.clone() })).collect()
        };
        self.members() != next.members() && without(self) == without(next)
    }

    /// Whether these members can decide on the next ring: a majority of the old members. All that
    /// agreement needs is that two majorities meet; were one of the new members needed too, a change whose
    /// new members die could not even be given up.
    pub fn is_majority(&self, nodes: &BTreeSet<NodeId>) -> bool {
        let old = self.members().iter().filter(|(_, member)| member.state.is_old());
        let (count, has) = old.fold((0, 0), |(count, has), (id, _)| {
            (count + 1, has + usize::from(nodes.contains(id)))
        });
        has > count / 2
    }

    /// The members that must report before a joint ring may become final: those that have to pull, and
    /// those that leave and have something to hand over.
    pub fn reporters(&self) -> BTreeSet<NodeId> {
        let mut reporters = BTreeSet::new();
        for owners in self.owner_sets() {
            reporters.extend(owners.pullers());
            let lost = owners.members(owners.old()).filter(|node| !owners.is_new(*node));
            let leaves = |node: &NodeId| self.members()[node].state == MemberState::Leaving;
            reporters.extend(lost.filter(leaves));
        }
        reporters
    }
}

impl Owners {
    /// Whether a node is among the old owners.
    pub fn is_old(&self, node: NodeId) -> bool {
        self.position(node).is_some_and(|at| self.old.contains(at))
    }

    /// Whether a node is among the new owners.
    pub fn is_new(&self, node: NodeId) -> bool {
        self.position(node).is_some_and(|at| self.new.contains(at))
    }

    /// Who has to get what the old owners hold: those that gain the slot, and, where the set shrinks,
    /// those that stay, for a write may have been acknowledged only by those who go.
    pub fn pullers(&self) -> impl Iterator<Item = NodeId> + '_ {
        let shrinks = self.new.len() < self.old.len();
        self.members(self.new).filter(move |node| shrinks || !self.is_old(*node))
    }

    /// From how many of the old owners one has to pull, so that each of their majorities is met.
    pub fn needed(&self) -> usize {
        self.old.len() - self.old.len() / 2
    }
}

/// A member is to go, as Leaving or as Evicted; one that only joins is left out at once.
fn go(members: &mut Members, node: NodeId, state: MemberState) {
    match members.get_mut(&node) {
        Some(member) if member.state == MemberState::Joining => drop(members.remove(&node)),
        Some(member) => member.state = state,
        None => {}
    }
}
