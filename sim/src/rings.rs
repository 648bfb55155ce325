//! The ring is linearizable: there is one ring of each epoch, each follows the one before it as rings may
//! follow each other, and an id names one process for ever. Looked at for each ring that a node has for
//! certain; by the members alone, and not by what the ring says of itself.

use std::{collections::BTreeMap, sync::Arc};

use harness::{violation::Violation, world::INVARIANT};
use kv::core::{
    ring::{Member, MemberState, Ring},
    types::{Epoch, NodeId, Slot},
};

use crate::{gates::Sometimes, owners};

/// The rings of a run that some node has for certain.
pub struct Rings {
    of_epoch: BTreeMap<Epoch, Arc<Ring>>,
    /// The process behind each id.
    processes: BTreeMap<NodeId, (String, u64)>,
}

/// Who is on one side of a change: where, as which process, with which tokens.
type Side<'a> = BTreeMap<NodeId, (&'a str, u64, &'a [Slot])>;

impl Rings {
    /// A run begins with this ring.
    pub fn new(first: &Arc<Ring>) -> (Self, Option<Violation>) {
        let of_epoch = BTreeMap::from([(first.epoch(), first.clone())]);
        let mut rings = Self { of_epoch, processes: BTreeMap::new() };
        let violation = owners::check(first).and_then(|()| rings.name(first)).err();
        (rings, violation)
    }

    /// The ring of an epoch.
    pub fn at(&self, epoch: Epoch) -> Option<&Arc<Ring>> {
        self.of_epoch.get(&epoch)
    }

    /// How many owners each slot has at least, on any ring: old ones, or new ones.
    pub fn least_owners(&self) -> usize {
        let of = |ring: &Arc<Ring>| {
            let count = |is: fn(MemberState) -> bool| {
                ring.members().values().filter(|member| is(member.state)).count()
            };
            let members = count(MemberState::is_old).min(count(MemberState::is_new));
            members.min(ring.replication())
        };
        self.of_epoch.values().map(of).min().unwrap_or(0)
    }

    /// A node has this ring for certain: what happened by it, if it is new.
    pub fn take(&mut self, ring: &Arc<Ring>) -> Result<Vec<Sometimes>, Violation> {
        let epoch = ring.epoch();
        if let Some(known) = self.at(epoch) {
            return match known == ring {
                true => Ok(Vec::new()),
                false => Err(wrong(format!("two rings of epoch {epoch}: {known:?} and {ring:?}"))),
            };
        }
        let Some(before) = epoch.0.checked_sub(1).and_then(|e| self.at(Epoch(e))) else {
            return Err(wrong(format!("a ring of epoch {epoch}, and none before it: {ring:?}")));
        };
        let Some(happened) = follows(before, ring) else {
            return Err(wrong(format!("{ring:?} may not follow {before:?}")));
        };
        owners::check(ring)?;
        self.name(ring)?;
        self.of_epoch.insert(epoch, ring.clone());
        Ok(happened)
    }

    fn name(&mut self, ring: &Ring) -> Result<(), Violation> {
        for (id, Member { address, instance, .. }) in ring.members() {
            let process = (address.clone(), *instance);
            let known = self.processes.entry(*id).or_insert_with(|| process.clone());
            if *known != process {
                return Err(wrong(format!("{id} is {known:?}, and later {process:?}")));
            }
        }
        Ok(())
    }
}

fn wrong(what: String) -> Violation {
    Violation::new(INVARIANT, what)
}

fn side(ring: &Ring, is: fn(MemberState) -> bool) -> Side<'_> {
    let members = ring.members().iter().filter(|(_, member)| is(member.state));
    members.map(|(id, m)| (*id, (m.address.as_str(), m.instance, m.tokens.as_slice()))).collect()
}

/// Where clients reach each member.
fn clients(ring: &Ring) -> BTreeMap<NodeId, &str> {
    ring.members().iter().map(|(id, member)| (*id, member.client.as_str())).collect()
}

/// What happens from one ring to the next. None: that must not be.
fn follows(before: &Ring, after: &Ring) -> Option<Vec<Sometimes>> {
    let same = (before.cluster(), before.size(), before.replication())
        == (after.cluster(), after.size(), after.replication());
    if !same {
        return None;
    }
    let has = |ring: &Ring, state| ring.members().values().filter(|m| m.state == state).count();
    let (old, new) = (side(before, MemberState::is_old), side(before, MemberState::is_new));
    let mut happened = Vec::new();
    // Those who were there before are where they were.
    let stays =
        |(id, client): (&NodeId, &&str)| clients(before).get(id).is_none_or(|c| c == client);
    let is_moved = !clients(after).iter().all(stays);
    if is_moved && (before.is_joint() || after.is_joint()) {
        return None;
    }
    if after.is_joint() {
        if side(after, MemberState::is_old) != old {
            return None;
        }
        if before.is_joint() {
            happened.push(Sometimes::JointAfterJoint);
        }
        if has(after, MemberState::Joining) > 1 {
            happened.push(Sometimes::SeveralJoined);
        }
    } else {
        let all = side(after, |_| true);
        if !before.is_joint() {
            // Where clients reach them is all that members of a final ring may change.
            return (all == old && is_moved).then(|| vec![Sometimes::ClientsMoved]);
        }
        if all != old && all != new {
            return None;
        }
        if all == new && old != new {
            happened.push(Sometimes::Finished);
            if has(before, MemberState::Leaving) > 0 {
                happened.push(Sometimes::Left);
            }
        } else {
            happened.push(Sometimes::GivenUp);
        }
    }
    let joining = before.members().iter().filter(|(_, m)| m.state == MemberState::Joining);
    if joining.into_iter().any(|(id, _)| !after.members().contains_key(id)) {
        happened.push(Sometimes::JoinerDropped);
    }
    Some(happened)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> Arc<Ring> {
        let addresses: Vec<String> = (1..=4).map(|node| format!("node{node}:1")).collect();
        Arc::new(Ring::form(&addresses, 3, 128).unwrap())
    }

    fn with(ring: &Ring, node: u32, state: MemberState) -> Arc<Ring> {
        let mut members = ring.members().clone();
        members.get_mut(&NodeId(node)).unwrap().state = state;
        Arc::new(ring.next(members).unwrap())
    }

    fn without(ring: &Ring, node: u32) -> Arc<Ring> {
        let mut members = ring.members().clone();
        members.remove(&NodeId(node));
        Arc::new(ring.next(members).unwrap())
    }

    #[test]
    fn rings_that_follow_each_other_hold_and_are_named() {
        let (mut rings, violation) = Rings::new(&first());
        assert_eq!(violation, None);
        let joint = with(&first(), 4, MemberState::Leaving);
        assert_eq!(rings.take(&joint), Ok(vec![]));
        let evicted = with(&joint, 3, MemberState::Evicted);
        assert_eq!(rings.take(&evicted), Ok(vec![Sometimes::JointAfterJoint]));
        let given_up = {
            let mut members = evicted.members().clone();
            members.values_mut().for_each(|member| member.state = MemberState::Active);
            Arc::new(evicted.next(members).unwrap())
        };
        assert_eq!(rings.take(&given_up), Ok(vec![Sometimes::GivenUp]));
        assert_eq!(rings.take(&given_up), Ok(vec![]), "it is known");
        let joint = with(&given_up, 4, MemberState::Leaving);
        assert_eq!(rings.take(&joint), Ok(vec![]));
        let done = rings.take(&without(&joint, 4));
        assert_eq!(done, Ok(vec![Sometimes::Finished, Sometimes::Left]));
    }

    #[test]
    fn two_rings_of_an_epoch_fall_and_so_do_leaps() {
        let (mut rings, _) = Rings::new(&first());
        rings.take(&with(&first(), 4, MemberState::Leaving)).unwrap();
        let other = rings.take(&with(&first(), 3, MemberState::Leaving)).unwrap_err();
        assert!(other.what.starts_with("two rings of epoch e2"), "{other}");
        let (mut rings, _) = Rings::new(&first());
        let leap = rings.take(&without(&first(), 4)).unwrap_err();
        assert!(leap.what.contains("may not follow"), "{leap}");
        let joint = with(&first(), 4, MemberState::Leaving);
        let skipped = rings.take(&without(&joint, 4)).unwrap_err();
        assert!(skipped.what.contains("none before it"), "{skipped}");
    }

    #[test]
    fn members_say_where_clients_reach_them_and_change_nothing_else() {
        let (mut rings, _) = Rings::new(&first());
        let moved = |ring: &Ring, state| {
            let mut members = ring.members().clone();
            let member = members.get_mut(&NodeId(2)).unwrap();
            (member.client, member.state) = ("client2:1".into(), state);
            Arc::new(ring.next(members).unwrap())
        };
        let both = rings.take(&moved(&first(), MemberState::Leaving)).unwrap_err();
        assert!(both.what.contains("may not follow"), "{both}");
        let said = moved(&first(), MemberState::Active);
        assert!(first().may_be_followed_by(&said));
        assert_eq!(rings.take(&said), Ok(vec![Sometimes::ClientsMoved]));
        let nothing = Arc::new(said.next(said.members().clone()).unwrap());
        assert!(!said.may_be_followed_by(&nothing));
        let idle = rings.take(&nothing).unwrap_err();
        assert!(idle.what.contains("may not follow"), "{idle}");
    }

    #[test]
    fn an_id_names_one_process_for_ever() {
        let (mut rings, _) = Rings::new(&first());
        let joins = |ring: &Ring, instance| {
            let mut members = ring.members().clone();
            let taken = |slot: &Slot| ring.members().values().any(|m| m.tokens.contains(slot));
            let free = (0..ring.size()).map(Slot).find(|slot| !taken(slot)).unwrap();
            let (address, tokens) = ("node5:1".into(), vec![free]);
            let (client, state) = (String::new(), MemberState::Joining);
            let joins = Member { address, client, instance, state, tokens };
            members.insert(NodeId(5), joins);
            Arc::new(ring.next(members).unwrap())
        };
        let joint = joins(&first(), 7);
        rings.take(&joint).unwrap();
        let given_up = without(&joint, 5);
        let happened = rings.take(&given_up).unwrap();
        assert_eq!(happened, [Sometimes::GivenUp, Sometimes::JoinerDropped]);
        let wrong = rings.take(&joins(&given_up, 8)).unwrap_err();
        assert!(wrong.what.starts_with("n5 is"), "{wrong}");
    }
}
