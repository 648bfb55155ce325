//! The tokens of the members that count, and what each of these has by them.

use crate::core::types::Slot;

/// A token of a member, which is named by a small number of its own.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    pub at: usize,
    pub member: usize,
}

/// Tokens in the order of the ring. Slots may be taken that have no token here: those of members
/// that leave.
#[derive(Clone, Debug)]
pub struct Layout {
    size: usize,
    members: usize,
    tokens: Vec<Token>,
    taken: Vec<bool>,
}

impl Layout {
    /// No tokens, of no members.
    pub fn new(size: u16) -> Self {
        let size = usize::from(size);
        Self { size, members: 0, tokens: Vec::new(), taken: vec![false; size] }
    }

    /// Takes a slot away. False if it is none, or taken.
    pub fn take(&mut self, slot: Slot) -> bool {
        let slot = self.taken.get_mut(usize::from(slot.0));
        slot.is_some_and(|taken| !std::mem::replace(taken, true))
    }

    /// One more member, without tokens.
    pub fn add_member(&mut self) -> usize {
        self.members += 1;
        self.members - 1
    }

    /// A token for a member, at a slot that the caller took, or knows to be free.
    pub fn insert(&mut self, at: usize, member: usize) {
        self.taken[at] = true;
        let place = self.tokens.partition_point(|token| token.at < at);
        self.tokens.insert(place, Token { at, member });
    }

    pub fn size(&self) -> usize {
        self.size
    }

    pub fn members(&self) -> usize {
        self.members
    }

    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// How many slots no token is at.
    pub fn free(&self) -> usize {
        self.taken.iter().filter(|taken| !**taken).count()
    }

    /// The slots of a member's tokens, ascending.
    pub fn tokens_of(&self, member: usize) -> Vec<Slot> {
        let own = self.tokens.iter().filter(|token| token.member == member);
        own.map(|token| Slot(u16::try_from(token.at).expect("below the ring's size"))).collect()
    }

    /// The token before that at `index`, going round.
    pub fn before(&self, index: usize) -> usize {
        (index + self.tokens.len() - 1) % self.tokens.len()
    }

    /// How many slots belong to the token at `index` first: those after the token before it.
    pub fn gap(&self, index: usize) -> usize {
        let from = self.tokens[self.before(index)].at;
        let gap = (self.tokens[index].at + self.size - from) % self.size;
        if gap == 0 { self.size } else { gap }
    }

    /// The free slot nearest to the one `steps` after `from`, and after `from` by less than `within`;
    /// how far after.
    pub fn free_near(&self, from: usize, steps: usize, within: usize) -> Option<usize> {
        let is_free = |steps: &usize| !self.taken[(from + steps) % self.size];
        let down = (1..=steps.min(within.saturating_sub(1))).rev().find(is_free);
        let up = (steps + 1..within).find(is_free);
        match (down, up) {
            (Some(down), Some(up)) if up - steps < steps - down => Some(up),
            (Some(down), _) => Some(down),
            (None, up) => up,
        }
    }

    /// For each member, of how many slots it is among the first `depth` distinct members.
    pub fn shares(&self, depth: usize) -> Vec<usize> {
        let mut shares = vec![0; self.members];
        let mut seen = vec![usize::MAX; self.members];
        for first in 0..self.tokens.len() {
            let gap = self.gap(first);
            let mut found = 0;
            for token in self.tokens[first..].iter().chain(&self.tokens[..first]) {
                if found == depth {
                    break;
                }
                if seen[token.member] != first {
                    seen[token.member] = first;
                    shares[token.member] += gap;
                    found += 1;
                }
            }
        }
        shares
    }

    /// For each token, who no longer owns the slots that belong to it first if `joiner` becomes an
    /// owner: the last of `depth` distinct members. None where `joiner` is an owner, or there are
    /// fewer members.
    pub fn losers(&self, depth: usize, joiner: usize) -> Vec<Option<usize>> {
        let count = self.tokens.len();
        let member = |index: usize| self.tokens[index % count].member;
        // A window from each token to the last of its owners: its end never goes back.
        let mut inside = vec![0u32; self.members];
        let (mut distinct, mut end) = (0, 0);
        let mut losers = Vec::with_capacity(count);
        for first in 0..count {
            while distinct < depth && end < first + count {
                distinct += usize::from(inside[member(end)] == 0);
                inside[member(end)] += 1;
                end += 1;
            }
            let is_none = distinct < depth || inside[joiner] > 0;
            losers.push((!is_none).then(|| member(end - 1)));
            inside[member(first)] -= 1;
            distinct -= usize::from(inside[member(first)] == 0);
        }
        losers
    }
}
