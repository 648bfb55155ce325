//! Each slot is owned by its first R distinct successors on the ring. Looked at for each ring that a
//! node adopts, by the distance from the slot to each member's next token, and not by a walk over tokens
//! as the ring itself does it.

use harness::{violation::Violation, world::INVARIANT};
use kv::core::{
    ring::{Member, MemberState, Ring},
    types::{NodeId, Slot},
};

/// Looks at the first and the last slot, and at those on both sides of some tokens of each member.
pub fn check(ring: &Ring) -> Result<(), Violation> {
    let last = ring.size() - 1;
    let tokens = ring.members().values().flat_map(|member| {
        let turns = member.tokens.len().div_ceil(4).max(1);
        member.tokens.iter().step_by(turns)
    });
    let beside = tokens.flat_map(|token| [token.0, token.0.saturating_add(1).min(last)]);
    for slot in beside.chain([0, last]).map(Slot) {
        let owners = ring.owners(slot);
        let old = successors(ring, slot, MemberState::is_old);
        let new = successors(ring, slot, MemberState::is_new);
        let has_old: Vec<NodeId> = owners.members(owners.old()).collect();
        let mut has_new: Vec<NodeId> = owners.members(owners.new_set()).collect();
        // The old owners are in the ring's order; the new ones are a set.
        let mut sorted = new.clone();
        has_new.sort_unstable();
        sorted.sort_unstable();
        if has_old != old || has_new != sorted {
            let what = format!(
                "ring {}: slot {} is owned by {has_old:?}, later by {has_new:?}; its successors \
                 are {old:?}, later {new:?}",
                ring.epoch(),
                slot.0
            );
            return Err(Violation::new(INVARIANT, what));
        }
    }
    Ok(())
}

/// The first R members whose next token is nearest, clockwise from a slot on.
fn successors(ring: &Ring, slot: Slot, is: fn(MemberState) -> bool) -> Vec<NodeId> {
    let size = u32::from(ring.size());
    let distance = |member: &Member| {
        let tokens = member.tokens.iter();
        tokens.map(|token| (u32::from(token.0) + size - u32::from(slot.0)) % size).min()
    };
    let members = ring.members().iter().filter(|(_, member)| is(member.state));
    let mut nearest: Vec<(Option<u32>, NodeId)> =
        members.map(|(id, member)| (distance(member), *id)).collect();
    nearest.sort_unstable();
    nearest.truncate(ring.replication());
    nearest.into_iter().map(|(_, id)| id).collect()
}
