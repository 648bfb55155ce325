//! What each command does to its session.

use std::{fmt, ops::RangeInclusive};

use super::{
    admin, info,
    pipeline::{Access, Shape},
    recall::Recall,
    rings,
    session::Session,
};
use crate::{
    core::{quorum::Level, record::Record, types::Key},
    resp::{
        command::{Command, RingCommand},
        reply::{self, Dialect},
    },
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
            Command::Set(key, _) | Command::RecordsRestore(key, _) => write(key),
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
            | Command::Info(_)
            | Command::ClientSetName(_)
            | Command::ClientGetName
            | Command::ClientId
            | Command::ClientSetInfo
            | Command::Select
            | Command::ConfigGet(_)
            | Command::Dbsize
            | Command::Transaction(_)
            | Command::RecordsList { .. }
            | Command::Ring(_) => false,
        }
    }

    pub(super) fn command(&mut self, command: Command<'_>) {
        let Some(command) = self.outside_a_block(command) else { return };
        match command {
            Command::Get(key) => self.read(Shape::Get, key),
            Command::Strlen(key) => self.read(Shape::Strlen, key),
            Command::Mget(keys) => self.read_all(Shape::Mget, keys),
            Command::Exists(keys) => self.read_all(Shape::Exists, keys),
            Command::Set(key, value) => self.write(key, value),
            Command::Mset(pairs) => self.write_all(pairs),
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
                let number = usize::try_from(self.number).unwrap_or(usize::MAX);
                self.literal(|out, _| reply::integer(out, number));
            }
            Command::ClientSetInfo | Command::Select => self.ok(),
            Command::Quit => {
                self.ok();
                self.ends = true;
            }
            Command::Reset => {
                self.dialect = Dialect::default();
                self.read_level = self.door.settings.default_read;
                self.recall = Recall::at(self.read_level);
                self.write_level = self.door.settings.default_write;
                self.name.clear();
                self.block = None;
                self.literal(|out, _| reply::simple(out, "RESET"));
            }
            Command::Consistency { read, write } => self.consistency(read, write),
            Command::Commands(about) => self.literal(|out, d| admin::commands(out, d, &about)),
            Command::ConfigGet(pattern) => {
                self.literal(|out, dialect| admin::config(out, dialect, &pattern));
            }
            Command::Info(sections) => {
                let text = info::text(&self.door, &sections);
                self.literal(|out, dialect| reply::verbatim(out, &text, dialect));
            }
            Command::Transaction(command) => self.transaction(command),
            Command::Ring(command) => self.ring(&command),
            Command::RecordsList { slots, after, count } => {
                self.list_records(slots, after.as_ref(), count);
            }
            Command::RecordsRestore(key, record) => self.restore(key, record),
            Command::Dbsize => {
                let live = self.server().map_or(0, |server| server.node.counts().1);
                self.literal(|out, _| reply::integer(out, live));
            }
        }
    }

    fn ring(&mut self, command: &RingCommand<'_>) {
        let answer = match self.door.node() {
            Some(server) => rings::run(&server, command),
            None => Err(rings::Refusal::NoPlaceYet),
        };
        self.outcomes.refused += u64::from(answer.is_err());
        self.literal(|out, _| match (answer, command) {
            (Ok(text), RingCommand::Show) => reply::bulk(out, text.as_bytes()),
            (Ok(text), _) => reply::simple(out, &text),
            (Err(why), _) => reply::error(out, &format!("ERR {why}")),
        });
    }

    /// The cluster, this node, the epoch, whether nothing follows, and for each record its key, time, node and value.
    fn list_records(&mut self, slots: RangeInclusive<u16>, after: Option<&Key>, count: usize) {
        let server = self.server().expect("what is about records is refused where no node serves");
        let cluster = server.node.ring().cluster().to_string();
        let id = server.node.id().to_string();
        match server.node.page(slots, after, count) {
            Ok(page) => self.literal(|out, dialect| {
                reply::array(out, 4 + 4 * page.records.len());
                for text in [cluster.as_str(), &id, &page.epoch.0.to_string()] {
                    reply::bulk(out, text.as_bytes());
                }
                reply::integer(out, page.is_last.into());
                for (key, Record { version, value }) in &page.records {
                    reply::bulk(out, key.as_str().as_bytes());
                    reply::bulk(out, version.timestamp.0.to_string().as_bytes());
                    reply::bulk(out, version.node.to_string().as_bytes());
                    match value {
                        Some(value) => reply::bulk(out, value.as_str().as_bytes()),
                        None => reply::null(out, dialect),
                    }
                }
            }),
            Err(why) => self.literal(|out, _| reply::error(out, &format!("TRYAGAIN {why}"))),
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

    /// Says why a command was not taken.
    pub(super) fn refuse(&mut self, error: &impl fmt::Display) {
        self.outcomes.refused += 1;
        self.block.iter_mut().for_each(|block| block.is_spoilt = true);
        self.literal(|out, _| reply::error(out, &error.to_string()));
    }
}

fn checked_name(name: &[u8]) -> Result<String, ()> {
    let is_good = name.len() <= MOST_NAME && name.iter().all(u8::is_ascii_graphic);
    if is_good { Ok(String::from_utf8_lossy(name).into_owned()) } else { Err(()) }
}
