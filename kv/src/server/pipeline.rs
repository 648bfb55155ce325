//! The commands of a connection that are under way: their answers leave in the order of the commands,
//! and a connection sees its own writes in the order in which it sent them.

use std::{collections::VecDeque, vec};

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    core::{
        env::{Failure, Reply},
        types::{Key, Value},
    },
    resp::reply::{self, Dialect},
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
    /// What its answers told so far.
    told: Told,
}

/// What answers told: no more of it is kept than the command's own answer needs.
#[derive(Debug, Default)]
struct Told {
    /// How many keys have a value.
    found: u32,
    /// The length of the value of a command that asks for one.
    length: usize,
    /// The value of a command that asks for one.
    value: Option<Value>,
    /// The values of one that asks for many.
    values: Vec<Option<Value>>,
    /// The bytes of those.
    bytes: usize,
    /// Why the command failed.
    failure: Option<Failure>,
    /// Something was written.
    is_written: bool,
    /// Its values were too many bytes, and are dropped.
    is_too_much: bool,
}

/// What is to be done because of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Tombstones {
    /// The first request's sequence number.
    pub first: u32,
    /// What to delete.
    pub keys: Vec<Key>,
}

/// The values of an answer whose beginning has left.
#[derive(Debug, Default)]
struct Leaving {
    values: vec::IntoIter<Option<Value>>,
    /// What they are counted as.
    held: usize,
}

/// The commands under way.
#[derive(Debug)]
pub struct Pipeline {
    entries: VecDeque<Entry>,
    next: u32,
    in_flight: usize,
    /// Values that are encoded as the client takes them.
    leaving: Leaving,
    /// Bytes that wait for their turn: literals, and values of commands that ask for many.
    held: usize,
    /// The most bytes of the values of one command.
    most_answer: usize,
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
    /// No command yet. The values of one answer may be so many bytes.
    pub fn new(most_answer: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            next: 0,
            in_flight: 0,
            leaving: Leaving::default(),
            held: 0,
            most_answer,
            reads: Vec::new(),
            writes: Vec::new(),
            deletes: Vec::new(),
        }
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Commands whose answers did not leave yet, those that wait for nothing but their turn included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of answers that wait for their turn, or for the rest of their command's.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether no command is under way.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.leaving.values.len() == 0
    }

    /// Whether there is an answer, or a part of one, that could leave now.
    pub fn is_ready(&self) -> bool {
        self.leaving.values.len() > 0
            || self.entries.front().is_some_and(|entry| entry.missing == 0)
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
            Shape::Mget => self.held += count as usize * size_of::<Option<Value>>(),
            Shape::Get | Shape::Strlen | Shape::Written | Shape::Exists => {}
        }
        let values =
            if matches!(shape, Shape::Mget) { vec![None; count as usize] } else { Vec::new() };
        let told = Told { values, ..Told::default() };
        self.next = self.next.wrapping_add(count);
        self.entries.push_back(Entry { first, count, missing: count, shape, told });
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
        self.held += entry.heard(part as usize, reply);
        if entry.told.bytes > self.most_answer {
            self.held -= entry.forget_values();
        }
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

    /// Encodes the answers of the first commands, as far as they are complete and until there are so many
    /// bytes to send.
    pub fn drain(&mut self, out: &mut Vec<u8>, dialect: Dialect, most: usize) {
        while out.len() < most {
            if let Some(value) = self.leaving.values.next() {
                bulk_or_null(out, value.as_ref(), dialect);
                continue;
            }
            self.held -= std::mem::take(&mut self.leaving).held;
            let Some(entry) = self.entries.pop_front_if(|entry| entry.missing == 0) else { return };
            let held = entry.held();
            match entry.encode(out, dialect) {
                Some(values) => self.leaving = Leaving { values: values.into_iter(), held },
                None => self.held -= held,
            }
        }
    }
}

impl Entry {
    /// Keeps what an answer tells: how many bytes more are held now.
    fn heard(&mut self, part: usize, reply: Reply) -> usize {
        let value = match reply {
            Reply::Failed(failure) => {
                self.told.failed(failure);
                return 0;
            }
            Reply::Found(Some(record)) => record.value,
            Reply::Found(None) => None,
            Reply::Written(_) => {
                self.told.is_written = true;
                None
            }
        };
        let length = value.as_ref().map_or(0, |value| value.as_str().len());
        self.told.found += u32::from(value.is_some());
        match self.shape {
            Shape::Get => self.told.value = value,
            Shape::Strlen => self.told.length = length,
            Shape::Mget if !self.told.is_too_much => {
                self.told.values[part] = value;
                self.told.bytes += length;
                return length;
            }
            Shape::Mget | Shape::Written | Shape::Exists | Shape::Del(_) | Shape::Literal(_) => {}
        }
        0
    }

    /// The values are too many bytes: how many are held no more.
    fn forget_values(&mut self) -> usize {
        let held = self.held();
        (self.told.values, self.told.bytes, self.told.is_too_much) = (Vec::new(), 0, true);
        held
    }

    /// The bytes that it holds.
    fn held(&self) -> usize {
        match &self.shape {
            Shape::Literal(bytes) => bytes.len(),
            Shape::Mget => self.told.values.len() * size_of::<Option<Value>>() + self.told.bytes,
            Shape::Get | Shape::Strlen | Shape::Written | Shape::Exists | Shape::Del(_) => 0,
        }
    }

    /// Whether this is a DEL whose reads are all answered, and its writes not begun: those are sent when
    /// this was true, so it is true once.
    fn has_just_read(&self) -> bool {
        matches!(self.shape, Shape::Del(_)) && self.missing == self.count / 2
    }

    /// The tombstones of a DEL whose reads are done; none when one of those failed.
    fn tombstones(&mut self) -> Option<Tombstones> {
        let Shape::Del(keys) = &mut self.shape else { return None };
        if self.told.failure.is_some() {
            self.missing = 0;
            return None;
        }
        let first = self.first.wrapping_add(self.count / 2);
        Some(Tombstones { first, keys: std::mem::take(keys) })
    }

    /// Encodes the answer; of one that has many values only its beginning: they follow.
    fn encode(self, out: &mut Vec<u8>, dialect: Dialect) -> Option<Vec<Option<Value>>> {
        let told = self.told;
        match self.shape {
            Shape::Literal(bytes) => out.extend_from_slice(&bytes),
            _ if told.failure.is_some() => {
                told.failure.iter().for_each(|failure| reply::error(out, &told.why(failure)));
            }
            Shape::Get => bulk_or_null(out, told.value.as_ref(), dialect),
            Shape::Strlen => reply::integer(out, told.length),
            Shape::Exists | Shape::Del(_) => reply::integer(out, told.found as usize),
            Shape::Written => reply::simple(out, "OK"),
            Shape::Mget if told.is_too_much => reply::error(out, TOO_MUCH),
            Shape::Mget => {
                reply::array(out, told.values.len());
                return Some(told.values);
            }
        }
        None
    }
}

impl Told {
    /// Of several failures one that leaves open what happened is told.
    fn failed(&mut self, failure: Failure) {
        if self.failure.is_none_or(|before| before.is_definite() && !failure.is_definite()) {
            self.failure = Some(failure);
        }
    }

    /// What a client is told. A failure that says of itself that nothing was done is one of a single request.
    fn why(&self, failure: &Failure) -> String {
        let text = failure.to_string();
        match text.split_once(' ') {
            Some((code, _)) if self.is_written && failure.is_definite() => {
                format!("{PARTIAL} ({code})")
            }
            _ => text,
        }
    }
}

/// What a client is told of whose keys some were written, and others were refused, which is why.
const PARTIAL: &str = "PARTIAL some keys of this command were written, and others were not; send it again, or read \
                       the keys to find out";

/// What a client is told whose answer would be too large.
const TOO_MUCH: &str = "ERR the values are too many bytes for one answer here; ask for fewer keys";

fn hash(key: &Key) -> u64 {
    xxh3_64(key.as_str().as_bytes())
}

fn bulk_or_null(out: &mut Vec<u8>, value: Option<&Value>, dialect: Dialect) {
    match value {
        Some(value) => reply::bulk(out, value.as_str().as_bytes()),
        None => reply::null(out, dialect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        record::{Record, Version},
        time::Timestamp,
        types::{NodeId, Value},
    };

    const MOST: usize = 1_000;

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
        pipeline.drain(&mut out, Dialect::Resp2, MOST);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn answers_leave_in_the_order_of_the_commands() {
        let mut pipeline = Pipeline::new(MOST);
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
        let mut pipeline = Pipeline::new(MOST);
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
        let mut pipeline = Pipeline::new(MOST);
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
        let mut pipeline = Pipeline::new(MOST);
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
        let mut pipeline = Pipeline::new(MOST);
        let del = pipeline.begin(Shape::Del(vec![Key::trusted("a")]), 2);
        pipeline.sent(del, &Key::trusted("a"), Access::Read);
        assert_eq!(pipeline.answered(del, Reply::Failed(Failure::Busy)), None);
        assert!(drained(&mut pipeline).starts_with("-BUSY "));
        assert!(!pipeline.must_wait(&Key::trusted("a"), Access::Read));
    }

    #[test]
    fn a_command_that_was_done_in_part_does_not_say_that_nothing_was_done() {
        let mut pipeline = Pipeline::new(MOST);
        for replies in
            [[written(), Reply::Failed(Failure::Busy)], [Reply::Failed(Failure::Busy), written()]]
        {
            let set = begin(&mut pipeline, Shape::Written, &["a", "b"], Access::Write);
            (set..).zip(replies).for_each(|(part, reply)| drop(pipeline.answered(part, reply)));
            let told = drained(&mut pipeline);
            assert!(told.starts_with("-PARTIAL ") && told.ends_with("(BUSY)\r\n"), "{told}");
        }
        let set = begin(&mut pipeline, Shape::Written, &["a", "b"], Access::Write);
        (set..set + 2).for_each(|part| drop(pipeline.answered(part, Reply::Failed(Failure::Busy))));
        assert!(drained(&mut pipeline).starts_with("-BUSY "));
    }

    #[test]
    fn sequence_numbers_may_wrap() {
        let mut pipeline = Pipeline { next: u32::MAX, ..Pipeline::new(MOST) };
        let first = pipeline.begin(Shape::Mget, 2);
        pipeline.sent(first, &Key::trusted("a"), Access::Read);
        pipeline.sent(first.wrapping_add(1), &Key::trusted("b"), Access::Read);
        pipeline.answered(first.wrapping_add(1), found("2"));
        pipeline.answered(first, found("1"));
        assert_eq!(drained(&mut pipeline), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    }
}
