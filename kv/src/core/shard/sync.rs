//! Anti-entropy: owners compare one digest per slot, then the versions of the slots that differ,
//! then exchange the records that differ.
//!
//! A node compares with one peer in a *pass*: it sends its digests, hears which slots differ, and then goes
//! through these slots, a range of versions after the other, each as soon as the one before is answered. At
//! the end it knows that it had all that the peer has, or how much it lacked ([`super::behind`]). Each
//! message is about no more than a few hundred keys, whatever a slot holds. A pass that hears nothing asks again,
//! and is given up in the end; a later one finds what is left.
//!
//! Source: DeCandia et al., "Dynamo" (2007), section 4.7; with a flat list in place of a Merkle tree,
//! since 16,384 digests are at most 128 KiB.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    passes::{Comparisons, Cursor, IDLE_EXCHANGES, Pass, gcd, may_share},
    state::Shard,
};
use crate::core::{
    env::{Env, Note},
    message::{Compared, Range, ShardBody, SlotsAnswer, SlotsRequest},
    record::{Record, Version},
    ring::{MemberState, slot_of},
    time::Micros,
    types::{Key, NodeId, Slot},
};

/// Versions in a message, and records in its answer. Fewer where pages are small.
const MOST_VERSIONS: usize = 256;
/// Slots in a message.
const RANGES_PER_MESSAGE: usize = 64;
/// Records in a message.
const RECORDS_PER_MESSAGE: usize = 64;
/// Passes under way: those that wait for a dead peer must not keep the others from being compared.
const MOST_PASSES: usize = 4;
/// Ticks without an answer after which a peer is asked again, and after which a pass is given up.
const ASKED_AGAIN: u32 = 1;
const SILENT_TICKS: u32 = 6;
impl Shard {
    /// The peers that own slots together with us, and have to have what we have: on a joint ring the old owners.
    /// A new one pulls.
    pub(super) fn sync_peers(&self) -> Vec<NodeId> {
        let (me, members) = (self.config.node, self.ring.members());
        let is_old = |node: &NodeId| members.get(node).is_some_and(|member| member.state.is_old());
        match is_old(&me) {
            true => self.ring.peers_of(me).into_iter().filter(is_old).collect(),
            false => Vec::new(),
        }
    }

    /// Whether this node and a peer both own a slot, on a joint ring as old owners.
    fn shares(&self, slot: Slot, peer: NodeId) -> bool {
        slot.0 < self.ring.size() && {
            let owners = self.ring.owners(slot);
            owners.is_old(self.config.node) && owners.is_old(peer)
        }
    }

    fn versions_at_once(&self) -> usize {
        (4 * self.config.page).min(MOST_VERSIONS)
    }

    /// Gives up passes that hear nothing, lets those go on that found nothing for a while, and begins one with
    /// the next peer.
    pub(super) fn sync_tick(&mut self, env: &mut impl Env) {
        if self.has_paused(env.uptime()) {
            self.sync.forget();
        }
        self.sync.ticked = env.uptime();
        for pass in self.sync.passes.values_mut() {
            pass.silent += u32::from(pass.awaits());
            pass.credit = IDLE_EXCHANGES;
        }
        let Comparisons { passes, lacked, .. } = &mut self.sync;
        passes.retain(|peer, pass| {
            let goes_on = pass.silent < SILENT_TICKS;
            if !goes_on {
                lacked.remove(peer);
            }
            goes_on
        });
        let peers: Vec<NodeId> = self.sync.passes.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.ask_again(peer, env));
        self.begin_pass(|_| true, env);
    }

    /// At a tick: what was asked long ago is asked again, and what waited for the tick goes on.
    fn ask_again(&mut self, peer: NodeId, env: &mut impl Env) {
        let Some(pass) = self.sync.passes.get_mut(&peer) else { return };
        if pass.silent >= ASKED_AGAIN {
            pass.asked.clear();
            if !pass.is_listed {
                let number = pass.number;
                self.send_digests(peer, number, env);
            }
        }
        self.compare_on(peer, env);
    }

    /// Begins a pass with the next peer of which this is wanted.
    fn begin_pass(&mut self, is_wanted: impl Fn(Option<&u64>) -> bool, env: &mut impl Env) {
        // What one peer brings the next one need not bring, too.
        if self.sync.fills() || self.sync.passes.len() >= MOST_PASSES {
            return;
        }
        let peers = self.sync_peers();
        let Comparisons { begun, passes, lacked, .. } = &self.sync;
        let turn = usize::try_from(*begun).unwrap_or_default();
        let mut next = (0..peers.len()).map(|at| peers[(turn + at) % peers.len()]);
        let is_next = |peer: &NodeId| !passes.contains_key(peer) && is_wanted(lacked.get(peer));
        let Some(peer) = next.find(is_next) else { return };
        self.sync.begun += 1;
        let number = u64::from(self.incarnation.0) << 32 | self.sync.begun;
        self.sync.passes.insert(peer, Pass::new(number));
        self.send_digests(peer, number, env);
    }

    fn send_digests(&self, peer: NodeId, pass: u64, env: &mut impl Env) {
        let mut digests = self.store.digests();
        digests.retain(|(slot, _)| self.shares(*slot, peer));
        let shards = self.config.shards;
        self.ask_slots(peer, SlotsRequest::Digests { shards, pass, digests }, env);
    }

    /// Answers a peer's digests with the slots that differ.
    pub(super) fn compare_digests(
        &mut self,
        from: NodeId,
        (shard, shards): (u16, u16),
        pass: u64,
        theirs: &[(Slot, u64)],
        env: &mut impl Env,
    ) {
        if self.sync.fills() || self.has_paused(env.uptime()) {
            // Most of what differs now will not in a moment. The peer asks again.
            return;
        }
        let is_theirs = |slot: Slot| shards > 0 && slot.0 % shards == shard;
        let mut slots: BTreeMap<Slot, (u64, u64)> = BTreeMap::new();
        for (slot, digest) in theirs {
            slots.entry(*slot).or_default().0 = *digest;
        }
        for (slot, digest) in self.store.digests() {
            slots.entry(slot).or_default().1 = digest;
        }
        let differ = slots.into_iter().filter(|(slot, (theirs, ours))| {
            theirs != ours && self.has(*slot) && is_theirs(*slot) && self.shares(*slot, from)
        });
        let count = |slot: Slot| u32::try_from(self.store.count(slot)).unwrap_or(u32::MAX);
        let slots: Vec<(Slot, u32)> = differ.map(|(slot, _)| (slot, count(slot))).collect();
        if !slots.is_empty() {
            env.note(Note::SlotDiffered);
        }
        let (part, parts) = (self.config.shard, self.config.shards);
        let answer = SlotsAnswer::Differ { pass, part, parts, slots };
        self.send(from, ShardBody::SlotsAnswer { shard, answer }, env);
    }

    fn has(&self, slot: Slot) -> bool {
        slot.0 % self.config.shards == self.config.shard
    }

    /// One of a peer's shards told which slots differ.
    pub(super) fn differ(
        &mut self,
        from: NodeId,
        number: u64,
        (part, parts): (u16, u16),
        slots: Vec<(Slot, u32)>,
        env: &mut impl Env,
    ) {
        let us = (self.config.shard, self.config.shards);
        let is_part = part < parts && may_share(us, (part, parts));
        let is_ours = |slot: &Slot| self.has(*slot) && self.shares(*slot, from);
        let slots: BTreeMap<Slot, Cursor> = slots
            .into_iter()
            .filter(|(slot, _)| is_ours(slot))
            .map(|(slot, theirs)| {
                let more = (theirs as usize).saturating_sub(self.store.count(slot)) as u64;
                (slot, Cursor { after: None, more })
            })
            .collect();
        let Some(pass) = self.sync.passes.get_mut(&from).filter(|pass| pass.number == number)
        else {
            return;
        };
        if is_part && pass.heard.insert(part) {
            pass.silent = 0;
            pass.is_listed = pass.heard.len() == usize::from(parts / gcd(us.1, parts));
            pass.slots.extend(slots);
            self.compare_on(from, env);
        }
    }

    /// The next exchange of a pass, or its end.
    fn compare_on(&mut self, peer: NodeId, env: &mut impl Env) {
        let Some(mut pass) = self.sync.passes.remove(&peer) else { return };
        let is_clean = self.sync.lacked.get(&peer) == Some(&0);
        if pass.is_listed && pass.slots.is_empty() {
            self.sync.lacked.insert(peer, pass.lacked);
            // Those that were not compared with yet do not wait for a tick each.
            self.begin_pass(|lacked| lacked.is_none(), env);
            return;
        }
        if !pass.slots.is_empty() && pass.asked.is_empty() && !(is_clean && pass.credit == 0) {
            pass.credit = pass.credit.saturating_sub(1);
            self.send_ranges(peer, &mut pass, env);
        }
        self.sync.passes.insert(peer, pass);
    }

    /// Sends our versions of the next few slots, or of a part of one.
    fn send_ranges(&self, peer: NodeId, pass: &mut Pass, env: &mut impl Env) {
        let (mut ranges, mut room) = (Vec::new(), self.versions_at_once());
        for (slot, Cursor { after, .. }) in pass.slots.iter().take(RANGES_PER_MESSAGE) {
            let (versions, is_last) = self.store.versions(*slot, after.as_ref(), room);
            room -= versions.len();
            let upto = versions.last().map(|(key, _)| key.clone()).filter(|_| !is_last);
            pass.asked.insert(*slot);
            ranges.push(Range { slot: *slot, after: after.clone(), upto, versions });
            if room == 0 {
                break;
            }
        }
        if ranges.iter().any(|range| range.upto.is_some()) || ranges.len() < pass.slots.len() {
            env.note(Note::SyncPaged);
        }
        let pass = pass.number;
        self.ask_slots(peer, SlotsRequest::Versions { pass, ranges }, env);
    }

    /// Answers a peer's versions with the records that it lacks, and asks for those that we lack.
    pub(super) fn compare_versions(
        &mut self,
        from: NodeId,
        shard: u16,
        pass: u64,
        ranges: Vec<Range>,
        env: &mut impl Env,
    ) {
        let mut room = self.versions_at_once();
        let parts: Vec<Compared> = ranges
            .into_iter()
            .filter(|range| self.has(range.slot))
            .map(|range| match self.shares(range.slot, from) {
                true => self.compare_range(range, &mut room),
                false => Compared::nothing(range, true),
            })
            .collect();
        let answer = SlotsAnswer::Newer { pass, parts };
        self.send(from, ShardBody::SlotsAnswer { shard, answer }, env);
    }

    /// Compares a range as far as the answer has room for what the peer lacks.
    fn compare_range(&self, range: Range, room: &mut usize) -> Compared {
        if *room == 0 {
            return Compared::nothing(range, false);
        }
        let Range { slot, after, upto, versions } = range;
        let theirs: BTreeMap<Key, Version> = versions.into_iter().collect();
        // Each of ours is one of theirs, or takes room: more than so many are not looked at.
        let most = theirs.len() + *room;
        let (ours, is_all) = self.store.versions(slot, after.as_ref(), most);
        let is_in_range = |key: &Key| upto.as_ref().is_none_or(|upto| key <= upto);
        let (mut reached, mut records, mut is_cut) = (after.clone(), Vec::new(), !is_all);
        for (key, version) in &ours {
            if !is_in_range(key) {
                is_cut = false;
                break;
            }
            if theirs.get(key).is_none_or(|theirs| version > theirs) {
                if *room == 0 {
                    is_cut = true;
                    break;
                }
                *room -= 1;
                records.extend(self.store.get(key.as_str()).map(|record| (key.clone(), record)));
            }
            reached = Some(key.clone());
        }
        let upto = if is_cut { reached } else { upto };
        let is_compared = |key: &Key| !is_cut || upto.as_ref().is_some_and(|upto| key <= upto);
        // What a pass of our own is about to bring is not asked for.
        let mut passes = self.sync.passes.values();
        let is_filled = passes.any(|pass| pass.fills() && pass.slots.contains_key(&slot));
        let lacks = |(key, version): &(&Key, &Version)| {
            !is_filled
                && is_compared(key)
                && self.store.version(key.as_str()).is_none_or(|ours| **version > ours)
        };
        let want = theirs.iter().filter(lacks).map(|(key, _)| key.clone()).collect();
        let is_last = !is_cut && upto.is_none();
        Compared { slot, after, upto, is_last, records, want }
    }

    /// A peer answered our versions: merges what it has newer, sends what it lacks, and goes on.
    pub(super) fn newer(
        &mut self,
        from: NodeId,
        number: u64,
        parts: Vec<Compared>,
        env: &mut impl Env,
    ) {
        let pass = self.sync.passes.remove(&from);
        let (mut pass, other) = match pass {
            Some(pass) if pass.number == number => (Some(pass), None),
            other => (None, other),
        };
        for Compared { slot, after, upto, is_last, records, want } in parts {
            if !self.has(slot) || !self.shares(slot, from) {
                continue;
            }
            let (merged, lacked) = self.merge_synced(slot, records, env);
            let sent = self.send_records(from, slot, &want, env);
            // An answer that comes twice is merged, and moves nothing.
            let Some(pass) = &mut pass else { continue };
            let Some(cursor) = pass.slots.get_mut(&slot).filter(|at| at.after == after) else {
                continue;
            };
            pass.silent = 0;
            pass.lacked += lacked;
            pass.asked.remove(&slot);
            cursor.more = cursor.more.saturating_sub(merged);
            cursor.after = upto;
            if is_last {
                pass.slots.remove(&slot);
            }
            if lacked > 0 {
                self.sync.lacked.insert(from, pass.lacked);
            }
            if lacked > 0 || sent > 0 {
                pass.credit = IDLE_EXCHANGES;
            }
        }
        if let Some(pass) = pass.or(other) {
            self.sync.passes.insert(from, pass);
            self.compare_on(from, env);
        }
    }

    /// Merges what a peer sent of its own accord, for we lacked it.
    pub(super) fn delta(&mut self, slot: Slot, records: Vec<(Key, Record)>, env: &mut impl Env) {
        if slot.0 < self.ring.size() && self.owns(slot, env) {
            self.merge_synced(slot, records, env);
        }
    }

    /// How many records were missing or older here, and how many of these are not on their way in any case.
    fn merge_synced(
        &mut self,
        slot: Slot,
        records: Vec<(Key, Record)>,
        env: &mut impl Env,
    ) -> (u64, u64) {
        let (mut merged, mut lacked) = (0, 0);
        for (key, record) in records {
            // A key is merged where it belongs, whatever the message says.
            if slot_of(key.as_str(), self.ring.size()) == slot
                && self.merge(slot, &key, &record, env)
            {
                env.note(Note::RecordSynced);
                merged += 1;
                lacked += u64::from(self.is_settled(record.version, env));
            }
        }
        (merged, lacked)
    }

    /// Whether a version is too old for its write to be under way.
    fn is_settled(&self, version: Version, env: &impl Env) -> bool {
        version.timestamp.plus(Micros(2 * self.config.request_timeout.0)) < env.now()
    }

    /// Sends records: tells how many of them are not on their way in any case.
    pub(super) fn send_records(
        &self,
        to: NodeId,
        slot: Slot,
        keys: &[Key],
        env: &mut impl Env,
    ) -> usize {
        let mut settled = 0;
        for keys in keys.chunks(RECORDS_PER_MESSAGE) {
            let record = |key: &Key| self.store.get(key.as_str()).map(|r| (key.clone(), r));
            let records: Vec<(Key, Record)> = keys.iter().filter_map(record).collect();
            settled += records.iter().filter(|(_, r)| self.is_settled(r.version, env)).count();
            if !records.is_empty() {
                self.send(to, ShardBody::Delta { slot, records }, env);
            }
        }
        settled
    }

    /// Whether so much time went by since the last tick that this node did nothing for a while.
    pub(super) fn has_paused(&self, uptime: Micros) -> bool {
        let limit = 2 * (self.config.sync_every.0 + self.config.request_timeout.0);
        let has_ticks = self.config.sync_every.0 > 0;
        has_ticks && uptime.0.saturating_sub(self.sync.ticked.0) > limit
    }

    /// The peers that the last whole comparison with found something to be lacking here, or that were not
    /// compared with on this ring, or since a pause. Nobody waits for one who is evicted.
    pub(super) fn peers_to_compare(&self, uptime: Micros) -> BTreeSet<NodeId> {
        if self.config.sync_every.0 == 0 {
            return BTreeSet::new();
        }
        let is_open = |peer: &NodeId| {
            let is_clean = self.sync.lacked.get(peer) == Some(&0);
            self.ring.members()[peer].state != MemberState::Evicted
                && (!is_clean || self.has_paused(uptime))
        };
        self.sync_peers().into_iter().filter(is_open).collect()
    }
}
