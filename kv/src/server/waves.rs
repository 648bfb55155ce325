//! From commands on keys to requests of the node. A command with more requests than a session may have
//! under way sends them in waves, as the answers of the ones before come; no other command of its
//! connection is taken meanwhile.

use std::collections::BTreeMap;

use super::{
    pipeline::{Access, Shape, Tombstones},
    rest::{MOST_IN_FLIGHT, Requests, Rest},
    session::Session,
};
use crate::core::{
    env::Request,
    quorum::Level,
    record::Record,
    types::{Key, Value},
};

impl Session {
    /// Reads a key.
    pub(super) fn read(&mut self, shape: Shape, key: Key) {
        let first = self.pipeline.begin(shape, 1);
        self.send_read(first, key);
    }

    /// Reads keys.
    pub(super) fn read_all(&mut self, shape: Shape, keys: Vec<Key>) {
        let (count, first) = (keys.len(), self.pipeline.begin(shape, keys.len()));
        self.begin(count, first, Requests::Reads(keys.into_iter()));
    }

    /// Writes a value.
    pub(super) fn write(&mut self, key: Key, value: Value) {
        let first = self.pipeline.begin(Shape::Written, 1);
        self.send_write(first, key, Some(value));
    }

    /// Writes a record of a backup.
    pub(super) fn restore(&mut self, key: Key, record: Record) {
        let first = self.pipeline.begin(Shape::Written, 1);
        let level = self.write_level;
        self.send(first, Request::Restore { key, record, level }, Access::Write);
    }

    /// Writes values.
    pub(super) fn write_all(&mut self, mut pairs: Vec<(Key, Value)>) {
        if self.write_level == Level::Linearizable {
            // As in `must_wait`: of a key that is there twice, only the last value is written.
            pairs = pairs.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
        }
        let (count, first) = (pairs.len(), self.pipeline.begin(Shape::Written, pairs.len()));
        self.begin(count, first, Requests::Writes(pairs.into_iter()));
    }

    /// Reads first, so that it can say how many there were; the tombstones are written all the same.
    pub(super) fn delete(&mut self, mut keys: Vec<Key>) {
        keys.sort_unstable();
        keys.dedup();
        let first = self.pipeline.begin(Shape::Del(keys.clone()), 2 * keys.len());
        self.begin(keys.len(), first, Requests::Reads(keys.into_iter()));
    }

    /// The reads of a DEL are answered.
    pub(super) fn send_tombstones(&mut self, Tombstones { first, keys }: Tombstones) {
        self.begin(keys.len(), first, Requests::Tombstones(keys.into_iter()));
    }

    /// Sends the requests of a command: the first ones, where there are many.
    fn begin(&mut self, count: usize, first: u32, requests: Requests) {
        let mut rest = Rest { next: first, requests };
        if count > MOST_IN_FLIGHT {
            // Nothing else is under way: it waited for that, or is the DEL that is alone.
            self.is_alone = true;
            self.rest = rest;
            self.send_rest();
        } else {
            while self.send_next(&mut rest) {}
        }
    }

    /// Sends what a large command is still to send, as far as there is room.
    pub(super) fn send_rest(&mut self) {
        if self.rest.held() == 0 {
            return;
        }
        let mut rest = std::mem::take(&mut self.rest);
        while self.pipeline.in_flight() < MOST_IN_FLIGHT && self.send_next(&mut rest) {}
        self.rest = rest;
    }

    /// Sends the next request. False: there was none.
    fn send_next(&mut self, rest: &mut Rest) -> bool {
        let sequence = rest.next;
        let is_sent = match &mut rest.requests {
            Requests::Reads(keys) => keys.next().map(|key| self.send_read(sequence, key)),
            Requests::Writes(pairs) => {
                pairs.next().map(|(key, value)| self.send_write(sequence, key, Some(value)))
            }
            Requests::Tombstones(keys) => {
                keys.next().map(|key| self.send_write(sequence, key, None))
            }
        };
        rest.next = sequence.wrapping_add(1);
        is_sent.is_some()
    }

    fn send_read(&mut self, sequence: u32, key: Key) {
        let level = self.read_level;
        let request = match &self.recall {
            Some(recall) => recall.read(key),
            None => Request::Get { key, level, at_least: None },
        };
        self.outcomes.overflowed += u64::from(request.level() != level);
        self.send(sequence, request, Access::Read);
    }

    fn send_write(&mut self, sequence: u32, key: Key, value: Option<Value>) {
        let level = self.write_level;
        self.send(sequence, Request::Put { key, value, level }, Access::Write);
    }
}
