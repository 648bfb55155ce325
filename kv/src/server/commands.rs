//! What each command does to its session.

use std::iter::once;

use super::{
    admin,
    pipeline::{Access, Shape},
    session::Session,
};
use crate::{
    env::Request,
    quorum::Level,
    resp::{
        command::{Command, CommandError},
        reply::{self, Dialect},
    },
    types::{Key, Value},
};

/// The longest name that a client may give its connection.
const MOST_NAME: usize = 256;

impl Session {
    /// Whether a command has to wait for others of this connection on its keys.
    pub(super) fn must_wait(&self, command: &Command<'_>) -> bool {
        let read = |key: &Key| self.pipeline.must_wait(key, Access::Read);
        let write = |key: &Key| self.pipeline.must_wait(key, Access::Write);
        match command {
            Command::Get(key) | Command::Strlen(key) => read(key),
            Command::Set(key, _) => write(key),
            Command::Mget(keys) | Command::Exists(keys) => keys.iter().any(read),
            Command::Mset(pairs) => pairs.iter().any(|(key, _)| write(key)),
            Command::Del(keys) => keys.iter().any(|key| read(key) || write(key)),
            // What is said of the connection, and what ends it, comes after what was asked before.
            Command::Hello(..) | Command::Reset | Command::Quit => !self.pipeline.is_empty(),
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
            | Command::Consistency { .. } => false,
        }
    }

    pub(super) fn command(&mut self, command: Command<'_>) {
        match command {
            Command::Get(key) => self.read(Shape::Get, once(key)),
            Command::Strlen(key) => self.read(Shape::Strlen, once(key)),
            Command::Mget(keys) => self.read(Shape::Mget, keys.into_iter()),
            Command::Exists(keys) => self.read(Shape::Exists, keys.into_iter()),
            Command::Set(key, value) => self.write(once((key, value))),
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
            Command::Dbsize => {
                let (_, live) = admin::record_counts(&self.server);
                self.literal(|out, _| reply::integer(out, live));
            }
        }
    }

    fn read(&mut self, shape: Shape, keys: impl ExactSizeIterator<Item = Key>) {
        let level = self.read_level;
        let first = self.pipeline.begin(shape, keys.len());
        for (at, key) in (0..).zip(keys) {
            self.send(
                first.wrapping_add(at),
                Request::Get { key, level, at_least: None },
                Access::Read,
            );
        }
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
        let level = self.read_level;
        let first = self.pipeline.begin(Shape::Del(keys.clone()), 2 * keys.len());
        for (at, key) in (0..).zip(keys) {
            self.send(
                first.wrapping_add(at),
                Request::Get { key, level, at_least: None },
                Access::Read,
            );
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
        self.read_level = read.unwrap_or(self.read_level);
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
