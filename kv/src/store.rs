//! The records of a shard, with one digest per slot.
//!
//! The only file of the core that hashes into tables. Their order is hidden: what is iterated comes
//! out sorted. A record is one entry of a slab; key and value share one text, which stays
//! within the entry while it is at most 24 bytes long and is one allocation beyond that.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use compact_str::CompactString;
use hashbrown::HashTable;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{
    clock::Timestamp,
    record::{Record, Version},
    types::{Key, NodeId, Slot, Value},
};

const NONE: u32 = u32::MAX;
const TOMBSTONE: u16 = 1 << 15;

/// One record. Records of a slot are linked, newest key first. One line of the processor's cache each:
/// a lookup then waits for memory once.
#[derive(Clone)]
#[repr(align(64))]
struct Item {
    timestamp: Timestamp,
    node: NodeId,
    next: u32,
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
        let live = self.key_len & TOMBSTONE == 0;
        let value = live.then(|| Value::trusted(&self.text[usize::from(self.key_len)..]));
        Record { version: self.version(), value }
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
#[derive(Clone, Copy)]
struct SlotState {
    slot: Slot,
    digest: u64,
    head: u32,
    records: u32,
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
        let (at, before) = match self.find(key) {
            Some(at) => {
                let item = &self.items[at];
                if !record.wins_over(item.version()) {
                    return false;
                }
                self.live -= usize::from(item.key_len & TOMBSTONE == 0);
                (at, mixed(key_hash, item.version()))
            }
            None => (self.insert(slot, key), 0),
        };
        self.items[at].fill(key, record);
        self.live += usize::from(record.value.is_some());
        self.slot_mut(slot).digest ^= before ^ mixed(key_hash, record.version);
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
        let (page, is_last) = self.page(slot, after, most);
        (page.into_iter().map(|(key, record)| (key, record.version)).collect(), is_last)
    }

    /// The next few records of a slot behind a key, ascending by key; and whether they are the last.
    pub fn page(&self, slot: Slot, after: Option<&Key>, most: usize) -> (Vec<(Key, Record)>, bool) {
        let is_behind = |item: &&Item| after.is_none_or(|after| item.key() > after.as_str());
        let mut items: Vec<&Item> = self.chain(slot).filter(is_behind).collect();
        let is_last = items.len() <= most;
        if !is_last {
            // A slot may hold a million keys of one tag: only the page is sorted.
            items.select_nth_unstable_by(most, |a, b| a.key().cmp(b.key()));
            items.truncate(most);
        }
        items.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        let page = items.iter().map(|item| (Key::trusted(item.key()), item.record()));
        (page.collect(), is_last)
    }

    /// Forgets all records of a slot: their keys, ascending.
    pub fn drop_slot(&mut self, slot: Slot) -> Vec<Key> {
        let Ok(entry) = self.slots.find_entry(slot_hash(slot), |state| state.slot == slot) else {
            return Vec::new();
        };
        let mut at = entry.remove().0.head;
        let mut keys = Vec::new();
        while at != NONE {
            let item = &self.items[at as usize];
            let hash = xxh3_64_with_seed(item.key().as_bytes(), self.seed);
            if let Ok(entry) = self.by_key.find_entry(hash, |other| *other == at) {
                entry.remove();
            }
            keys.push(Key::trusted(item.key()));
            self.live -= usize::from(item.key_len & TOMBSTONE == 0);
            self.free.push(at);
            let item = &mut self.items[at as usize];
            item.text = CompactString::const_new("");
            item.key_len = 0;
            at = std::mem::replace(&mut item.next, NONE);
        }
        keys.sort_unstable();
        keys
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
        let mut digest = 0;
        let mut records = 0;
        for item in self.chain(slot) {
            assert_eq!(item.slot, slot, "{:?} is linked into a foreign slot", item.key());
            assert!(self.find(item.key()).is_some(), "{:?} is not found by its key", item.key());
            digest ^= mixed(xxh3_64(item.key().as_bytes()), item.version());
            records += 1;
        }
        assert_eq!(digest, self.digest(slot), "the digest of {slot}");
        assert_eq!(records, self.slot(slot).map_or(0, |state| state.records), "records of {slot}");
    }

    /// Panics unless every slot is in order and no record is in two.
    pub fn check(&self) {
        self.slots.iter().for_each(|state| self.check_slot(state.slot));
        let linked: usize = self.slots.iter().map(|state| state.records as usize).sum();
        assert_eq!(linked, self.len(), "records that are in no slot");
        let live = self.items().filter(|item| item.key_len & TOMBSTONE == 0).count();
        assert_eq!(live, self.live, "live records");
    }

    fn find(&self, key: &str) -> Option<usize> {
        let hash = xxh3_64_with_seed(key.as_bytes(), self.seed);
        let found = self.by_key.find(hash, |at| self.items[*at as usize].key() == key);
        found.map(|at| *at as usize)
    }

    /// Adds an item that is still to be filled.
    fn insert(&mut self, slot: Slot, key: &str) -> usize {
        let next = u32::try_from(self.items.len()).expect("fewer than 2^32 records in a shard");
        let at = self.free.pop().unwrap_or(next);
        assert!(at != NONE, "fewer than 2^32 - 1 records in a shard");
        let hash = slot_hash(slot);
        let found = self.slots.find_entry(hash, |state| state.slot == slot);
        let next = match found {
            Ok(mut entry) => {
                entry.get_mut().records += 1;
                std::mem::replace(&mut entry.get_mut().head, at)
            }
            Err(_) => {
                let state = SlotState { slot, digest: 0, head: at, records: 1 };
                self.slots.insert_unique(hash, state, |state| slot_hash(state.slot));
                NONE
            }
        };
        let text = CompactString::const_new("");
        let (timestamp, node) = (Timestamp(0), NodeId(0));
        let item = Item { timestamp, node, next, slot, key_len: 0, text };
        match self.items.get_mut(at as usize) {
            Some(free) => *free = item,
            None => self.items.push(item),
        }
        let (seed, items) = (self.seed, &self.items);
        let hash = xxh3_64_with_seed(key.as_bytes(), seed);
        self.by_key.insert_unique(hash, at, |other| {
            xxh3_64_with_seed(items[*other as usize].key().as_bytes(), seed)
        });
        at as usize
    }

    fn slot(&self, slot: Slot) -> Option<&SlotState> {
        self.slots.find(slot_hash(slot), |state| state.slot == slot)
    }

    fn slot_mut(&mut self, slot: Slot) -> &mut SlotState {
        let found = self.slots.find_mut(slot_hash(slot), |state| state.slot == slot);
        found.expect("a slot with a record has a state")
    }

    fn chain(&self, slot: Slot) -> impl Iterator<Item = &Item> {
        let first = self.slot(slot).map_or(NONE, |state| state.head);
        let item = |at: u32| self.items.get(at as usize);
        std::iter::successors(item(first), move |before| item(before.next))
    }
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
    use crate::ring::slot_of;

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
        #![proptest_config(crate::properties::usual())]

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
