//! A client's connection: bytes in, requests to the node, answers out in order.
//!
//! The short way: what one read of the socket brings is parsed into one batch, the node runs it with one
//! lock per shard, and the answers that are there at once go straight into the output. Only
//! answers that wait for peers come through the session's queue.

use std::{future::poll_fn, sync::Arc};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    Server,
    outcomes::Outcomes,
    pipeline::{Access, Pipeline, Shape, Tombstones},
};
use crate::{
    delivery::{Answers, SessionRequest},
    env::{Reply, Request},
    node::{Batch, Outbox},
    quorum::Level,
    resp::{
        command::{Args, Command},
        frame::{Parsed, Parser},
        reply::{self, Dialect},
    },
    types::RequestId,
};

/// Commands and requests under way per session; the next command is read when there are fewer.
const MOST_IN_FLIGHT: usize = 512;
/// Answers that the client has not taken or that wait for their turn, in bytes; the next command is
/// read when there are fewer.
const MOST_OUTPUT: usize = 256 * 1024;
/// What a read of the socket brings, in bytes: little at first, for there may be many connections.
const SMALL_READ: usize = 4 * 1024;
const LARGE_READ: usize = 64 * 1024;

/// A session.
pub struct Session {
    pub(super) server: Arc<Server>,
    pub(super) number: u32,
    answers: Arc<Answers>,
    batch: Batch,
    outbox: Outbox,
    taken: Vec<(u32, Reply)>,
    replies: Vec<(RequestId, Reply)>,
    pub(super) pipeline: Pipeline,
    parser: Parser,
    input: BytesMut,
    output: Vec<u8>,
    pub(super) dialect: Dialect,
    pub(super) read_level: Level,
    pub(super) write_level: Level,
    pub(super) name: String,
    pub(super) outcomes: Outcomes,
    /// No further command is taken.
    pub(super) ends: bool,
    /// The client sends no more, and still reads: what it sent is answered.
    input_ended: bool,
    /// The most that waited in the input since its buffer was made.
    input_peak: usize,
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
        let (number, answers) = server.node.ports().sessions().open(bound);
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
            outcomes: Outcomes::default(),
            ends: false,
            input_ended: false,
            input_peak: 0,
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
            if self.input_ended && self.pipeline.is_empty() {
                return Ok(());
            }
            let may_read = stop == Stop::NeedsInput && !self.ends && !self.input_ended;
            if may_read {
                self.make_room(read_size);
            }
            let (answers, taken) = (&self.answers, &mut self.taken);
            tokio::select! {
                biased;
                open = poll_fn(|cx| answers.poll_take(cx, taken)) => {
                    self.ends |= !open;
                }
                read = io.read_buf(&mut self.input), if may_read => {
                    let size = read?;
                    self.input_ended = size == 0;
                    self.input_peak = self.input_peak.max(self.input.len());
                    read_size = if size >= read_size { LARGE_READ } else { SMALL_READ };
                }
            }
        }
    }

    /// Room for a read. A connection that once sent much and is quiet now gives its memory back:
    /// there may be many of them.
    fn make_room(&mut self, size: usize) {
        let most = if size == SMALL_READ { 4 * SMALL_READ } else { LARGE_READ };
        if self.input.is_empty() && self.input_peak > most {
            self.input = BytesMut::new();
            self.parser = Parser::default();
            self.input_peak = 0;
        }
        self.input.reserve(size);
    }

    /// Takes what answers came, and as many commands as may be under way.
    fn work(&mut self) -> Stop {
        for (sequence, reply) in std::mem::take(&mut self.taken) {
            self.answered(sequence, reply);
        }
        self.pipeline.drain(&mut self.output, self.dialect);
        let mut used = 0;
        let stop = loop {
            let stop = self.take_commands(&mut used);
            let waited = (self.pipeline.in_flight(), self.pipeline.len());
            self.run();
            // What stopped the commands may be answered already.
            let is_stuck = (self.pipeline.in_flight(), self.pipeline.len()) == waited;
            if stop == Stop::NeedsInput || is_stuck || self.is_full() {
                break stop;
            }
        };
        self.input.advance(used);
        self.server.outcomes.add(&mut self.outcomes);
        stop
    }

    fn is_full(&self) -> bool {
        self.pipeline.in_flight().max(self.pipeline.len()) >= MOST_IN_FLIGHT
            || self.output.len() + self.pipeline.held() >= MOST_OUTPUT
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
        self.outcomes.count(&reply);
        if let Some(Tombstones { first, keys }) = self.pipeline.answered(sequence, reply) {
            let level = self.write_level;
            for (at, key) in (0..).zip(keys) {
                let request = Request::Put { key, value: None, level };
                self.send(first.wrapping_add(at), request, Access::Write);
            }
        }
    }

    pub(super) fn send(&mut self, sequence: u32, request: Request, access: Access) {
        self.pipeline.sent(sequence, request.key(), access);
        let id = SessionRequest { session: self.number, sequence }.id();
        self.server.node.request(&mut self.batch, id, request);
    }

    /// An answer that is known at once, in its turn.
    pub(super) fn literal(&mut self, encode: impl FnOnce(&mut Vec<u8>, Dialect)) {
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
        self.server.node.ports().sessions().close(self.number);
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

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::{
        config::NodeConfig,
        ring::{RING_SIZE, Ring},
        server::{Settings, timers::Timers},
        types::{Micros, NodeId},
    };

    /// A node whose two peers never answer: its quorum reads end with TIMEOUT once its timers run.
    fn lonely() -> (Arc<Server>, Arc<Timers>) {
        let members: Vec<String> = (1..=3).map(|n| format!("host{n}:1")).collect();
        let ring = Arc::new(Ring::form(&members, 3, RING_SIZE).unwrap());
        let settings = Settings {
            client: String::new(),
            peer: members[0].clone(),
            members,
            replication: 3,
            most_clients: 1,
            default_read: Level::Quorum,
            default_write: Level::Quorum,
            node: NodeConfig { request_timeout: Micros::from_millis(1), ..NodeConfig::default() },
        };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let (server, timers, _) = Server::new(settings, ring, NodeId(1), address);
        (server, timers)
    }

    fn connect(server: &Arc<Server>) -> DuplexStream {
        let (client, io) = duplex(64 * 1024);
        tokio::spawn(Session::new(server.clone()).serve(io));
        client
    }

    #[tokio::test]
    async fn a_client_that_sends_no_more_gets_the_answers_that_are_under_way() {
        // In the second, a command still waits for another when the input ends.
        for (sent, expected) in [
            ("GET a\r\nPING\r\n", vec!["-TIME", "+PONG"]),
            ("GET a\r\nSET a b\r\nPING\r\n", vec!["-TIME", "-CLOC", "+PONG"]),
        ] {
            let (server, timers) = lonely();
            let mut client = connect(&server);
            client.write_all(sent.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            // The session sees all that before time begins to pass for its node.
            tokio::task::yield_now().await;
            tokio::spawn(timers.run(server.node.clone()));
            let mut answers = String::new();
            client.read_to_string(&mut answers).await.unwrap();
            let kinds: Vec<&str> = answers.lines().map(|line| &line[..5]).collect();
            assert_eq!(kinds, expected);
        }
    }

    #[tokio::test]
    async fn a_server_that_ends_answers_what_is_under_way_and_takes_no_more() {
        let (server, timers) = lonely();
        let mut client = connect(&server);
        client.write_all(b"GET a\r\n").await.unwrap();
        tokio::task::yield_now().await;
        server.node.ports().sessions().drain();
        tokio::task::yield_now().await;
        client.write_all(b"PING\r\n").await.unwrap();
        tokio::spawn(timers.run(server.node.clone()));
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert!(answers.starts_with("-TIMEOUT ") && answers.lines().count() == 1, "{answers}");
    }

    #[tokio::test]
    async fn answers_behind_a_slow_one_are_bounded_and_all_come() {
        const MANY: usize = 5_000;
        let (server, timers) = lonely();
        let mut session = Session::new(server.clone());
        session.input.extend_from_slice(b"GET a\r\n");
        (0..MANY).for_each(|_| session.input.extend_from_slice(b"INFO\r\n"));
        assert_eq!(session.work(), Stop::NeedsAnswers);
        assert!(session.pipeline.held() < 2 * MOST_OUTPUT, "{} bytes", session.pipeline.held());
        assert!(session.pipeline.len() <= MOST_IN_FLIGHT);

        let mut client = connect(&server);
        client.write_all(b"GET a\r\n").await.unwrap();
        client.write_all(&b"PING\r\n".repeat(MANY)).await.unwrap();
        client.shutdown().await.unwrap();
        tokio::spawn(timers.run(server.node.clone()));
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert!(answers.starts_with("-TIMEOUT "));
        assert_eq!(answers.matches("+PONG").count(), MANY);
    }

    #[tokio::test]
    async fn a_quiet_connection_gives_back_the_memory_of_a_large_command() {
        let (server, _) = lonely();
        let mut session = Session::new(server);
        for read_size in [SMALL_READ, LARGE_READ] {
            session.input = BytesMut::with_capacity(1 << 20);
            session.input_peak = 1 << 20;
            session.make_room(read_size);
            assert!(session.input.capacity() <= LARGE_READ, "{}", session.input.capacity());
        }
    }
}
