//! The records of a shard, with one digest per slot.
//!
//! The only file of the core that hashes into tables. Their order is hidden: what is iterated comes
//! out sorted. A record is one entry of a slab; key and value share one text, which stays
//! within the entry while it is at most 24 bytes long and is one allocation beyond that.
//!
//! The records of a slot are a chain while they are few, and a search tree (`order.rs`) once they are many: a
//! slot may hold a million keys of one tag, and whoever wants the next few of them must not look at all.

mod order;

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use compact_str::CompactString;
use hashbrown::HashTable;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use self::order::{Links, NONE, Records};
use crate::core::{
    record::{Record, Version},
    time::Timestamp,
    types::{Key, NodeId, Slot, Value},
};

const TOMBSTONE: u16 = 1 << 15;
/// The records of a slot that are a chain at most. Who wants the next few looks at all of a chain; in a tree every
/// new key costs some looks at others. A slot has so many once the cluster has eight million keys.
const LONGEST_CHAIN: u32 = 512;

/// One record. One line of the processor's cache each: a lookup then waits for memory once.
#[derive(Clone)]
#[repr(align(64))]
struct Item {
    timestamp: Timestamp,
    node: NodeId,
    /// In a tree; in a chain the next one is at the left.
    links: Links,
    slot: Slot,
    /// The key's bytes; the highest bit marks a tombstone.
    key_len: u16,
    /// The key, then the value.
    text: CompactString,
}

impl Item {
    fn key(&self) -> &str {
        &self.text[..usize::from(self.key_len & !TOMBSTONE)]
    }

    fn version(&self) -> Version {
        Version { timestamp: self.timestamp, node: self.node }
    }

    fn record(&self) -> Record {
        let value = self.is_live().then(|| Value::trusted(&self.text[usize::from(self.key_len)..]));
        Record { version: self.version(), value }
    }

    fn is_live(&self) -> bool {
        self.key_len & TOMBSTONE == 0
    }

    fn fill(&mut self, key: &str, record: &Record) {
        let value = record.value.as_ref().map_or("", Value::as_str);
        let mark = if record.value.is_some() { 0 } else { TOMBSTONE };
        let length = u16::try_from(key.len()).expect("keys are at most MAX_TEXT_BYTES long");
        // Kept by all worlds but a corrupted one: the mark has a bit of its own.
        assert!(length & TOMBSTONE == 0, "a key of {length} bytes");
        self.key_len = length | mark;
        self.timestamp = record.version.timestamp;
        self.node = record.version.node;
        let mut text = CompactString::with_capacity(key.len() + value.len());
        text.push_str(key);
        text.push_str(value);
        self.text = text;
    }
}

/// What is known of a slot that has records.
#[derive(Clone, Copy, Debug)]
struct SlotState {
    slot: Slot,
    digest: u64,
    /// The first of the chain, or the root of the tree.
    head: u32,
    records: u32,
    is_tree: bool,
}

impl Records for Vec<Item> {
    fn key(&self, at: u32) -> &str {
        self[at as usize].key()
    }

    fn links(&mut self, at: u32) -> &mut Links {
        &mut self[at as usize].links
    }

    fn linked(&self, at: u32) -> Links {
        self[at as usize].links
    }
}

/// The records of a shard.
#[derive(Clone)]
pub struct Store {
    seed: u64,
    items: Vec<Item>,
    by_key: HashTable<u32>,
    slots: HashTable<SlotState>,
    /// Items that hold nothing, to be used again.
    free: Vec<u32>,
    live: usize,
}

impl Store {
    /// An empty store. The seed is the world's: it decides where keys lie, and nothing else.
    pub fn new(seed: u64) -> Self {
        let (by_key, slots) = (HashTable::new(), HashTable::new());
        Self { seed, items: Vec::new(), by_key, slots, free: Vec::new(), live: 0 }
    }

    /// Records, tombstones included.
    pub fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records that are not tombstones.
    pub fn live(&self) -> usize {
        self.live
    }

    /// The record of a key.
    pub fn get(&self, key: &str) -> Option<Record> {
        self.find(key).map(|at| self.items[at].record())
    }

    /// The version of a key.
    pub fn version(&self, key: &str) -> Option<Version> {
        self.find(key).map(|at| self.items[at].version())
    }

    /// Merges a record: true when it won over what was there.
    pub fn merge(&mut self, slot: Slot, key: &str, record: &Record) -> bool {
        let key_hash = xxh3_64(key.as_bytes());
        let Some(at) = self.find(key) else {
            let at = self.add(slot, key, record);
            self.link(slot, at, mixed(key_hash, record.version));
            return true;
        };
        let item = &mut self.items[at];
        let before = item.version();
        if !record.wins_over(before) {
            return false;
        }
        self.live -= usize::from(item.is_live());
        item.fill(key, record);
        self.live += usize::from(record.value.is_some());
        let change = mixed(key_hash, before) ^ mixed(key_hash, record.version);
        self.slot_mut(slot).digest ^= change;
        true
    }

    /// The digest of a slot: equal on two replicas when (but for a collision of 64-bit hashes) they
    /// hold the same versions of the same keys. Zero for a slot without records.
    pub fn digest(&self, slot: Slot) -> u64 {
        self.slot(slot).map_or(0, |state| state.digest)
    }

    /// The slots that have records, with their digests, ascending.
    pub fn digests(&self) -> Vec<(Slot, u64)> {
        let mut all: Vec<_> = self.slots.iter().map(|state| (state.slot, state.digest)).collect();
        all.sort_unstable();
        all
    }

    /// How many records a slot has.
    pub fn count(&self, slot: Slot) -> usize {
        self.slot(slot).map_or(0, |state| state.records as usize)
    }

    /// The next few versions of a slot behind a key, ascending by key; and whether they are the last.
    pub fn versions(
        &self,
        slot: Slot,
        after: Option<&Key>,
        most: usize,
    ) -> (Vec<(Key, Version)>, bool) {
        self.next(slot, after, most, Item::version)
    }

    /// The next few records of a slot behind a key, ascending by key; and whether they are the last.
    pub fn page(&self, slot: Slot, after: Option<&Key>, most: usize) -> (Vec<(Key, Record)>, bool) {
        self.next(slot, after, most, Item::record)
    }

    fn next<T>(
        &self,
        slot: Slot,
        after: Option<&Key>,
        most: usize,
        of: impl Fn(&Item) -> T,
    ) -> (Vec<(Key, T)>, bool) {
        let Some(state) = self.slot(slot) else { return (Vec::new(), true) };
        let after = after.map(Key::as_str);
        let item = |at: u32| &self.items[at as usize];
        let shown = |item: &Item| (Key::trusted(item.key()), of(item));
        if state.is_tree {
            let mut items = order::walk(&self.items, state.head, after);
            let page = items.by_ref().take(most).map(|at| shown(item(at))).collect();
            return (page, items.next().is_none());
        }
        let is_behind = |item: &&Item| after.is_none_or(|after| item.key() > after);
        let mut items: Vec<&Item> = self.chain(state.head).filter(is_behind).collect();
        let is_last = items.len() <= most;
        if !is_last {
            items.select_nth_unstable_by(most, |a, b| a.key().cmp(b.key()));
            items.truncate(most);
        }
        items.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        (items.into_iter().map(shown).collect(), is_last)
    }

    /// Forgets some records of a slot, all of them in the end: their keys, ascending.
    pub fn drop_some(&mut self, slot: Slot, most: usize) -> Vec<Key> {
        let mut keys = Vec::new();
        while let Some(mut state) = self.slot(slot).copied().filter(|_| keys.len() < most) {
            let at;
            (at, state.head) = match state.is_tree {
                true => order::take_first(&mut self.items, state.head),
                false => (state.head, self.items[state.head as usize].links.left),
            };
            state.records -= 1;
            let (key, part) = self.forget(at);
            state.digest ^= part;
            keys.push(key);
            match state.records {
                0 => {
                    let found = self.slots.find_entry(slot_hash(slot), |state| state.slot == slot);
                    found.expect("a slot with a record has a state").remove();
                }
                _ => *self.slot_mut(slot) = state,
            }
        }
        keys.sort_unstable();
        keys
    }

    /// Frees an item that is in no slot any more: its key, and its part of the slot's digest.
    fn forget(&mut self, at: u32) -> (Key, u64) {
        let item = &mut self.items[at as usize];
        let (key, is_live) = (Key::trusted(item.key()), item.is_live());
        let part = mixed(xxh3_64(item.key().as_bytes()), item.version());
        let hash = xxh3_64_with_seed(item.key().as_bytes(), self.seed);
        item.text = CompactString::const_new("");
        item.key_len = 0;
        item.links = Links::NONE;
        let entry = self.by_key.find_entry(hash, |other| *other == at);
        entry.expect("a record is found by its key").remove();
        self.live -= usize::from(is_live);
        self.free.push(at);
        (key, part)
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.by_key.iter().map(|at| &self.items[*at as usize])
    }

    /// All records, ascending by key.
    pub fn records(&self) -> Vec<(Key, Record)> {
        let mut all: Vec<(Key, Record)> =
            self.items().map(|item| (Key::trusted(item.key()), item.record())).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Panics unless the digest of a slot is that of its records, and each is found by its key.
    pub fn check_slot(&self, slot: Slot) {
        let Some(state) = self.slot(slot) else { return };
        let places: Vec<u32> = match state.is_tree {
            true => {
                order::check(&self.items, self.seed, state.head);
                order::walk(&self.items, state.head, None).collect()
            }
            false => self.places(state.head).collect(),
        };
        let mut digest = 0;
        for at in &places {
            let item = &self.items[*at as usize];
            assert_eq!(item.slot, slot, "{:?} is linked into a foreign slot", item.key());
            assert!(self.find(item.key()).is_some(), "{:?} is not found by its key", item.key());
            digest ^= mixed(xxh3_64(item.key().as_bytes()), item.version());
        }
        assert_eq!(digest, state.digest, "the digest of {slot}");
        assert_eq!(places.len(), state.records as usize, "records of {slot}");
    }

    /// Panics unless every slot is in order and no record is in two.
    pub fn check(&self) {
        self.slots.iter().for_each(|state| self.check_slot(state.slot));
        let linked: usize = self.slots.iter().map(|state| state.records as usize).sum();
        assert_eq!(linked, self.len(), "records that are in no slot");
        let live = self.items().filter(|item| item.is_live()).count();
        assert_eq!(live, self.live, "live records");
    }

    fn find(&self, key: &str) -> Option<usize> {
        let hash = xxh3_64_with_seed(key.as_bytes(), self.seed);
        let found = self.by_key.find(hash, |at| self.items[*at as usize].key() == key);
        found.map(|at| *at as usize)
    }

    /// Adds a record of a key that is not there, in no slot yet.
    fn add(&mut self, slot: Slot, key: &str, record: &Record) -> u32 {
        let next = u32::try_from(self.items.len()).expect("fewer than 2^32 records in a shard");
        let at = self.free.pop().unwrap_or(next);
        assert!(at != NONE, "fewer than 2^32 - 1 records in a shard");
        let (timestamp, node) = (Timestamp(0), NodeId(0));
        let text = CompactString::const_new("");
        let mut item = Item { timestamp, node, links: Links::NONE, slot, key_len: 0, text };
        item.fill(key, record);
        self.live += usize::from(record.value.is_some());
        match self.items.get_mut(at as usize) {
            Some(free) => *free = item,
            None => self.items.push(item),
        }
        let (seed, items) = (self.seed, &self.items);
        let hash = xxh3_64_with_seed(key.as_bytes(), seed);
        self.by_key.insert_unique(hash, at, |other| {
            xxh3_64_with_seed(items[*other as usize].key().as_bytes(), seed)
        });
        at
    }

    /// Adds an item to its slot, with its part of the slot's digest.
    fn link(&mut self, slot: Slot, at: u32, part: u64) {
        let hash = slot_hash(slot);
        let Ok(mut entry) = self.slots.find_entry(hash, |state| state.slot == slot) else {
            let state = SlotState { slot, digest: part, head: at, records: 1, is_tree: false };
            self.slots.insert_unique(hash, state, |state| slot_hash(state.slot));
            return;
        };
        let state = entry.get_mut();
        state.digest ^= part;
        state.records += 1;
        if !state.is_tree {
            self.items[at as usize].links.left = std::mem::replace(&mut state.head, at);
            if state.records > LONGEST_CHAIN {
                state.is_tree = true;
                state.head = grown(&mut self.items, self.seed, state.head);
            }
            return;
        }
        state.head = order::insert(&mut self.items, self.seed, state.head, at);
    }

    fn slot(&self, slot: Slot) -> Option<&SlotState> {
        self.slots.find(slot_hash(slot), |state| state.slot == slot)
    }

    fn slot_mut(&mut self, slot: Slot) -> &mut SlotState {
        let found = self.slots.find_mut(slot_hash(slot), |state| state.slot == slot);
        found.expect("a slot with a record has a state")
    }

    /// The places of a chain's items.
    fn places(&self, head: u32) -> impl Iterator<Item = u32> {
        let place = |at: u32| (at != NONE).then_some(at);
        std::iter::successors(place(head), move |at| place(self.items[*at as usize].links.left))
    }

    fn chain(&self, head: u32) -> impl Iterator<Item = &Item> {
        self.places(head).map(|at| &self.items[at as usize])
    }
}

/// Makes a tree of a chain: its root.
fn grown(items: &mut Vec<Item>, seed: u64, head: u32) -> u32 {
    let (mut root, mut next) = (NONE, head);
    while next != NONE {
        let at = next;
        next = std::mem::replace(&mut items[at as usize].links, Links::NONE).left;
        root = order::insert(items, seed, root, at);
    }
    root
}

fn slot_hash(slot: Slot) -> u64 {
    u64::from(slot.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A key's part of its slot's digest: the finalizer of SplitMix64 over the key's hash and version.
fn mixed(key_hash: u64, version: Version) -> u64 {
    let word = u64::from(version.node.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut z = key_hash ^ version.timestamp.0.rotate_left(32) ^ word;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        let same =
            |item: &Item| other.get(item.key()).is_some_and(|record| record == item.record());
        self.len() == other.len() && self.items().all(same)
    }
}

impl Eq for Store {}

impl Hash for Store {
    /// Hashes the digests: they cover keys and versions, and a version names one value.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digests().hash(state);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.records()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::core::ring::slot_of;

    const SIZE: u16 = 8;

    fn record(time: u64, node: u32, value: Option<&str>) -> Record {
        let version = Version { timestamp: Timestamp(time), node: NodeId(node) };
        Record { version, value: value.map(Value::trusted) }
    }

    fn put(store: &mut Store, key: &str, record: &Record) -> bool {
        store.merge(slot_of(key, SIZE), key, record)
    }

    #[test]
    fn an_item_is_one_cache_line() {
        assert_eq!(size_of::<Item>(), 64);
    }

    #[test]
    fn ten_thousand_keys_of_one_tag_come_out_in_order_and_may_come_back() {
        let mut store = Store::new(3);
        let slot = slot_of("{tag}", SIZE);
        let mut model = BTreeMap::new();
        for round in 1..=2 {
            for number in 0..10_000u64 {
                let key = format!("{{tag}}{}", number * 7_919 % 10_007);
                let new = record(round, 1, Some("a value that is too long for the item"));
                assert!(put(&mut store, &key, &new));
                model.insert(Key::trusted(&key), new);
            }
            store.check();
            let (mut all, mut after) = (Vec::new(), None);
            while let (page, false) = store.page(slot, after.as_ref(), 256) {
                after = page.last().map(|(key, _)| key.clone());
                all.extend(page);
            }
            all.extend(store.page(slot, after.as_ref(), 256).0);
            assert!(all.iter().map(|(key, record)| (key, record)).eq(&model));
            assert_eq!(store.drop_some(slot, 3_000).len(), 3_000);
            store.check();
            model = model.into_iter().skip(3_000).collect();
        }
    }

    #[test]
    fn empty_keys_and_values_are_stored_like_others() {
        let mut store = Store::new(1);
        assert!(put(&mut store, "", &record(1, 1, Some(""))));
        assert_eq!(store.get(""), Some(record(1, 1, Some(""))));
        assert!(put(&mut store, "", &record(2, 1, None)));
        assert_eq!(store.get(""), Some(record(2, 1, None)));
        assert_eq!((store.len(), store.live()), (1, 0));
        store.check();
    }

    proptest! {
        #![proptest_config(crate::core::properties::usual())]

        /// Against a plain ordered map, with long and short texts.
        #[test]
        fn it_is_a_map_of_the_newest_records(
            steps in prop::collection::vec((0usize..12, 0u64..20, 0u32..3, 0usize..60), 0..200),
        ) {
            let mut store = Store::new(7);
            let mut model: BTreeMap<String, Record> = BTreeMap::new();
            for (key, time, node, length) in steps {
                let key = "k".repeat(key * 5);
                let value = format!("{time}/{node}/{}", "v".repeat(length));
                let new = record(time, node, (length % 7 != 0).then_some(value.as_str()));
                let wins = model.get(&key).is_none_or(|old| new.version > old.version);
                prop_assert_eq!(put(&mut store, &key, &new), wins);
                if wins {
                    model.insert(key.clone(), new);
                }
                prop_assert_eq!(store.get(&key), model.get(&key).cloned());
            }
            store.check();
            let all: Vec<(Key, Record)> =
                model.iter().map(|(key, record)| (Key::trusted(key), record.clone())).collect();
            prop_assert_eq!(store.records(), all);
        }

        #[test]
        fn pages_one_after_the_other_are_all_records_of_a_slot(
            keys in prop::collection::btree_set(0u32..1_000, 0..40),
            most in 1usize..20,
        ) {
            let mut store = Store::new(1);
            let keys: Vec<String> = keys.iter().map(|key| format!("{{tag}}{key}")).collect();
            for key in &keys {
                put(&mut store, key, &record(1, 1, Some("v")));
            }
            put(&mut store, "elsewhere", &record(1, 1, Some("v")));
            let slot = slot_of("{tag}", SIZE);
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let (page, is_last) = store.page(slot, after.as_ref(), most);
                prop_assert!(page.len() <= most && (is_last || page.len() == most));
                after = page.last().map(|(key, _)| key.clone());
                all.extend(page);
                if is_last {
                    break;
                }
            }
            prop_assert_eq!(store.count(slot), all.len());
            let versions: Vec<(Key, Version)> =
                all.iter().map(|(key, record)| (key.clone(), record.version)).collect();
            for first in 0..=versions.len() {
                let after = first.checked_sub(1).map(|at| &versions[at].0);
                let (some, is_last) = store.versions(slot, after, most);
                let upto = versions.len().min(first + most);
                prop_assert_eq!(&some, &versions[first..upto]);
                prop_assert_eq!(is_last, upto == versions.len());
            }
            let mut of_slot = store.records();
            of_slot.retain(|(key, _)| slot_of(key.as_str(), SIZE) == slot);
            prop_assert_eq!(all, of_slot);
        }

        /// Against a plain ordered map: few keys and many, of one tag and of others, dropped in pieces.
        #[test]
        fn a_slot_of_any_size_is_in_order_and_is_dropped_piece_by_piece(
            keys in 0u32..1_500,
            step in prop::sample::select(vec![1u32, 7, 389, 1_499]),
            (most, dropped) in (1usize..700, 100usize..700),
            after in 0u32..1_600,
        ) {
            let mut store = Store::new(u64::from(keys));
            let mut model: BTreeMap<Key, Record> = BTreeMap::new();
            for number in 0..keys {
                let key = format!("{{tag}}{}", u64::from(number) * u64::from(step) % 1_511);
                let new = record(u64::from(number) + 1, 1, (number % 5 != 0).then_some("v"));
                prop_assert!(put(&mut store, &key, &new));
                model.insert(Key::trusted(&key), new);
            }
            put(&mut store, "elsewhere", &record(1, 1, Some("v")));
            let slot = slot_of("{tag}", SIZE);
            store.check();
            prop_assert_eq!(store.count(slot), model.len());
            let after = Key::trusted(&format!("{{tag}}{after}"));
            let (page, is_last) = store.page(slot, Some(&after), most);
            let behind = model.iter().filter(|(key, _)| **key > after);
            let expected: Vec<(Key, Record)> =
                behind.clone().take(most).map(|(key, record)| (key.clone(), record.clone())).collect();
            prop_assert_eq!(page, expected);
            prop_assert_eq!(is_last, behind.count() <= most);
            let mut all = Vec::new();
            loop {
                let keys = store.drop_some(slot, dropped);
                store.check();
                prop_assert!(keys.len() == dropped || store.count(slot) == 0);
                if keys.is_empty() {
                    break;
                }
                keys.iter().for_each(|key| assert_eq!(store.get(key.as_str()), None));
                all.extend(keys);
            }
            all.sort();
            prop_assert_eq!(all, model.into_keys().collect::<Vec<_>>());
            prop_assert_eq!((store.len(), store.digest(slot)), (1, 0));
        }

        #[test]
        fn digests_depend_on_the_records_and_not_on_their_way_nor_on_the_seed(
            writes in prop::collection::vec((0usize..6, 1u64..9), 0..40),
        ) {
            let (mut one, mut other) = (Store::new(1), Store::new(2));
            let write = |store: &mut Store, (key, time): &(usize, u64)| {
                put(store, &format!("key{key}"), &record(*time, 1, Some("v")));
            };
            writes.iter().for_each(|w| write(&mut one, w));
            writes.iter().rev().for_each(|w| write(&mut other, w));
            prop_assert_eq!(one.digests(), other.digests());
            prop_assert!(one == other);
        }
    }
}
