//! What each command does to its session.

use std::{collections::BTreeMap, iter::once};

use super::{
    admin,
    pipeline::{Access, Shape},
    recall::Recall,
    rings,
    session::Session,
};
use crate::{
    env::Request,
    quorum::Level,
    resp::{
        command::{Command, CommandError, RingCommand},
        reply::{self, Dialect},
    },
    types::{Key, Value},
};

/// The longest name that a client may give its connection.
const MOST_NAME: usize = 256;

impl Session {
    /// Whether a command has to wait for others of this connection on its keys.
    pub(super) fn must_wait(&self, command: &Command<'_>) -> bool {
        let others = |key: &Key, access| self.pipeline.must_wait(key, access);
        // At SESSION also for reads: it must not be answered with less than they are. (Reads of one
        // command have no order among them.)
        let in_turn = self.recall.is_some();
        let read = |key: &Key| others(key, Access::Read) || in_turn && others(key, Access::Write);
        // At LINEARIZABLE also for writes: a version is issued only after a round trip, and those of
        // two writes under way could come in the wrong order.
        let one_by_one = self.write_level == Level::Linearizable;
        let write =
            |key: &Key| others(key, Access::Write) || one_by_one && others(key, Access::Read);
        match command {
            Command::Get(key) | Command::Strlen(key) => read(key),
            Command::Set(key, _) => write(key),
            Command::Mget(keys) | Command::Exists(keys) => keys.iter().any(read),
            Command::Mset(pairs) => pairs.iter().any(|(key, _)| write(key)),
            Command::Del(keys) => keys.iter().any(|key| read(key) || write(key)),
            // What is said of the connection, and what ends it, comes after what was asked before.
            Command::Hello(..) | Command::Reset | Command::Quit | Command::Consistency { .. } => {
                !self.pipeline.is_empty()
            }
            Command::Ping(_)
            | Command::Echo(_)
            | Command::Commands(_)
            | Command::Info
            | Command::ClientSetName(_)
            | Command::ClientGetName
            | Command::ClientId
            | Command::ClientSetInfo
            | Command::Select
            | Command::ConfigGet(_)
            | Command::Dbsize
            | Command::Ring(_) => false,
        }
    }

    pub(super) fn command(&mut self, command: Command<'_>) {
        match command {
            Command::Get(key) => self.read(Shape::Get, once(key)),
            Command::Strlen(key) => self.read(Shape::Strlen, once(key)),
            Command::Mget(keys) => self.read(Shape::Mget, keys.into_iter()),
            Command::Exists(keys) => self.read(Shape::Exists, keys.into_iter()),
            Command::Set(key, value) => self.write(once((key, value))),
            Command::Mset(pairs) if self.write_level == Level::Linearizable => {
                // As in `must_wait`: of a key that is there twice, only the last value is written.
                self.write(pairs.into_iter().collect::<BTreeMap<_, _>>().into_iter());
            }
            Command::Mset(pairs) => self.write(pairs.into_iter()),
            Command::Del(keys) => self.delete(keys),
            Command::Ping(None) => self.literal(|out, _| reply::simple(out, "PONG")),
            Command::Ping(Some(text)) | Command::Echo(text) => {
                self.literal(|out, _| reply::bulk(out, text));
            }
            Command::Hello(version, name) => self.hello(version, name),
            Command::ClientSetName(name) => self.set_name(name),
            Command::ClientGetName => {
                let name = std::mem::take(&mut self.name);
                self.literal(|out, dialect| match name.is_empty() {
                    true => reply::null(out, dialect),
                    false => reply::bulk(out, name.as_bytes()),
                });
                self.name = name;
            }
            Command::ClientId => {
                let number = self.number as usize;
                self.literal(|out, _| reply::integer(out, number));
            }
            Command::ClientSetInfo | Command::Select => self.ok(),
            Command::Quit => {
                self.ok();
                self.ends = true;
            }
            Command::Reset => {
                self.dialect = Dialect::default();
                self.read_level = self.server.settings.default_read;
                self.recall = Recall::at(self.read_level);
                self.write_level = self.server.settings.default_write;
                self.name.clear();
                self.literal(|out, _| reply::simple(out, "RESET"));
            }
            Command::Consistency { read, write } => self.consistency(read, write),
            Command::Commands(about) => self.literal(|out, d| admin::commands(out, d, about)),
            Command::ConfigGet(pattern) => {
                self.literal(|out, dialect| admin::config(out, dialect, pattern));
            }
            Command::Info => {
                let info = admin::info(&self.server);
                self.literal(|out, _| reply::bulk(out, info.as_bytes()));
            }
            Command::Ring(command) => self.ring(&command),
            Command::Dbsize => {
                let (_, live) = admin::record_counts(&self.server);
                self.literal(|out, _| reply::integer(out, live));
            }
        }
    }

    fn ring(&mut self, command: &RingCommand<'_>) {
        let answer = rings::run(&self.server, command);
        self.outcomes.refused += u64::from(answer.is_err());
        self.literal(|out, _| match (answer, command) {
            (Ok(text), RingCommand::Show) => reply::bulk(out, text.as_bytes()),
            (Ok(text), _) => reply::simple(out, &text),
            (Err(why), _) => reply::error(out, &format!("ERR {why}")),
        });
    }

    fn read(&mut self, shape: Shape, keys: impl ExactSizeIterator<Item = Key>) {
        let first = self.pipeline.begin(shape, keys.len());
        self.send_reads(first, keys);
    }

    fn write(&mut self, pairs: impl ExactSizeIterator<Item = (Key, Value)>) {
        let level = self.write_level;
        let first = self.pipeline.begin(Shape::Written, pairs.len());
        for (at, (key, value)) in (0..).zip(pairs) {
            let request = Request::Put { key, value: Some(value), level };
            self.send(first.wrapping_add(at), request, Access::Write);
        }
    }

    /// Reads first, so that it can say how many there were; the tombstones are written all the same.
    fn delete(&mut self, mut keys: Vec<Key>) {
        keys.sort_unstable();
        keys.dedup();
        let first = self.pipeline.begin(Shape::Del(keys.clone()), 2 * keys.len());
        self.send_reads(first, keys.into_iter());
    }

    fn send_reads(&mut self, first: u32, keys: impl Iterator<Item = Key>) {
        let level = self.read_level;
        for (at, key) in (0..).zip(keys) {
            let request = match &self.recall {
                Some(recall) => recall.read(key),
                None => Request::Get { key, level, at_least: None },
            };
            if request.level() != level {
                self.outcomes.overflowed += 1;
            }
            self.send(first.wrapping_add(at), request, Access::Read);
        }
    }

    fn hello(&mut self, version: Option<u8>, name: Option<&[u8]>) {
        if let Some(name) = name {
            let Ok(name) = checked_name(name) else { return self.bad_name() };
            self.name = name;
        }
        self.dialect = match version {
            Some(3) => Dialect::Resp3,
            Some(_) => Dialect::Resp2,
            None => self.dialect,
        };
        let number = self.number;
        self.literal(|out, dialect| admin::hello(out, dialect, number));
    }

    fn set_name(&mut self, name: &[u8]) {
        match checked_name(name) {
            Ok(name) => {
                self.name = name;
                self.ok();
            }
            Err(()) => self.bad_name(),
        }
    }

    fn bad_name(&mut self) {
        let text = format!("ERR a name has at most {MOST_NAME} printable characters, and no space");
        self.literal(|out, _| reply::error(out, &text));
    }

    fn consistency(&mut self, read: Option<Level>, write: Option<Level>) {
        if read.is_none() && write.is_none() {
            let (read, write) = (self.read_level.to_string(), self.write_level.to_string());
            return self.literal(|out, dialect| {
                reply::map(out, 2, dialect);
                for text in ["read", &read, "write", &write] {
                    reply::bulk(out, text.as_bytes());
                }
            });
        }
        if let Some(level) = read.filter(|level| *level != self.read_level) {
            self.read_level = level;
            self.recall = Recall::at(level);
        }
        self.write_level = write.unwrap_or(self.write_level);
        self.ok();
    }

    fn ok(&mut self) {
        self.literal(|out, _| reply::simple(out, "OK"));
    }

    pub(super) fn refuse(&mut self, error: &CommandError) {
        self.outcomes.refused += 1;
        self.literal(|out, _| reply::error(out, &error.to_string()));
    }
}

fn checked_name(name: &[u8]) -> Result<String, ()> {
    let is_good = name.len() <= MOST_NAME && name.iter().all(u8::is_ascii_graphic);
    if is_good { Ok(String::from_utf8_lossy(name).into_owned()) } else { Err(()) }
}
