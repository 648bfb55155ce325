//! The commands of a connection that are under way: their answers leave in the order of the commands,
//! and a connection sees its own writes in the order in which it sent them.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    env::{Failure, Reply},
    resp::reply::{self, Dialect},
    types::Key,
};

/// What a command's answer looks like.
#[derive(Debug)]
pub enum Shape {
    /// Bytes that are ready.
    Literal(Vec<u8>),
    /// A value or nothing.
    Get,
    /// The length of a value.
    Strlen,
    /// `OK`, once all writes are done.
    Written,
    /// Values or nothings.
    Mget,
    /// How many of the keys have a value.
    Exists,
    /// How many of the keys had a value: reads first, then as many tombstones.
    Del(Vec<Key>),
}

/// A command under way.
#[derive(Debug)]
struct Entry {
    /// The sequence number of its first request; the others follow.
    first: u32,
    /// Requests, and how many are not answered.
    count: u32,
    missing: u32,
    shape: Shape,
    /// The answer of a command of one request, which most are.
    one: Option<Reply>,
    /// The answers of the others.
    many: Vec<Option<Reply>>,
}

/// What is to be done because of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Tombstones {
    /// The first request's sequence number.
    pub first: u32,
    /// What to delete.
    pub keys: Vec<Key>,
}

/// The commands under way.
#[derive(Debug, Default)]
pub struct Pipeline {
    entries: VecDeque<Entry>,
    next: u32,
    in_flight: usize,
    /// Bytes of the literals that wait for their turn.
    held: usize,
    /// Hashes of the keys that are read, or written, by requests under way.
    reads: Vec<(u64, u32)>,
    writes: Vec<(u64, u32)>,
    /// Hashes of the keys of each DEL whose tombstones are still to be written.
    deletes: Vec<(u64, u32)>,
}

/// What requests on a key do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They read.
    Read,
    /// They write.
    Write,
}

impl Pipeline {
    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Commands whose answers did not leave yet, those that wait for nothing but their turn included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of answers that are ready and wait for their turn.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether no command is under way.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether an access to a key has to wait: a read for this connection's writes, so that it sees
    /// them, and a write for its reads, so that they do not. Writes after writes need not: their
    /// coordinator gives them ascending versions. Both wait for a DEL, which is still to write.
    pub fn must_wait(&self, key: &Key, access: Access) -> bool {
        let others = match access {
            Access::Read => &self.writes,
            Access::Write => &self.reads,
        };
        if others.is_empty() && self.deletes.is_empty() {
            return false;
        }
        let hash = hash(key);
        others.iter().chain(&self.deletes).any(|(other, _)| *other == hash)
    }

    /// Adds a command that waits for `count` requests: the sequence number of the first.
    pub fn begin(&mut self, shape: Shape, count: usize) -> u32 {
        let first = self.next;
        let count = u32::try_from(count).expect("commands have a bounded number of arguments");
        match &shape {
            Shape::Literal(bytes) => self.held += bytes.len(),
            Shape::Del(keys) => self.deletes.extend(keys.iter().map(|key| (hash(key), first))),
            Shape::Get | Shape::Strlen | Shape::Written | Shape::Mget | Shape::Exists => {}
        }
        let many = if count > 1 { vec![None; count as usize] } else { Vec::new() };
        self.next = self.next.wrapping_add(count);
        self.entries.push_back(Entry { first, count, missing: count, shape, one: None, many });
        first
    }

    /// A request is sent to the node.
    pub fn sent(&mut self, sequence: u32, key: &Key, access: Access) {
        match access {
            Access::Read => self.reads.push((hash(key), sequence)),
            Access::Write => self.writes.push((hash(key), sequence)),
        }
        self.in_flight += 1;
    }

    /// A request was answered.
    pub fn answered(&mut self, sequence: u32, reply: Reply) -> Option<Tombstones> {
        self.forget(sequence);
        let front = self.entries.front()?.first;
        let offset = sequence.wrapping_sub(front);
        // Where all commands have one request, the place is the offset.
        let guess = offset as usize;
        let is_there = |entry: &Entry| entry.first == sequence && entry.count == 1;
        let place = if self.entries.get(guess).is_some_and(is_there) {
            guess
        } else {
            // An entry without requests has the number of the next one: the last at or before is right.
            let upto = |entry: &Entry| entry.first.wrapping_sub(front) <= offset;
            self.entries.partition_point(upto).checked_sub(1)?
        };
        let entry = self.entries.get_mut(place)?;
        let part = sequence.wrapping_sub(entry.first);
        if part >= entry.count {
            return None;
        }
        entry.missing -= 1;
        if entry.count == 1 {
            entry.one = Some(reply);
            return None;
        }
        entry.many[part as usize] = Some(reply);
        if !entry.has_just_read() {
            return None;
        }
        let first = entry.first;
        self.deletes.retain(|(_, delete)| *delete != first);
        entry.tombstones()
    }

    fn forget(&mut self, sequence: u32) {
        self.in_flight -= 1;
        if self.in_flight == 0 {
            self.reads.clear();
            self.writes.clear();
            return;
        }
        for requests in [&mut self.reads, &mut self.writes] {
            if let Some(at) = requests.iter().position(|(_, other)| *other == sequence) {
                requests.swap_remove(at);
                return;
            }
        }
    }

    /// Encodes the answers of the first commands, as far as they are complete.
    pub fn drain(&mut self, out: &mut Vec<u8>, dialect: Dialect) {
        while self.entries.front().is_some_and(|entry| entry.missing == 0) {
            if let Some(entry) = self.entries.pop_front() {
                if let Shape::Literal(bytes) = &entry.shape {
                    self.held -= bytes.len();
                }
                entry.encode(out, dialect);
            }
        }
    }
}

impl Entry {
    /// Whether this is a DEL whose reads are all answered, and its writes not begun.
    fn has_just_read(&self) -> bool {
        let reads = self.many.len() / 2;
        matches!(self.shape, Shape::Del(_))
            && self.missing as usize == reads
            && self.many[reads..].iter().all(Option::is_none)
    }

    /// The tombstones of a DEL whose reads are done; none when one of those failed.
    fn tombstones(&mut self) -> Option<Tombstones> {
        let Shape::Del(keys) = &mut self.shape else { return None };
        let reads = self.many.len() / 2;
        if self.many[..reads].iter().flatten().any(|r| matches!(r, Reply::Failed(_))) {
            self.missing = 0;
            return None;
        }
        let first = self.first.wrapping_add(u32::try_from(reads).expect("a bounded number"));
        Some(Tombstones { first, keys: std::mem::take(keys) })
    }

    fn encode(self, out: &mut Vec<u8>, dialect: Dialect) {
        match (&self.shape, self.one) {
            (Shape::Literal(bytes), _) => return out.extend_from_slice(bytes),
            (_, Some(Reply::Failed(failure))) => return failed(out, failure),
            (Shape::Get, Some(answer)) => return value(out, &answer, dialect),
            (Shape::Written, Some(_)) => return reply::simple(out, "OK"),
            (Shape::Strlen, Some(answer)) => {
                return reply::integer(out, text(&answer).unwrap_or("").len());
            }
            (Shape::Exists, Some(answer)) => {
                return reply::integer(out, usize::from(text(&answer).is_some()));
            }
            (Shape::Mget, Some(answer)) => {
                reply::array(out, 1);
                return value(out, &answer, dialect);
            }
            (Shape::Del(_), Some(_)) | (_, None) => {}
        }
        let failure = self.many.iter().flatten().find_map(|answer| match answer {
            Reply::Failed(failure) => Some(*failure),
            Reply::Written(_) | Reply::Found(_) => None,
        });
        if let Some(failure) = failure {
            return failed(out, failure);
        }
        let answers = self.many.iter().flatten();
        match self.shape {
            Shape::Mget => {
                reply::array(out, self.many.len());
                answers.for_each(|answer| value(out, answer, dialect));
            }
            Shape::Exists | Shape::Del(_) => {
                reply::integer(out, answers.filter(|answer| text(answer).is_some()).count());
            }
            Shape::Written | Shape::Get | Shape::Strlen | Shape::Literal(_) => {
                reply::simple(out, "OK");
            }
        }
    }
}

fn hash(key: &Key) -> u64 {
    xxh3_64(key.as_str().as_bytes())
}

fn failed(out: &mut Vec<u8>, failure: Failure) {
    reply::error(out, &failure.to_string());
}

fn text(answer: &Reply) -> Option<&str> {
    match answer {
        Reply::Found(Some(record)) => record.value.as_ref().map(|value| value.as_str()),
        Reply::Found(None) | Reply::Written(_) | Reply::Failed(_) => None,
    }
}

fn value(out: &mut Vec<u8>, answer: &Reply, dialect: Dialect) {
    match text(answer) {
        Some(text) => reply::bulk(out, text.as_bytes()),
        None => reply::null(out, dialect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        record::{Record, Version},
        types::{NodeId, Value},
    };

    fn found(text: &str) -> Reply {
        let version = Version { timestamp: Timestamp(1), node: NodeId(1) };
        Reply::Found(Some(Record { version, value: Some(Value::trusted(text)) }))
    }

    fn written() -> Reply {
        Reply::Written(Version { timestamp: Timestamp(1), node: NodeId(1) })
    }

    fn begin(pipeline: &mut Pipeline, shape: Shape, keys: &[&str], access: Access) -> u32 {
        let first = pipeline.begin(shape, keys.len());
        for (at, key) in (0..).zip(keys) {
            pipeline.sent(first + at, &Key::trusted(key), access);
        }
        first
    }

    fn drained(pipeline: &mut Pipeline) -> String {
        let mut out = Vec::new();
        pipeline.drain(&mut out, Dialect::Resp2);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn answers_leave_in_the_order_of_the_commands() {
        let mut pipeline = Pipeline::default();
        let get = begin(&mut pipeline, Shape::Get, &["a"], Access::Read);
        pipeline.begin(Shape::Literal(b"+PONG\r\n".to_vec()), 0);
        let mget = begin(&mut pipeline, Shape::Mget, &["b", "c"], Access::Read);
        pipeline.answered(mget + 1, found("2"));
        pipeline.answered(mget, Reply::Found(None));
        assert_eq!(drained(&mut pipeline), "");
        pipeline.answered(get, found("1"));
        assert_eq!(drained(&mut pipeline), "$1\r\n1\r\n+PONG\r\n*2\r\n$-1\r\n$1\r\n2\r\n");
        assert!(pipeline.is_empty() && pipeline.in_flight() == 0);
    }

    #[test]
    fn answers_that_wait_for_their_turn_are_counted_until_they_leave() {
        let mut pipeline = Pipeline::default();
        let get = begin(&mut pipeline, Shape::Get, &["a"], Access::Read);
        for _ in 0..3 {
            pipeline.begin(Shape::Literal(b"+PONG\r\n".to_vec()), 0);
        }
        assert_eq!((pipeline.len(), pipeline.held(), pipeline.in_flight()), (4, 21, 1));
        pipeline.answered(get, Reply::Found(None));
        drained(&mut pipeline);
        assert_eq!((pipeline.len(), pipeline.held(), pipeline.in_flight()), (0, 0, 0));
    }

    #[test]
    fn a_read_waits_for_writes_of_its_key_and_a_write_for_reads() {
        let mut pipeline = Pipeline::default();
        let set = begin(&mut pipeline, Shape::Written, &["a"], Access::Write);
        begin(&mut pipeline, Shape::Get, &["b"], Access::Read);
        let must_wait = |p: &Pipeline, key, access| p.must_wait(&Key::trusted(key), access);
        assert!(must_wait(&pipeline, "a", Access::Read));
        assert!(!must_wait(&pipeline, "a", Access::Write));
        assert!(!must_wait(&pipeline, "b", Access::Read));
        assert!(must_wait(&pipeline, "b", Access::Write));
        pipeline.answered(set, written());
        assert!(!must_wait(&pipeline, "a", Access::Read));
    }

    #[test]
    fn a_delete_reads_first_and_counts_what_was_there() {
        let mut pipeline = Pipeline::default();
        let keys = vec![Key::trusted("a"), Key::trusted("b")];
        let del = pipeline.begin(Shape::Del(keys.clone()), 4);
        keys.iter().zip(del..).for_each(|(k, at)| pipeline.sent(at, k, Access::Read));
        assert_eq!(pipeline.answered(del, found("x")), None);
        for access in [Access::Read, Access::Write] {
            assert!(pipeline.must_wait(&keys[0], access), "its tombstone is still to come");
        }
        let tombstones = pipeline.answered(del + 1, Reply::Found(None)).unwrap();
        assert_eq!(tombstones, Tombstones { first: del + 2, keys: keys.clone() });
        keys.iter().zip(del + 2..).for_each(|(k, at)| pipeline.sent(at, k, Access::Write));
        pipeline.answered(del + 3, written());
        assert_eq!(drained(&mut pipeline), "");
        pipeline.answered(del + 2, written());
        assert_eq!(drained(&mut pipeline), ":1\r\n");
        assert!(!pipeline.must_wait(&keys[0], Access::Read));
    }

    #[test]
    fn a_delete_whose_read_failed_writes_nothing_and_says_so() {
        let mut pipeline = Pipeline::default();
        let del = pipeline.begin(Shape::Del(vec![Key::trusted("a")]), 2);
        pipeline.sent(del, &Key::trusted("a"), Access::Read);
        assert_eq!(pipeline.answered(del, Reply::Failed(Failure::Busy)), None);
        assert!(drained(&mut pipeline).starts_with("-BUSY "));
        assert!(!pipeline.must_wait(&Key::trusted("a"), Access::Read));
    }

    #[test]
    fn sequence_numbers_may_wrap() {
        let mut pipeline = Pipeline { next: u32::MAX, ..Pipeline::default() };
        let first = pipeline.begin(Shape::Mget, 2);
        pipeline.sent(first, &Key::trusted("a"), Access::Read);
        pipeline.sent(first.wrapping_add(1), &Key::trusted("b"), Access::Read);
        pipeline.answered(first.wrapping_add(1), found("2"));
        pipeline.answered(first, found("1"));
        assert_eq!(drained(&mut pipeline), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    }
}
