//! Which tokens a member takes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Member, RingError};
use crate::types::{NodeId, Slot};

/// Tokens of a member, where the ring has room for as many.
const TOKENS: usize = 16;

/// The tokens of the members of a first ring: evenly spaced and taken in turn, so that every member
/// is a replica of equally many slots.
pub fn initial(members: usize, size: u16) -> Vec<Vec<Slot>> {
    let each = TOKENS.min(usize::from(size) / members);
    let count = each * members;
    // The last slot of an interval is its token, since a token owns what is before it.
    let token = |turn: usize| {
        let end = (turn + 1) * usize::from(size) / count;
        Slot(u16::try_from(end - 1).expect("below the ring's size"))
    };
    (0..members).map(|member| (0..each).map(|t| token(t * members + member)).collect()).collect()
}

/// The tokens of members that join: in the middles of the widest gaps.
pub fn join(
    members: &BTreeMap<NodeId, Member>,
    joining: usize,
    _replication: usize,
    size: u16,
) -> Result<Vec<Vec<Slot>>, RingError> {
    let mut taken: BTreeSet<u16> =
        members.values().flat_map(|member| &member.tokens).map(|token| token.0).collect();
    let each = TOKENS.min((usize::from(size) / (members.len() + joining)).max(1));
    let mut all = Vec::new();
    for _ in 0..joining {
        let mut tokens = Vec::new();
        for _ in 0..each {
            let mut best: Option<(u16, u16)> = None;
            let list: Vec<u16> = taken.iter().copied().collect();
            for (at, token) in list.iter().enumerate() {
                let next = list[(at + 1) % list.len()];
                let gap = if next > *token { next - token } else { size - token + next };
                if gap > 1 && best.is_none_or(|(most, _)| gap > most) {
                    best = Some((gap, (token + gap / 2) % size));
                }
            }
            let Some((_, token)) = best else { break };
            taken.insert(token);
            tokens.push(Slot(token));
        }
        if tokens.is_empty() {
            return Err(RingError::NoSlot { size });
        }
        tokens.sort();
        all.push(tokens);
    }
    Ok(all)
}
