//! Which tokens a member takes. Tokens are allocated, not drawn: a member that joins takes slots
//! that even out how many slots each member has as a replica, and nobody else's tokens move.
//!
//! Everything here is a function of the ring alone: the same ring gives the same tokens.

use std::collections::BTreeMap;

use super::{
    MAX_MEMBERS, Member, MemberState, RingError,
    layout::Layout,
    place::{Choice, Weights},
};
use crate::core::types::{NodeId, Slot};

/// Tokens of a member, where the ring has room for as many.
const TOKENS: usize = 16;

/// Members of a first ring for which a slot more with each token is little of a share.
const MOST_UNSKEWED: usize = 32;

/// Tokens of a joining member, and how much evener gaps weigh: the choices that are tried until one
/// is good enough. The first nearly always is; more tokens reach more members at once.
const TRIES: [(usize, f64); 8] =
    [(16, 1.0), (16, 2.0), (16, 4.0), (16, 0.5), (24, 1.0), (24, 2.0), (24, 4.0), (24, 0.5)];

/// Good enough: the largest share of a member, as a multiple of the mean. Below what is promised,
/// since the next to join builds on it.
const GOAL: f64 = 1.03;

/// The tokens of the members of a first ring: evenly spaced and taken in turn, so that every member
/// is a replica of equally many slots.
pub fn initial(members: usize, size: u16) -> Vec<Vec<Slot>> {
    let each = TOKENS.min(usize::from(size) / members);
    let count = each * members;
    // A round of turns is rounded like the next, so always the same members get a slot more. With
    // many members that is much of a share: there each round is rounded in another way.
    let skewed = members > MOST_UNSKEWED;
    // The last slot of an interval is its token, since a token owns what is before it.
    let token = |round: usize, member: usize| {
        let skew = if skewed { members * round / each } else { 0 };
        let turn = round * members + member + 1;
        let end = (turn * usize::from(size) + skew * each) / count;
        Slot(u16::try_from(end.min(usize::from(size)) - 1).expect("below the ring's size"))
    };
    (0..members).map(|member| (0..each).map(|round| token(round, member)).collect()).collect()
}

/// The tokens of `joining` more members, each in ascending order. Members that leave do not count
/// for the balance, but keep their slots.
///
/// With one join after the other, from a first ring of one or of three to a hundred members, and R
/// of 1, 3 and 5, no member has more than 1.05 times the mean, and a join moves at most 1.05 times
/// the joiner's fair share. After members left the balance is worse; as many joins as there are
/// replicas improve it (one may not: a joiner takes each slot from its last owner).
///
/// Fails where the ring has no slot left for each of them, or would have too many members.
pub fn join(
    members: &BTreeMap<NodeId, Member>,
    joining: usize,
    replication: usize,
    size: u16,
) -> Result<Vec<Vec<Slot>>, RingError> {
    let given = members.len().saturating_add(joining);
    let limit = MAX_MEMBERS.min(usize::from(size));
    if given > limit {
        return Err(RingError::TooManyMembers { given, limit, size });
    }
    if replication == 0 {
        return Err(RingError::Replication { replication, members: given });
    }
    let mut layout = layout(members, size)?;
    if layout.free() < joining {
        return Err(RingError::Full { size, free: layout.free(), joining });
    }
    let mut allocated = Vec::with_capacity(joining);
    for left in (1..=joining).rev() {
        let room = layout.free() / left;
        layout = with_joiner(&layout, replication, room);
        allocated.push(layout.tokens_of(layout.members() - 1));
    }
    Ok(allocated)
}

/// The layout of the members that stay.
fn layout(members: &BTreeMap<NodeId, Member>, size: u16) -> Result<Layout, RingError> {
    let mut layout = Layout::new(size);
    for (id, member) in members {
        if !member.tokens.iter().all(|token| layout.take(*token)) {
            return Err(RingError::Tokens(*id));
        }
        match member.state {
            MemberState::Leaving | MemberState::Evicted => {}
            MemberState::Active | MemberState::Joining => {
                let number = layout.add_member();
                for token in &member.tokens {
                    layout.insert(usize::from(token.0), number);
                }
            }
        }
    }
    Ok(layout)
}

/// The layout with one more member, which has at most `room` tokens and at least one.
fn with_joiner(layout: &Layout, replication: usize, room: usize) -> Layout {
    let mut best: Option<(f64, Layout)> = None;
    for (tokens, evenness) in TRIES {
        let tried = try_joiner(layout, replication, tokens.min(room), evenness);
        let shares = tried.shares(replication.min(tried.members()));
        let mean = shares.iter().sum::<usize>() as f64 / shares.len() as f64;
        let most = shares.into_iter().max().unwrap_or_default() as f64 / mean;
        if best.as_ref().is_none_or(|(least, _)| most <= *least) {
            best = Some((most, tried));
        }
        if best.as_ref().is_some_and(|(least, _)| *least <= GOAL) {
            break;
        }
    }
    best.expect("there are tries").1
}

/// One token after the other, each where it does most good.
fn try_joiner(layout: &Layout, replication: usize, tokens: usize, evenness: f64) -> Layout {
    let mut layout = layout.clone();
    let joiner = layout.add_member();
    let members = layout.members();
    // Where all own all, any tokens are even: what counts is that later ones find good gaps.
    let owned_by_all = replication >= members;
    let depth = replication.min(members - 1).max(1);
    let gaps = evenness * (depth - 1) as f64 + if owned_by_all { 4.0 } else { 0.0 };
    let weights = Weights { firsts: 1.0, gaps };
    if layout.tokens().is_empty() {
        let last = layout.size() - 1;
        let steps = layout.free_near(0, last, layout.size()).unwrap_or(0);
        layout.insert(steps, joiner);
    }
    while layout.tokens_of(joiner).len() < tokens {
        let own = layout.tokens_of(joiner).len();
        // With the first token a small part of the share, with the last one all of it: so there is
        // no token that takes much while later ones find nothing to do.
        let part = (own + 1) as f64 / tokens as f64;
        let found = Choice::new(&layout, joiner, depth, part, weights).best();
        let Some(slot) = found else { break };
        layout.insert(slot, joiner);
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(tokens: Vec<Vec<Slot>>, state: MemberState) -> BTreeMap<NodeId, Member> {
        let member = |tokens| Member {
            address: String::new(),
            client: String::new(),
            instance: 0,
            state,
            tokens,
        };
        (1..).map(NodeId).zip(tokens.into_iter().map(member)).collect()
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_reason() {
        let active = |tokens| members(tokens, MemberState::Active);
        let three = active(initial(3, 8));
        let full = RingError::Full { size: 8, free: 2, joining: 3 };
        assert_eq!(join(&three, 3, 3, 8), Err(full));
        assert!(matches!(join(&three, 6, 3, 8), Err(RingError::TooManyMembers { .. })));
        assert!(matches!(join(&three, 1, 0, 8), Err(RingError::Replication { .. })));
        let twice = active(vec![vec![Slot(1)], vec![Slot(1)]]);
        assert_eq!(join(&twice, 1, 1, 8), Err(RingError::Tokens(NodeId(2))));
        let outside = active(vec![vec![Slot(8)]]);
        assert_eq!(join(&outside, 1, 1, 8), Err(RingError::Tokens(NodeId(1))));
    }

    #[test]
    fn joiners_share_the_room_that_there_is() {
        let three = members(initial(3, 8), MemberState::Active);
        let tokens = join(&three, 2, 3, 8).unwrap();
        assert_eq!(tokens.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn members_can_replace_all_that_leave() {
        for size in [8, 16_384] {
            let leaving = members(initial(3, size), MemberState::Leaving);
            let tokens = join(&leaving, 2, 2, size).unwrap();
            let ours = members(tokens, MemberState::Active);
            let layout = layout(&ours, size).unwrap();
            assert_eq!(layout.shares(2), vec![usize::from(size); 2]);
        }
    }
}
