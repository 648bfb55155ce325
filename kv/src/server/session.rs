//! A client's connection: bytes in, requests to the node, answers out in order.
//!
//! The short way: what one read of the socket brings is parsed into one batch, the node runs it with one
//! lock per shard, and the answers that are there at once go straight into the output. Only
//! answers that wait for peers come through the session's queue.

mod input;

use std::{future::poll_fn, io, sync::Arc, task::Poll, time::Duration};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    admission::Admission,
    memory::Share,
    outcomes::Outcomes,
    pipeline::{Access, Pipeline, Shape},
    recall::Recall,
    rest::{MOST_IN_FLIGHT, Rest},
    state::{Door, Server},
};
use crate::{
    core::{
        env::{Reply, Request},
        quorum::Level,
        types::RequestId,
    },
    node::{
        Batch, Era, Outbox,
        delivery::{Answers, SessionRequest},
    },
    resp::{frame::Parser, reply::Dialect},
};

/// Requests of a session in one turn, about: then others have theirs.
const MOST_PER_TURN: usize = 4 * MOST_IN_FLIGHT;
/// Answers that the client has not taken or that wait for their turn, in bytes; the next command is
/// read when there are fewer. A little less than a power of two: the buffer doubles as it grows.
const MOST_OUTPUT: usize = 240 * 1024;
/// What a read of the socket brings, in bytes: little at first, for there may be many connections.
const SMALL_READ: usize = 4 * 1024;
const LARGE_READ: usize = 64 * 1024;

/// A session.
pub struct Session {
    pub(super) door: Arc<Door>,
    /// No other connection of this process has it.
    pub(super) number: u64,
    admission: Admission,
    memory: Share,
    /// Since which pause of this process there is the connection: what comes over it is not run after the next one.
    since: u64,
    /// The node that serves it, and what goes between the two. None: no node serves yet.
    desk: Option<Desk>,
    outbox: Outbox,
    taken: Vec<(u32, Reply)>,
    replies: Vec<(RequestId, Reply)>,
    pub(super) pipeline: Pipeline,
    /// What a large command is still to send.
    pub(super) rest: Rest,
    /// A command with many requests is under way: no other one is taken.
    pub(super) is_alone: bool,
    /// There between MULTI and what ends it.
    pub(super) block: Option<Block>,
    parser: Parser,
    /// The size of a command that was found and has to wait.
    found: Option<usize>,
    input: BytesMut,
    output: Vec<u8>,
    pub(super) dialect: Dialect,
    pub(super) read_level: Level,
    /// There while reads are at SESSION: other levels do not pay for it.
    pub(super) recall: Option<Recall>,
    pub(super) write_level: Level,
    pub(super) name: String,
    pub(super) outcomes: Outcomes,
    /// No further command is taken.
    pub(super) ends: bool,
    /// The client sends no more, and still reads: what it sent is answered.
    input_ended: bool,
    /// The most that waited in the input since its buffer was made.
    input_peak: usize,
    /// The size of its buffer.
    input_capacity: usize,
    /// What the next read may bring.
    read_size: usize,
}

/// Where a session's requests are served: its place at a node.
struct Desk {
    server: Arc<Server>,
    /// What the node calls the session.
    session: u32,
    answers: Arc<Answers>,
    batch: Batch,
    /// In which it was opened.
    era: Era,
}

impl Desk {
    fn open(server: Arc<Server>) -> Self {
        // The last command that was taken may have as many requests as are under way.
        let (session, answers) = server.node.ports().sessions().open(2 * MOST_IN_FLIGHT);
        let era = server.node.era();
        let mut batch = server.node.batch();
        batch.set_era(era);
        Self { session, answers, batch, era, server }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.server.node.ports().sessions().close(self.session);
    }
}

/// Why commands are no longer taken from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The rest is to come.
    NeedsInput,
    /// Answers are to come first, or to leave.
    NeedsAnswers,
    /// Nothing, but others are to have their turn.
    HadItsTurn,
}

/// What is between MULTI and EXEC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// A command in it was refused.
    pub(super) is_spoilt: bool,
}

impl Session {
    /// A session of a new connection. It is served as soon as a node serves.
    pub fn new(door: Arc<Door>, admission: Admission) -> Self {
        let (read, write) = (door.settings.default_read, door.settings.default_write);
        let (number, most) = (door.number(), door.memory.most_of_a_command());
        Self {
            number,
            admission,
            memory: door.memory.open(number),
            since: door.pauses(),
            desk: door.serving().map(Desk::open),
            outbox: Outbox::default(),
            taken: Vec::new(),
            replies: Vec::new(),
            pipeline: Pipeline::new(most),
            rest: Rest::default(),
            is_alone: false,
            block: None,
            parser: Parser::new(most),
            found: None,
            input: BytesMut::new(),
            output: Vec::new(),
            dialect: Dialect::default(),
            read_level: read,
            recall: Recall::at(read),
            write_level: write,
            name: String::new(),
            outcomes: Outcomes::default(),
            ends: false,
            input_ended: false,
            input_peak: 0,
            input_capacity: 0,
            read_size: SMALL_READ,
            door,
        }
    }

    /// The same, for a connection that was made after so many pauses of this process.
    pub fn taken_after(mut self, pauses: u64) -> Self {
        self.since = pauses;
        self.ends |= self.is_old();
        self
    }

    /// What lies in the socket of a process that stood still is old: no more is taken from it. What is under way is
    /// answered.
    fn end_if_old(&mut self) {
        self.ends |= match &self.desk {
            Some(desk) => desk.server.node.look() != desk.era,
            None => self.is_old(),
        };
    }

    /// Whether this process stood still since the connection was made.
    fn is_old(&self) -> bool {
        self.door.look() != self.since
    }

    /// The node that serves it, if one does.
    pub fn server(&self) -> Option<Arc<Server>> {
        self.desk.as_ref().map(|desk| desk.server.clone())
    }

    /// Answers what needs no node, and refuses the rest, until a node serves. False: the connection is over.
    pub async fn wait(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> io::Result<bool> {
        while self.desk.is_none() {
            if !self.turn(io).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Serves the connection until one side ends it.
    pub async fn serve(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> io::Result<()> {
        while self.turn(io).await? {}
        Ok(())
    }

    /// Does what can be done now, and waits for more of it. False: the connection is over.
    async fn turn(&mut self, io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<bool> {
        if self.memory.is_over() {
            self.memory.room().await;
        }
        self.end_if_old();
        let stop = self.work();
        self.memory.holds(self.held());
        if self.memory.has_to_end() {
            return Ok(false);
        }
        if !self.output.is_empty() && !self.send_output(io).await? {
            return Ok(false);
        }
        if self.ends && self.pipeline.is_empty() {
            return linger(io).await.map(|()| false);
        }
        if stop == Stop::HadItsTurn {
            tokio::task::yield_now().await;
            return Ok(true);
        }
        // Where nothing is under way there is no answer to wait for.
        let waits_for_nothing = stop == Stop::NeedsAnswers && self.pipeline.in_flight() == 0;
        if self.pipeline.is_ready() || waits_for_nothing {
            return Ok(true);
        }
        if self.input_ended && self.pipeline.is_empty() {
            return Ok(false);
        }
        let may_read = stop == Stop::NeedsInput && !self.ends && !self.input_ended;
        if may_read {
            self.make_room(self.read_size);
            self.memory.holds(self.held());
        }
        let (desk, taken) = (&self.desk, &mut self.taken);
        let answers = poll_fn(|cx| match desk {
            Some(desk) => desk.answers.poll_take(cx, taken),
            None => Poll::Pending,
        });
        tokio::select! {
            biased;
            () = self.memory.end() => return Ok(false),
            open = answers => {
                self.ends |= !open;
            }
            read = io.read_buf(&mut self.input), if may_read => {
                let size = read?;
                self.input_ended = size == 0;
                self.input_peak = self.input_peak.max(self.input.len());
                self.read_size = if size >= self.read_size { LARGE_READ } else { SMALL_READ };
            }
            () = silence(self.admission.patience()) => self.turn_away(),
        }
        // From now on that node takes what came.
        if self.desk.is_none() {
            self.desk = self.door.serving().map(Desk::open);
            // After it: the desk's era may have begun when some of what is in the input was there.
            self.ends |= self.is_old();
        }
        Ok(true)
    }

    /// Sends the answers that are there. False: it has to end, and the client did not take them.
    async fn send_output(&mut self, io: &mut (impl AsyncWrite + Unpin)) -> io::Result<bool> {
        self.memory.is_sending(true);
        let is_sent = tokio::select! {
            biased;
            sent = io.write_all(&self.output) => {
                sent?;
                true
            }
            () = self.memory.end() => false,
        };
        self.memory.is_sending(false);
        self.output.clear();
        self.output.shrink_to(LARGE_READ);
        Ok(is_sent)
    }

    /// The bytes that the connection holds.
    fn held(&self) -> usize {
        let buffers = self.input_capacity + self.output.capacity() + self.parser.held();
        buffers + self.pipeline.held() + self.rest.held()
    }

    /// Room for a read. A connection that once sent much and is quiet now gives its memory back:
    /// there may be many of them.
    fn make_room(&mut self, size: usize) {
        let most = if size == SMALL_READ { 4 * SMALL_READ } else { LARGE_READ };
        if self.input.len() < size && self.input_peak > most {
            self.input = BytesMut::from(&self.input[..]);
            self.parser.shrink();
            self.input_peak = 0;
            self.input_capacity = 0;
        }
        self.input.reserve(size);
        self.input_capacity = self.input_capacity.max(self.input.capacity());
    }

    /// Takes what answers came, and as many commands as may be under way.
    fn work(&mut self) -> Stop {
        for (sequence, reply) in std::mem::take(&mut self.taken) {
            self.answered(sequence, reply);
        }
        self.pipeline.drain(&mut self.output, self.dialect, MOST_OUTPUT);
        let (mut used, mut requests) = (0, 0);
        let stop = loop {
            self.send_rest();
            let stop = self.take_commands(&mut used);
            let waited = (self.pipeline.in_flight(), self.pipeline.len());
            requests += waited.0;
            self.run();
            // What stopped the commands may be answered already.
            let is_stuck = (self.pipeline.in_flight(), self.pipeline.len()) == waited;
            if stop == Stop::NeedsInput || is_stuck || self.output.len() >= MOST_OUTPUT {
                break stop;
            }
            if requests >= MOST_PER_TURN {
                break Stop::HadItsTurn;
            }
        };
        self.input.advance(used);
        self.door.outcomes.add(&mut self.outcomes);
        stop
    }

    fn is_full(&self) -> bool {
        self.pipeline.in_flight().max(self.pipeline.len()) >= MOST_IN_FLIGHT
            || self.output.len() + self.pipeline.held() >= MOST_OUTPUT
    }

    /// Runs the batch, and takes the answers that are there at once.
    fn run(&mut self) {
        while let Some(desk) = self.desk.as_mut().filter(|desk| !desk.batch.is_empty()) {
            desk.server.node.run(&mut desk.batch, &mut self.outbox);
            let ours = desk.session;
            std::mem::swap(&mut self.replies, &mut self.outbox.replies);
            let mut replies = std::mem::take(&mut self.replies);
            for (id, reply) in replies.drain(..) {
                let request = SessionRequest::of(id);
                if request.session == ours {
                    self.answered(request.sequence, reply);
                } else {
                    self.outbox.replies.push((id, reply));
                }
            }
            self.replies = replies;
            if let Some(desk) = &self.desk {
                desk.server.node.flush(&mut self.outbox);
            }
        }
        self.pipeline.drain(&mut self.output, self.dialect, MOST_OUTPUT);
    }

    fn answered(&mut self, sequence: u32, mut reply: Reply) {
        if let (Some(recall), Some(desk)) = (&mut self.recall, &self.desk) {
            reply = recall.answered(sequence, reply, || desk.server.node.ring().epoch());
        }
        self.outcomes.count(&reply);
        if let Some(tombstones) = self.pipeline.answered(sequence, reply) {
            self.send_tombstones(tombstones);
        }
    }

    pub(super) fn send(&mut self, sequence: u32, request: Request, access: Access) {
        let desk = self.desk.as_mut().expect("requests are refused where no node serves");
        self.pipeline.sent(sequence, request.key(), access);
        let node = &desk.server.node;
        if let Some(recall) = &mut self.recall {
            let epoch = || node.inspect_key(request.key(), |shard| shard.epoch());
            recall.sent(sequence, request.key(), epoch);
        }
        let id = SessionRequest { session: desk.session, sequence }.id();
        node.request(&mut desk.batch, id, request);
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

/// Done after so long; never, where there is no limit.
async fn silence(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Closes a connection so that the last answer arrives: while input is on its way, closing at once
/// would reset the connection, and the client would not see why.
async fn linger(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
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
    let _ = tokio::time::timeout(Duration::from_secs(2), discard).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::{
        core::{
            message::{Body, KeyAnswer, KeyRequest, Message},
            record::{Record, Version},
            ring::{RING_SIZE, Ring},
            time::{Micros, Timestamp},
            types::{Key, NodeId, Value},
        },
        log::Lost,
        node::config::NodeConfig,
        resp::reply,
        server::{
            Durability, Settings, Start, identity::Identity, places::Places, recall::MOST_KEYS,
            timers::Timers,
        },
    };

    /// A node whose two peers never answer: its quorum reads end with TIMEOUT once its timers run.
    fn lonely() -> (Arc<Server>, Arc<Timers>) {
        first_of(3, 3)
    }

    /// The first node of a cluster whose other nodes are not there.
    fn first_of(nodes: u16, replication: usize) -> (Arc<Server>, Arc<Timers>) {
        let members: Vec<String> = (1..=nodes).map(|n| format!("host{n}:1")).collect();
        let ring = Arc::new(Ring::form(&members, replication, RING_SIZE).unwrap());
        let settings = Settings {
            client: String::new(),
            peer: members[0].clone(),
            advertise_client: "host1:2".into(),
            advertise_peer: members[0].clone(),
            start: Start::Form { members, replication },
            data: None,
            durability: Durability::Always,
            accept_loss: false,
            places: Places { clients: 1, operators: 1, greetings: 1 },
            lost_lines: Lost::default(),
            most_client_memory: 64 * 1024 * 1024,
            default_read: Level::Quorum,
            default_write: Level::Quorum,
            node: NodeConfig { request_timeout: Micros::from_millis(1), ..NodeConfig::default() },
            clock_offset_ms: 0,
        };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let door = Arc::new(Door::new(settings, address));
        let (server, timers, _) =
            Server::new(door.clone(), Identity { ring, me: NodeId(1), instance: 1 }, None).unwrap();
        server.set_serves(true);
        door.set_node(Some(server.clone()));
        (server, timers)
    }

    fn session_at(server: &Server) -> Session {
        Session::new(server.door.clone(), Admission::Client)
    }

    fn connect(server: &Arc<Server>) -> DuplexStream {
        let (client, mut io) = duplex(64 * 1024);
        let mut session = session_at(server);
        tokio::spawn(async move { session.serve(&mut io).await });
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
        let mut session = session_at(&server);
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

    /// Sends commands to a node that is alone: what it answers, as many bytes as are expected.
    async fn answered(sent: &[u8], expected: usize) -> Vec<u8> {
        let (server, _) = first_of(1, 1);
        let (mut reader, mut writer) = tokio::io::split(connect(&server));
        let mut found = vec![0; expected];
        let both = async {
            tokio::try_join!(writer.write_all(sent), reader.read_exact(&mut found)).unwrap();
        };
        // Long: machines are shared.
        tokio::time::timeout(std::time::Duration::from_secs(60), both).await.unwrap();
        found
    }

    /// Found with a real process: where all answers were there at once, nothing woke the session up for the
    /// rest of a command whose values were many bytes.
    #[tokio::test]
    async fn the_answer_to_a_command_of_many_keys_comes_whole_where_no_peer_is_asked() {
        let value = "v".repeat(200);
        let keys: Vec<String> = (0..4_000).map(|key| format!("k{key}")).collect();
        let (mut sent, mut expected) = (Vec::new(), b"+OK\r\n".to_vec());
        let pairs = keys.iter().flat_map(|key| [key.as_str(), &value]);
        reply::command(&mut sent, &["MSET"].into_iter().chain(pairs).collect::<Vec<_>>());
        for _ in 0..3 {
            let words = ["MGET"].into_iter().chain(keys.iter().map(String::as_str));
            reply::command(&mut sent, &words.collect::<Vec<_>>());
            reply::array(&mut expected, keys.len());
            keys.iter().for_each(|_| reply::bulk(&mut expected, value.as_bytes()));
        }
        assert!(answered(&sent, expected.len()).await == expected);
    }

    #[tokio::test]
    async fn answers_that_are_more_than_one_output_all_come() {
        const MANY: usize = MOST_IN_FLIGHT - 1;
        let value = "\u{1f642}".repeat(200);
        let (mut sent, mut expected) = (Vec::new(), b"+OK\r\n".to_vec());
        reply::command(&mut sent, &["SET", "k", &value]);
        sent.extend_from_slice(&b"GET k\r\n".repeat(MANY));
        (0..MANY).for_each(|_| reply::bulk(&mut expected, value.as_bytes()));
        assert!(expected.len() > MOST_OUTPUT);
        assert!(answered(&sent, expected.len()).await == expected);
    }

    /// All answers to some commands that are sent in one piece.
    fn answers(session: &mut Session, sent: &str) -> String {
        session.input.extend_from_slice(sent.as_bytes());
        session.work();
        String::from_utf8(std::mem::take(&mut session.output)).unwrap()
    }

    #[test]
    fn what_follows_a_delete_of_its_keys_comes_after_it() {
        let (server, _) = first_of(1, 1);
        let mut session = session_at(&server);
        let sent = "SET a 1\r\nDEL a b\r\nGET a\r\nSET a 2\r\nGET a\r\n";
        assert_eq!(answers(&mut session, sent), "+OK\r\n:1\r\n$-1\r\n+OK\r\n$1\r\n2\r\n");
    }

    /// What a read of a key at SESSION would be: its level, and whether a version is known.
    fn recalled(session: &Session, key: &str) -> Option<(Level, bool)> {
        match session.recall.as_ref()?.read(Key::trusted(key)) {
            Request::Get { level, at_least, .. } => Some((level, at_least.is_some())),
            Request::Put { .. } | Request::Restore { .. } => unreachable!("a read is no put"),
        }
    }

    #[test]
    fn what_was_seen_is_recalled_from_the_choice_of_session_to_the_next_choice_or_reset() {
        let (server, _) = first_of(1, 1);
        let mut session = session_at(&server);
        for (sent, known) in [
            ("SET a 1\r\n", None),
            ("SET a 1\r\nCONSISTENCY READ session\r\n", Some(false)),
            ("GET a\r\n", Some(true)),
            ("CONSISTENCY READ session WRITE one\r\n", Some(true)),
            ("CONSISTENCY READ one\r\n", None),
            ("CONSISTENCY READ session\r\n", Some(false)),
            ("MSET a 1 b 2\r\n", Some(true)),
            ("RESET\r\n", None),
            ("CONSISTENCY READ session\r\nDEL a\r\n", Some(true)),
        ] {
            answers(&mut session, sent);
            assert_eq!(recalled(&session, "a"), known.map(|known| (Level::Session, known)));
        }
    }

    #[test]
    fn a_session_that_saw_too_many_keys_reads_unknown_ones_at_all() {
        let (server, _) = first_of(1, 1);
        let mut session = session_at(&server);
        answers(&mut session, "CONSISTENCY READ session\r\n");
        for key in 0..=MOST_KEYS {
            answers(&mut session, &format!("SET k{key} {key}\r\n"));
        }
        assert_eq!(recalled(&session, "k0"), Some((Level::Session, true)));
        let last = format!("k{MOST_KEYS}");
        assert_eq!(recalled(&session, &last), Some((Level::All, false)));
        assert_eq!(answers(&mut session, &format!("GET {last}\r\n")), "$4\r\n1024\r\n");
        let named: Vec<_> = session.door.outcomes.named().collect();
        assert!(named.contains(&("session_reads_at_all", 1)), "{named:?}");
    }

    /// A key that this node does not own, and the one that does where each key has one owner.
    fn key_of_another(server: &Server) -> (String, NodeId) {
        let ring = server.node.ring();
        let owner = |key: &String| ring.owners(ring.slot_of(key)).all()[0];
        let mut keys = (0..).map(|n| format!("k{n}")).map(|key| (owner(&key), key));
        let (owner, key) = keys.find(|(owner, _)| *owner != server.node.id()).unwrap();
        (key, owner)
    }

    /// The only read under way, of that key, finds a record of this age: what the client is told.
    fn found(session: &mut Session, time: u64) -> String {
        let (_, owner) = key_of_another(&session.server().unwrap());
        let (mut cx, mut asked) = (Context::from_waker(Waker::noop()), Vec::new());
        let _ = session.server().unwrap().node.ports().directory().peers()[&owner]
            .queue
            .poll_take(&mut cx, &mut asked);
        asked.retain(|message: &Message| {
            matches!(message.body, Body::KeyRequest(KeyRequest::Read { .. }))
        });
        let [Message { epoch, body: Body::KeyRequest(KeyRequest::Read { op, .. }) }] = asked[..]
        else {
            panic!("not one read: {asked:?}");
        };
        let version = Version { timestamp: Timestamp(time), node: owner };
        let record = Some(Record { version, value: Some(Value::trusted(&time.to_string())) });
        let node = session.server().unwrap().node.clone();
        let mut batch = node.batch();
        node.message(
            &mut batch,
            owner,
            Message { epoch, body: KeyAnswer::Found { op, record }.into() },
        );
        node.run_and_flush(&mut batch);
        let _ = session.desk.as_ref().unwrap().answers.poll_take(&mut cx, &mut session.taken);
        answers(session, "")
    }

    #[test]
    fn a_read_at_session_waits_for_the_one_before_and_never_goes_behind_it() {
        let (server, _) = first_of(3, 1);
        let (key, _) = key_of_another(&server);
        let reads = format!("GET {key}\r\nGET {key}\r\n");
        let mut session = session_at(&server);
        answers(&mut session, &format!("CONSISTENCY READ session\r\n{reads}"));
        assert_eq!(session.pipeline.in_flight(), 1);
        assert_eq!(found(&mut session, 7), "$1\r\n7\r\n");
        assert_eq!(session.pipeline.in_flight(), 1);
        let answer = found(&mut session, 6);
        assert!(answer.starts_with("-STALE "), "{answer}");

        let (server, _) = first_of(3, 1);
        let mut session = session_at(&server);
        answers(&mut session, &format!("CONSISTENCY READ one\r\n{reads}"));
        assert_eq!(session.pipeline.in_flight(), 2, "other levels need not wait");
    }

    #[test]
    fn a_choice_of_levels_waits_for_what_was_asked_before() {
        let (server, _) = lonely();
        let mut session = session_at(&server);
        answers(&mut session, "DEL a\r\nCONSISTENCY READ session WRITE one\r\n");
        // The tombstone is still to be written, at the level that was chosen then.
        let levels = (session.read_level, session.write_level);
        assert_eq!(levels, (Level::Quorum, Level::Quorum));
    }

    #[test]
    fn linearizable_writes_of_a_key_are_made_one_by_one() {
        for (sent, under_way) in [
            ("SET a 1\r\nSET a 2\r\n", 1),
            ("MSET a 1 b 1 a 2\r\n", 2),
            ("SET a 1\r\nSET b 2\r\n", 2),
        ] {
            let (server, _) = lonely();
            let mut session = session_at(&server);
            answers(&mut session, &format!("CONSISTENCY WRITE linearizable\r\n{sent}"));
            assert_eq!(session.pipeline.in_flight(), under_way, "{sent}");
        }
        let (server, _) = first_of(1, 1);
        let mut session = session_at(&server);
        let sent = "CONSISTENCY WRITE linearizable\r\nMSET a 1 b 1 a 2\r\nGET a\r\n";
        assert_eq!(answers(&mut session, sent), "+OK\r\n+OK\r\n$1\r\n2\r\n");
    }

    #[tokio::test]
    async fn a_quiet_connection_gives_back_the_memory_of_a_large_command() {
        let (server, _) = lonely();
        let mut session = session_at(&server);
        for read_size in [SMALL_READ, LARGE_READ] {
            session.input = BytesMut::with_capacity(1 << 20);
            session.input_peak = 1 << 20;
            session.make_room(read_size);
            assert!(session.input.capacity() <= LARGE_READ, "{}", session.input.capacity());
        }
    }
}
