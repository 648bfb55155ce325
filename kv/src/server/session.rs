//! A client's connection: bytes in, requests to the node, answers out in order.
//!
//! The short way: what one read of the socket brings is parsed into one batch, the node runs it with one
//! lock per shard, and the answers that are there at once go straight into the output. Only
//! answers that wait for peers come through the session's queue.

use std::{future::poll_fn, iter::once, sync::Arc};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    Server, admin,
    pipeline::{Access, Pipeline, Shape, Tombstones},
    ports::{Answers, SessionRequest},
};
use crate::{
    env::{Reply, Request},
    node::{Batch, Outbox},
    quorum::Level,
    resp::{
        command::{Args, Command, CommandError},
        frame::{Parsed, Parser},
        reply::{self, Dialect},
    },
    types::{Key, RequestId, Value},
};

/// Requests under way per session; the next command is read when there are fewer.
const MOST_IN_FLIGHT: usize = 512;
/// Output that the client has not taken, in bytes; the next command is read when there is less.
const MOST_OUTPUT: usize = 256 * 1024;
/// What a read of the socket brings, in bytes: little at first, for there may be many connections.
const SMALL_READ: usize = 4 * 1024;
const LARGE_READ: usize = 64 * 1024;

/// The longest name that a client may give its connection.
const MOST_NAME: usize = 256;

/// A session.
pub struct Session {
    server: Arc<Server>,
    number: u32,
    answers: Arc<Answers>,
    batch: Batch,
    outbox: Outbox,
    taken: Vec<(u32, Reply)>,
    replies: Vec<(RequestId, Reply)>,
    pipeline: Pipeline,
    parser: Parser,
    input: BytesMut,
    output: Vec<u8>,
    dialect: Dialect,
    read_level: Level,
    write_level: Level,
    name: String,
    /// No further command is read.
    ends: bool,
}

/// Why commands are no longer taken from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The rest is to come.
    NeedsInput,
    /// Answers are to come first.
    NeedsAnswers,
}

impl Session {
    /// A session of a new connection.
    pub fn new(server: Arc<Server>) -> Self {
        // An answer for each request under way, and those of the largest commands.
        let bound = MOST_IN_FLIGHT + 2 * crate::resp::frame::MAX_ARGS;
        let (number, answers) = server.node.ports().sessions.open(bound);
        Self {
            number,
            answers,
            batch: server.node.batch(),
            outbox: Outbox::default(),
            taken: Vec::new(),
            replies: Vec::new(),
            pipeline: Pipeline::default(),
            parser: Parser::default(),
            input: BytesMut::new(),
            output: Vec::new(),
            dialect: Dialect::default(),
            read_level: server.settings.default_read,
            write_level: server.settings.default_write,
            name: String::new(),
            ends: false,
            server,
        }
    }

    /// Serves the connection until one side ends it.
    pub async fn serve(
        mut self,
        mut io: impl AsyncRead + AsyncWrite + Unpin,
    ) -> std::io::Result<()> {
        let mut read_size = SMALL_READ;
        loop {
            let stop = self.work();
            if !self.output.is_empty() {
                io.write_all(&self.output).await?;
                self.output.clear();
                self.output.shrink_to(LARGE_READ);
            }
            if self.ends && self.pipeline.is_empty() {
                return linger(io).await;
            }
            if self.pipeline.is_empty() && stop == Stop::NeedsAnswers {
                continue;
            }
            let may_read = stop == Stop::NeedsInput && !self.ends;
            self.input.reserve(if may_read { read_size } else { 0 });
            let (answers, taken) = (&self.answers, &mut self.taken);
            tokio::select! {
                biased;
                open = poll_fn(|cx| answers.poll_take(cx, taken)), if !self.ends || !self.pipeline.is_empty() => {
                    self.ends |= !open;
                    if !open && self.taken.is_empty() && !self.pipeline.is_empty() {
                        // The server ends while answers are to come: look again when they may be there.
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                }
                read = io.read_buf(&mut self.input), if may_read => {
                    let size = read?;
                    if size == 0 {
                        return Ok(());
                    }
                    read_size = if size >= read_size { LARGE_READ } else { SMALL_READ };
                }
            }
        }
    }

    /// Takes what answers came, and as many commands as may be under way.
    fn work(&mut self) -> Stop {
        for (sequence, reply) in std::mem::take(&mut self.taken) {
            self.answered(sequence, reply);
        }
        let mut used = 0;
        let stop = loop {
            let stop = self.take_commands(&mut used);
            let waited = self.pipeline.in_flight();
            self.run();
            // What stopped the commands may be answered already.
            if stop == Stop::NeedsInput || self.pipeline.in_flight() == waited || self.is_full() {
                break stop;
            }
        };
        self.input.advance(used);
        stop
    }

    fn is_full(&self) -> bool {
        self.pipeline.in_flight() >= MOST_IN_FLIGHT || self.output.len() >= MOST_OUTPUT
    }

    /// Parses commands into the batch.
    fn take_commands(&mut self, used: &mut usize) -> Stop {
        let mut parser = std::mem::take(&mut self.parser);
        let input = std::mem::take(&mut self.input);
        let stop = loop {
            if self.ends {
                break Stop::NeedsInput;
            }
            if self.is_full() {
                break Stop::NeedsAnswers;
            }
            match parser.parse(&input[*used..]) {
                Ok(Parsed::Command(size)) => {
                    let args = Args::new(&input[*used..], parser.args());
                    match Command::parse(args, &self.server.settings.node.limits) {
                        Ok(command) if self.must_wait(&command) => break Stop::NeedsAnswers,
                        Ok(command) => self.command(command),
                        Err(error) => self.refuse(&error),
                    }
                    *used += size;
                }
                Ok(Parsed::Nothing(size)) => *used += size,
                Ok(Parsed::Incomplete) => break Stop::NeedsInput,
                Err(error) => {
                    self.literal(|out, _| reply::error(out, &format!("ERR {error}")));
                    self.ends = true;
                }
            }
        };
        (self.parser, self.input) = (parser, input);
        stop
    }

    /// Runs the batch, and takes the answers that are there at once.
    fn run(&mut self) {
        while !self.batch.is_empty() {
            self.server.node.run(&mut self.batch, &mut self.outbox);
            std::mem::swap(&mut self.replies, &mut self.outbox.replies);
            let mut replies = std::mem::take(&mut self.replies);
            for (id, reply) in replies.drain(..) {
                let request = SessionRequest::of(id);
                if request.session == self.number {
                    self.answered(request.sequence, reply);
                } else {
                    self.outbox.replies.push((id, reply));
                }
            }
            self.replies = replies;
            self.server.node.flush(&mut self.outbox);
        }
        self.pipeline.drain(&mut self.output, self.dialect);
    }

    fn answered(&mut self, sequence: u32, reply: Reply) {
        if let Some(Tombstones { first, keys }) = self.pipeline.answered(sequence, reply) {
            let level = self.write_level;
            for (at, key) in (0..).zip(keys) {
                let request = Request::Put { key, value: None, level };
                self.send(first.wrapping_add(at), request, Access::Write);
            }
        }
    }

    fn send(&mut self, sequence: u32, request: Request, access: Access) {
        self.pipeline.sent(sequence, request.key(), access);
        let id = SessionRequest { session: self.number, sequence }.id();
        self.server.node.request(&mut self.batch, id, request);
    }

    /// Whether a command has to wait for others of this connection on its keys.
    fn must_wait(&self, command: &Command<'_>) -> bool {
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

    fn command(&mut self, command: Command<'_>) {
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
            self.send(first.wrapping_add(at), Request::Get { key, level }, Access::Read);
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
            self.send(first.wrapping_add(at), Request::Get { key, level }, Access::Read);
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

    fn refuse(&mut self, error: &CommandError) {
        self.literal(|out, _| reply::error(out, &error.to_string()));
    }

    /// An answer that is known at once, in its turn.
    fn literal(&mut self, encode: impl FnOnce(&mut Vec<u8>, Dialect)) {
        if self.pipeline.is_empty() {
            encode(&mut self.output, self.dialect);
        } else {
            let mut bytes = Vec::new();
            encode(&mut bytes, self.dialect);
            self.pipeline.begin(Shape::Literal(bytes), 0);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.node.ports().sessions.close(self.number);
    }
}

/// Closes a connection so that the last answer arrives: while input is on its way, closing at once
/// would reset the connection, and the client would not see why.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    const MOST: usize = 16 * 1024 * 1024;
    io.shutdown().await?;
    let discard = async {
        let (mut buffer, mut total) = (vec![0; LARGE_READ], 0);
        while total < MOST {
            match io.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(size) => total += size,
            }
        }
    };
    // Whoever keeps sending is cut off: there is nothing to add.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), discard).await;
    Ok(())
}

fn checked_name(name: &[u8]) -> Result<String, ()> {
    let is_good = name.len() <= MOST_NAME && name.iter().all(u8::is_ascii_graphic);
    if is_good { Ok(String::from_utf8_lossy(name).into_owned()) } else { Err(()) }
}
