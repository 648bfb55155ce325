//! The replica: merges what coordinators and peers bring, and tells what it holds.

use super::state::Shard;
use crate::core::{
    env::{Entry, Env, Note},
    message::KeyAnswer,
    record::{Record, Version},
    types::{Key, NodeId, OpId, Slot},
};

impl Shard {
    pub(super) fn replica_write(
        &mut self,
        from: NodeId,
        (op, again): (OpId, bool),
        (key, slot): (&Key, Slot),
        record: &Record,
        env: &mut impl Env,
    ) {
        if self.owns(slot, env) {
            let newer = self.store_write(slot, key, record, env);
            self.send(from, KeyAnswer::Written { op, again, newer }, env);
        }
    }

    /// Merges a coordinator's record: the version that is held, where it is newer.
    pub(super) fn store_write(
        &mut self,
        slot: Slot,
        key: &Key,
        record: &Record,
        env: &mut impl Env,
    ) -> Option<Version> {
        match self.merge(slot, key, record, env) {
            true => None,
            false => self.store.version(key.as_str()).filter(|held| *held > record.version),
        }
    }

    pub(super) fn replica_read(
        &mut self,
        from: NodeId,
        op: OpId,
        (key, slot): (&Key, Slot),
        env: &mut impl Env,
    ) {
        if self.owns(slot, env) {
            let record = self.store.get(key.as_str());
            self.send(from, KeyAnswer::Found { op, record }, env);
        }
    }

    /// Merges a record into the store and the journal. True when it won.
    ///
    /// Acknowledging a record that lost is right too: what beat it is in the journal, and no
    /// effect of this shard leaves before that is durable.
    pub(super) fn merge(
        &mut self,
        slot: Slot,
        key: &Key,
        record: &Record,
        env: &mut impl Env,
    ) -> bool {
        self.clock.observe(record.version.timestamp, env);
        let won = self.store.merge(slot, key.as_str(), record);
        if won {
            env.persist(Entry::Record(key.clone(), record.clone()));
        }
        won
    }

    /// Whether this node owns the slot, now or when the ring is final. A peer that has our ring
    /// never asks when we do not.
    pub(super) fn owns(&self, slot: Slot, env: &mut impl Env) -> bool {
        let owns = self.ring.owners(slot).position(self.config.node).is_some();
        if !owns {
            env.note(Note::NotOwner);
        }
        owns
    }
}
