//! Which tokens a member takes.

use crate::types::Slot;

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
