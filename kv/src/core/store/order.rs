//! The order of a large slot's records: a search tree whose links lie in the records themselves, so that a
//! record costs nothing more than it does in a small slot.
//!
//! Source: Seidel and Aragon, "Randomized Search Trees" (1996). Each record has a rank, a number that looks
//! random, and lies above all of lower ranks: whatever keys come in whatever order, the tree is as deep as if they had
//! come shuffled, about 1.4 log2 n on the way to one of them. The ranks come from the places of the records in memory and from
//! the store's seed, which nobody outside knows.

/// No record.
pub(super) const NONE: u32 = u32::MAX;

/// Where a record's subtrees are: keys before it, and keys behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Links {
    pub(super) left: u32,
    pub(super) right: u32,
}

impl Links {
    /// No subtrees.
    pub(super) const NONE: Self = Self { left: NONE, right: NONE };
}

/// Records, by their places in memory.
pub(super) trait Records {
    /// A record's key.
    fn key(&self, at: u32) -> &str;
    /// A record's links.
    fn links(&mut self, at: u32) -> &mut Links;
    /// A record's links, to look at.
    fn linked(&self, at: u32) -> Links;
}

/// A record's rank: another one for each place.
fn rank(at: u32, seed: u64) -> u32 {
    let mixed = at ^ (seed >> 32) as u32;
    let mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85eb_ca6b) ^ seed as u32;
    let mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
    mixed ^ (mixed >> 16)
}

/// Adds a record, whose key is not there yet, and returns the tree's new root.
pub(super) fn insert(records: &mut impl Records, seed: u64, root: u32, at: u32) -> u32 {
    let own = rank(at, seed);
    let (mut above, mut here) = (None, root);
    while here != NONE && rank(here, seed) > own {
        let is_left = records.key(at) < records.key(here);
        above = Some((here, is_left));
        let Links { left, right } = records.linked(here);
        here = if is_left { left } else { right };
    }
    let links = split(records, here, at);
    *records.links(at) = links;
    match above {
        None => return at,
        Some((above, true)) => records.links(above).left = at,
        Some((above, false)) => records.links(above).right = at,
    }
    root
}

/// Splits a subtree by the key of a record that is to lie above it.
fn split(records: &mut impl Records, mut here: u32, by: u32) -> Links {
    let mut halves = Links::NONE;
    // Where the next part of each half is to hang.
    let (mut before, mut behind) = (NONE, NONE);
    while here != NONE {
        let links = records.linked(here);
        if records.key(here) < records.key(by) {
            match before {
                NONE => halves.left = here,
                before => records.links(before).right = here,
            }
            before = here;
            here = links.right;
        } else {
            match behind {
                NONE => halves.right = here,
                behind => records.links(behind).left = here,
            }
            behind = here;
            here = links.left;
        }
    }
    if before != NONE {
        records.links(before).right = NONE;
    }
    if behind != NONE {
        records.links(behind).left = NONE;
    }
    halves
}

/// Takes the first record out of a tree that is not empty: it, and the tree's new root.
pub(super) fn take_first(records: &mut impl Records, root: u32) -> (u32, u32) {
    let (mut above, mut first) = (NONE, root);
    loop {
        let left = records.linked(first).left;
        if left == NONE {
            break;
        }
        (above, first) = (first, left);
    }
    let rest = records.linked(first).right;
    match above {
        NONE => (first, rest),
        above => {
            records.links(above).left = rest;
            (first, root)
        }
    }
}

/// The records of a tree behind a key, ascending.
pub(super) struct Walk<'a, R> {
    records: &'a R,
    /// Those that are next once what lies below them is done, the nearest last.
    next: Vec<u32>,
}

/// Begins behind a key, or with the first record.
pub(super) fn walk<'a, R: Records>(records: &'a R, root: u32, after: Option<&str>) -> Walk<'a, R> {
    let (mut next, mut here) = (Vec::new(), root);
    while here != NONE {
        let Links { left, right } = records.linked(here);
        here = match after.is_none_or(|after| records.key(here) > after) {
            true => {
                next.push(here);
                left
            }
            false => right,
        };
    }
    Walk { records, next }
}

impl<R: Records> Iterator for Walk<'_, R> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let at = self.next.pop()?;
        let mut here = self.records.linked(at).right;
        while here != NONE {
            self.next.push(here);
            here = self.records.linked(here).left;
        }
        Some(at)
    }
}

/// Panics unless the keys ascend and each record lies above those of lower ranks. Returns how many there are.
pub(super) fn check(records: &impl Records, seed: u64, root: u32) -> usize {
    let mut count = 0;
    let mut last: Option<u32> = None;
    for at in walk(records, root, None) {
        let Links { left, right } = records.linked(at);
        for below in [left, right].into_iter().filter(|below| *below != NONE) {
            assert!(rank(below, seed) < rank(at, seed), "a record lies below one of lower rank");
        }
        let is_behind = last.is_none_or(|last| records.key(last) < records.key(at));
        assert!(is_behind, "{:?} is not in order", records.key(at));
        last = Some(at);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Which key comes as the nth.
    type Order = fn(usize) -> usize;

    /// Counts how often a record is looked at.
    #[derive(Default)]
    struct Counted {
        records: Vec<(String, Links)>,
        looked_at: Cell<usize>,
    }

    impl Counted {
        fn look(&self) {
            self.looked_at.set(self.looked_at.get() + 1);
        }
    }

    impl Records for Counted {
        fn key(&self, at: u32) -> &str {
            self.look();
            &self.records[at as usize].0
        }

        fn links(&mut self, at: u32) -> &mut Links {
            self.look();
            &mut self.records[at as usize].1
        }

        fn linked(&self, at: u32) -> Links {
            self.look();
            self.records[at as usize].1
        }
    }

    fn tree(keys: impl IntoIterator<Item = String>, seed: u64) -> (Counted, u32) {
        let (mut records, mut root) = (Counted::default(), NONE);
        for (at, key) in (0..).zip(keys) {
            records.records.push((key, Links::NONE));
            root = insert(&mut records, seed, root, at);
        }
        (records, root)
    }

    #[test]
    fn no_record_costs_more_than_some_looks_whatever_the_order_in_which_they_come() {
        const KEYS: usize = 50_000;
        // Twice the logarithm is the mean of a random tree, and each step looks three times.
        let most = 3 * 2 * KEYS.ilog2() as usize;
        let text = |n: usize| format!("{{tag}}{n:010}");
        let orders: [(&str, Order); 5] = [
            ("ascending", |n| n),
            ("descending", |n| KEYS - n),
            ("from both ends", |n| if n % 2 == 0 { n } else { 2 * KEYS - n }),
            ("shuffled", |n| (n * 7_919) % KEYS),
            ("by ranks of another seed", |n| rank(u32::try_from(n).unwrap(), 0) as usize),
        ];
        for (name, order) in orders {
            let (mut records, root) = tree((0..KEYS).map(|n| text(order(n))), 0x1234_5678_9abc);
            let looks = records.looked_at.take();
            assert!(looks < KEYS * most, "{name}: {looks} looks to insert");
            assert_eq!(check(&records, 0x1234_5678_9abc, root), KEYS);
            records.looked_at.take();
            for after in (0..KEYS).step_by(97).map(text) {
                walk(&records, root, Some(&after)).take(100).for_each(drop);
                let looks = records.looked_at.take();
                assert!(looks < 2 * most + 3 * 100, "{name}: {looks} looks for a page");
            }
            let mut rest = root;
            while rest != NONE {
                let (first, root) = take_first(&mut records, rest);
                *records.links(first) = Links::NONE;
                rest = root;
            }
            let looks = records.looked_at.take();
            assert!(looks < KEYS * most, "{name}: {looks} looks to take all");
        }
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_set(
            keys in prop::collection::hash_set(0u32..2_000, 0..300),
            taken in 0usize..300,
            after in 0u32..2_000,
            seed: u64,
        ) {
            let keys: Vec<String> = keys.into_iter().map(|key| key.to_string()).collect();
            let (mut records, mut root) = tree(keys.clone(), seed);
            let mut model: BTreeSet<String> = keys.into_iter().collect();
            for _ in 0..taken.min(model.len()) {
                let (first, rest) = take_first(&mut records, root);
                prop_assert_eq!(Some(records.key(first).to_string()), model.pop_first());
                root = rest;
            }
            prop_assert_eq!(check(&records, seed, root), model.len());
            let after = after.to_string();
            let behind: Vec<&str> =
                walk(&records, root, Some(&after)).map(|at| records.key(at)).collect();
            let expected: Vec<&str> =
                model.iter().map(String::as_str).filter(|key| **key > *after).collect();
            prop_assert_eq!(behind, expected);
        }
    }
}
