//! Anti-entropy: owners compare one digest per slot, then the versions of the slots that differ,
//! then exchange the records that differ. No step is remembered: whatever is lost is found anew at a
//! later tick.
//!
//! Source: DeCandia et al., "Dynamo" (2007), section 4.7; with a flat list in place of a Merkle tree,
//! since 16,384 digests are at most 128 KiB.

use std::collections::BTreeMap;

use super::Shard;
use crate::{
    env::{Env, Note},
    message::Body,
    record::{Record, Version},
    ring::slot_of,
    types::{Key, NodeId, Slot},
};

/// Versions in a message, and messages in answer to digests: an exchange is bounded whatever the
/// slots hold. The next tick goes on elsewhere.
const VERSIONS_PER_MESSAGE: usize = 256;
const MESSAGES_PER_EXCHANGE: usize = 16;
/// Records in a message.
const RECORDS_PER_MESSAGE: usize = 64;

impl Shard {
    /// Sends our digests to the next of the peers that own slots together with us.
    pub(super) fn sync_with_next_peer(&mut self, env: &mut impl Env) {
        let peers = self.ring.peers_of(self.config.node);
        self.sync_round = self.sync_round.wrapping_add(1);
        if peers.is_empty() {
            return;
        }
        let peer = peers[self.sync_round % peers.len()];
        let mut digests = self.store.digests();
        digests.retain(|(slot, _)| self.shares(*slot, peer));
        let (shard, shards) = (self.config.shard, self.config.shards);
        self.send(peer, Body::Digests { shard, shards, digests }, env);
    }

    /// Answers a peer's digests with our versions of the slots that differ.
    pub(super) fn compare_digests(
        &mut self,
        from: NodeId,
        shard: u16,
        shards: u16,
        theirs: &[(Slot, u64)],
        env: &mut impl Env,
    ) {
        let covered = |slot: Slot| shards > 0 && slot.0 % shards == shard;
        let mut slots: BTreeMap<Slot, (u64, u64)> = BTreeMap::new();
        for (slot, digest) in theirs.iter().filter(|(slot, _)| slot.0 < self.ring.size()) {
            slots.entry(*slot).or_default().0 = *digest;
        }
        for (slot, digest) in self.store.digests() {
            slots.entry(slot).or_default().1 = digest;
        }
        let is_mine = |slot: Slot| slot.0 % self.config.shards == self.config.shard;
        let differ = slots.into_iter().filter(|(slot, (theirs, ours))| {
            theirs != ours && is_mine(*slot) && covered(*slot) && self.shares(*slot, from)
        });
        let mut differ: Vec<Slot> = differ.map(|(slot, _)| slot).collect();
        if differ.is_empty() {
            return;
        }
        env.note(Note::SlotDiffered);
        // Many slots may differ, and each may be large: no more is looked at than is sent.
        let first = self.sync_round.wrapping_mul(MESSAGES_PER_EXCHANGE) % differ.len();
        differ.rotate_left(first);
        let mut messages = Vec::new();
        for slot in differ {
            let room = MESSAGES_PER_EXCHANGE - messages.len();
            if room == 0 {
                break;
            }
            self.versions_of(slot, room, &mut messages);
        }
        for body in messages {
            self.send(from, body, env);
        }
    }

    /// Our versions of a slot, in ranges that together cover every possible key; of a slot with more than so
    /// many ranges, some that follow each other, and others in another round.
    fn versions_of(&self, slot: Slot, room: usize, messages: &mut Vec<Body>) {
        let window = room * VERSIONS_PER_MESSAGE;
        let windows = self.store.count(slot).div_ceil(window).max(1);
        // Spread, for peers take turns in rounds too.
        let turn = self.sync_round.wrapping_mul(0x9e37_79b9) >> 8;
        let (mut after, all, is_end) = self.store.window(slot, turn % windows * window, window);
        let mut chunks = all.chunks(VERSIONS_PER_MESSAGE).peekable();
        loop {
            let versions = chunks.next().map(<[_]>::to_vec).unwrap_or_default();
            let is_last = chunks.peek().is_none();
            let is_open = is_last && is_end;
            let upto = versions.last().map(|(key, _)| key.clone()).filter(|_| !is_open);
            messages.push(Body::Versions { slot, after, upto: upto.clone(), versions });
            if is_last {
                return;
            }
            after = upto;
        }
    }

    /// Answers a peer's versions with what it lacks, and asks for what we lack.
    pub(super) fn compare_versions(
        &mut self,
        from: NodeId,
        slot: Slot,
        after: Option<Key>,
        upto: Option<Key>,
        theirs: &[(Key, Version)],
        env: &mut impl Env,
    ) {
        if !self.shares(slot, from) {
            return;
        }
        let theirs: BTreeMap<&Key, Version> = theirs.iter().map(|(k, v)| (k, *v)).collect();
        let ours: BTreeMap<Key, Version> =
            self.store.range(slot, after.as_ref(), upto.as_ref()).into_iter().collect();
        let newer = ours.iter().filter(|(key, v)| theirs.get(key).is_none_or(|theirs| *v > theirs));
        let send: Vec<Key> = newer.map(|(key, _)| key.clone()).collect();
        let older = theirs.iter().filter(|(key, v)| ours.get(**key).is_none_or(|ours| *v > ours));
        let want: Vec<Key> = older.map(|(key, _)| (*key).clone()).collect();
        self.send_records(from, slot, &send, env);
        for want in want.chunks(VERSIONS_PER_MESSAGE) {
            let (records, want) = (Vec::new(), want.to_vec());
            self.send(from, Body::Delta { slot, records, want }, env);
        }
    }

    /// Merges what a peer had newer, and sends it what it asks for.
    pub(super) fn delta(
        &mut self,
        from: NodeId,
        slot: Slot,
        records: Vec<(Key, Record)>,
        want: Vec<Key>,
        env: &mut impl Env,
    ) {
        if slot.0 >= self.ring.size() || !self.owns(slot, env) {
            return;
        }
        for (key, record) in records {
            // A key is merged where it belongs, whatever the message says.
            if slot_of(key.as_str(), self.ring.size()) == slot
                && self.merge(slot, &key, &record, env)
            {
                env.note(Note::RecordSynced);
            }
        }
        self.send_records(from, slot, &want, env);
    }

    pub(super) fn send_records(&self, to: NodeId, slot: Slot, keys: &[Key], env: &mut impl Env) {
        for keys in keys.chunks(RECORDS_PER_MESSAGE) {
            let record = |key: &Key| self.store.get(key.as_str()).map(|r| (key.clone(), r));
            let records: Vec<(Key, Record)> = keys.iter().filter_map(record).collect();
            if !records.is_empty() {
                self.send(to, Body::Delta { slot, records, want: Vec::new() }, env);
            }
        }
    }

    /// Whether this node and a peer both own a slot, now or when the ring is final.
    fn shares(&self, slot: Slot, peer: NodeId) -> bool {
        if slot.0 >= self.ring.size() {
            return false;
        }
        let owners = self.ring.owners(slot);
        owners.position(self.config.node).is_some() && owners.position(peer).is_some()
    }
}
