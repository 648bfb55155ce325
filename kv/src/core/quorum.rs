//! Levels, and tallies of distinct members in one owner set or in both.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::core::{
    ring::{NodeSet, Owners},
    types::NodeId,
};

/// What a request waits for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Level {
    /// One owner.
    One,
    /// One owner; but a read is never answered with less than its connection has seen.
    Session,
    /// A majority of the owners.
    #[default]
    Quorum,
    /// All owners.
    All,
    /// A majority of the owners, twice for a write: it reads versions first, and writes a larger one.
    Linearizable,
}

impl Level {
    /// All levels, weakest first.
    pub const EVERY: [Level; 5] =
        [Level::One, Level::Session, Level::Quorum, Level::All, Level::Linearizable];

    /// Whether a majority of the owners is waited for: reads and writes at such levels see each other.
    pub fn is_majority(self) -> bool {
        match self {
            Level::One | Level::Session => false,
            Level::Quorum | Level::All | Level::Linearizable => true,
        }
    }

    /// How many of `owners` owners it takes.
    fn count_of(self, owners: usize) -> usize {
        match self {
            Level::One | Level::Session => 1,
            Level::Quorum | Level::Linearizable => owners / 2 + 1,
            Level::All => owners,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::One => "one",
            Level::Session => "session",
            Level::Quorum => "quorum",
            Level::All => "all",
            Level::Linearizable => "linearizable",
        })
    }
}

/// A level that we do not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown level {0:?}: the levels are one, session, quorum, all and linearizable")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let found = Self::EVERY.into_iter().find(|l| l.to_string().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownLevel(text.chars().take(40).collect()))
    }
}

/// Which owners are known to have done what a request waits for. A member counts once, however
/// often it answers; one that owns nothing never counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tally {
    owners: Arc<Owners>,
    done: NodeSet,
}

impl Tally {
    /// Nobody yet.
    pub fn new(owners: Arc<Owners>) -> Self {
        Self { owners, done: NodeSet::default() }
    }

    /// The owners that this tally is about.
    pub fn owners(&self) -> &Arc<Owners> {
        &self.owners
    }

    /// Counts a member. False when it counted already or owns nothing here.
    pub fn count(&mut self, node: NodeId) -> bool {
        match self.owners.position(node) {
            Some(at) => self.done.insert(at),
            None => false,
        }
    }

    /// Whether a member counted.
    pub fn has(&self, node: NodeId) -> bool {
        self.owners.position(node).is_some_and(|at| self.done.contains(at))
    }

    /// The owners that did not count yet.
    pub fn missing(&self) -> impl Iterator<Item = NodeId> + '_ {
        let all = self.owners.all().iter().enumerate();
        all.filter(|(at, _)| !self.done.contains(*at)).map(|(_, node)| *node)
    }

    /// Whether the count that a level asks for is reached in the old *and* in the new owner set.
    pub fn meets(&self, level: Level) -> bool {
        self.meets_in(level, self.owners.old()) && self.meets_in(level, self.owners.new_set())
    }

    /// Whether the count that a read at this level asks for is reached: as [`Tally::meets`], but at
    /// ONE and SESSION only old owners may answer, since the new ones are still being filled.
    pub fn meets_for_read(&self, level: Level) -> bool {
        match level.is_majority() {
            false => self.meets_in(level, self.owners.old()),
            true => self.meets(level),
        }
    }

    /// The next owner to ask where one answer is not enough but a majority is not needed, and whether
    /// none is left: of the old ones only, beginning at the `first`.
    pub fn next_old(&self, first: usize) -> Option<NodeId> {
        let old = self.owners.old();
        let all = self.owners.all();
        let turned = (0..all.len()).map(|turn| (first + turn) % all.len());
        turned.filter(|at| old.contains(*at) && !self.done.contains(*at)).map(|at| all[at]).next()
    }

    fn meets_in(&self, level: Level, set: NodeSet) -> bool {
        self.done.and(set).len() >= level.count_of(set.len())
    }

    /// Few further owners to ask so that a read at this level can be met, beginning at the `first`
    /// of the owner list (taken round).
    pub fn to_ask(&self, level: Level, first: usize) -> Vec<NodeId> {
        let mut missing: Vec<NodeId> = self.missing().collect();
        let turn = first % missing.len().max(1);
        missing.rotate_left(turn);
        let mut wanted = self.clone();
        let mut ask = Vec::new();
        for node in missing {
            if wanted.meets_for_read(level) {
                break;
            }
            if wanted.helps(node, level) {
                wanted.count(node);
                ask.push(node);
            }
        }
        ask
    }

    /// Whether this member is in a set that lacks some.
    fn helps(&self, node: NodeId, level: Level) -> bool {
        let lacks = |set: NodeSet| {
            let member = self.owners.position(node).is_some_and(|at| set.contains(at));
            member && !self.meets_in(level, set)
        };
        let new_counts = level.is_majority();
        lacks(self.owners.old()) || (new_counts && lacks(self.owners.new_set()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::core::ring::{Member, MemberState, Ring};
    use crate::core::types::Slot;

    /// Owners n1, n2, n3 before and n1, n2, n4 after, in some order.
    fn joint() -> Arc<Owners> {
        let addresses: Vec<String> = (1..=4).map(|n| format!("h{n}:1")).collect();
        let ring = Ring::form(&addresses, 3, 8).unwrap();
        let mut members: BTreeMap<NodeId, Member> = ring.members().clone();
        members.get_mut(&NodeId(3)).unwrap().state = MemberState::Leaving;
        members.get_mut(&NodeId(4)).unwrap().state = MemberState::Joining;
        ring.next(members).unwrap().owners(Slot(0)).clone()
    }

    #[test]
    fn a_member_counts_once_however_often_it_answers() {
        let mut tally = Tally::new(joint());
        assert!(tally.count(NodeId(1)));
        assert!(!tally.count(NodeId(1)));
        assert!(!tally.meets(Level::Quorum));
        assert!(tally.count(NodeId(2)));
        assert!(tally.meets(Level::Quorum));
        assert!(!tally.meets(Level::All));
    }

    #[test]
    fn a_stranger_never_counts() {
        let mut tally = Tally::new(joint());
        assert!(!tally.count(NodeId(9)));
        assert!(!tally.meets(Level::One));
    }

    #[test]
    fn a_joint_ring_needs_its_majority_in_both_sets() {
        let mut tally = Tally::new(joint());
        tally.count(NodeId(1));
        tally.count(NodeId(3));
        assert!(!tally.meets(Level::Quorum), "only the old set has a majority");
        tally.count(NodeId(4));
        assert!(tally.meets(Level::Quorum));
    }

    #[test]
    fn a_read_at_one_is_answered_by_an_old_owner_only() {
        let mut tally = Tally::new(joint());
        tally.count(NodeId(4));
        assert!(!tally.meets_for_read(Level::One));
        tally.count(NodeId(3));
        assert!(tally.meets_for_read(Level::One));
        assert_eq!(Tally::new(joint()).to_ask(Level::One, 3).len(), 1);
    }

    #[test]
    fn as_few_owners_are_asked_as_can_meet_the_level() {
        let mut tally = Tally::new(joint());
        tally.count(NodeId(1));
        for node in tally.to_ask(Level::Quorum, 0) {
            tally.count(node);
        }
        assert!(tally.meets(Level::Quorum));
        assert_eq!(Tally::new(joint()).to_ask(Level::All, 1).len(), 4);
    }

    #[test]
    fn levels_are_read_in_any_case_and_unknown_ones_are_named() {
        assert_eq!("QuoRum".parse::<Level>(), Ok(Level::Quorum));
        assert_eq!(
            "1".parse::<Level>().unwrap_err().to_string(),
            "unknown level \"1\": the levels are one, session, quorum, all and linearizable"
        );
    }
}
