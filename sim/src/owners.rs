//! Each slot is owned by its first R distinct successors on the ring. Looked at for each ring that a
//! node adopts, by the distance from the slot to each member's next token, and not by a walk over tokens
//! as the ring itself does it.

use harness::{violation::Violation, world::INVARIANT};
use kv::core::{
    ring::{Member, MemberState, Ring},
    types::{NodeId, Slot},
};

/// The owners of a slot before a change and after it, as something says they are. The old ones are in the order
/// of the ring, and the new ones are a set.
type Owners = (Vec<NodeId>, Vec<NodeId>);

/// Looks at the owners that a ring says its slots have.
///
/// # Errors
///
/// A slot has other owners than its successors.
pub fn check(ring: &Ring) -> Result<(), Violation> {
    check_all(ring, |slot| {
        let owners = ring.owners(slot);
        let old = owners.members(owners.old()).collect();
        (old, owners.members(owners.new_set()).collect())
    })
}

/// Looks at the first and the last slot, and at those on both sides of some tokens of each member.
fn check_all(ring: &Ring, owners: impl Fn(Slot) -> Owners) -> Result<(), Violation> {
    let last = ring.size() - 1;
    let tokens = ring.members().values().flat_map(|member| {
        let turns = member.tokens.len().div_ceil(4).max(1);
        member.tokens.iter().step_by(turns)
    });
    let beside = tokens.flat_map(|token| [token.0, token.0.saturating_add(1).min(last)]);
    for slot in beside.chain([0, last]).map(Slot) {
        let (has_old, mut has_new) = owners(slot);
        let old = successors(ring, slot, MemberState::is_old);
        let mut new = successors(ring, slot, MemberState::is_new);
        has_new.sort_unstable();
        new.sort_unstable();
        if has_old != old || has_new != new {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_that_are_not_the_successors_are_found() {
        let addresses: Vec<String> = (1..=5).map(|node| format!("node{node}:1")).collect();
        let ring = Ring::form(&addresses, 3, 256).unwrap();
        assert_eq!(check(&ring), Ok(()));
        let of = |slot: Slot| {
            let all = successors(&ring, slot, MemberState::is_old);
            (all.clone(), all)
        };
        assert_eq!(check_all(&ring, of), Ok(()));
        let wrong: [fn(Owners) -> Owners; 4] = [
            // In another order.
            |(mut old, new)| {
                old.swap(0, 1);
                (old, new)
            },
            // One too few, before or after.
            |(old, new)| (old[1..].to_vec(), new),
            |(old, new)| (old, new[1..].to_vec()),
            // Somebody else.
            |(old, mut new)| {
                new[0] = NodeId(9);
                (old, new)
            },
        ];
        for spoil in wrong {
            let violation = check_all(&ring, |slot| spoil(of(slot))).unwrap_err();
            assert_eq!(violation.property, INVARIANT);
        }
    }
}
