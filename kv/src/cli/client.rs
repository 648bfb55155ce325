//! `orrery get`, `put`, `del` and `status`: a small client of the Redis protocol.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{BufRead as _, BufReader, ErrorKind, IsTerminal as _, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Map, Number, Value, json};

use super::{ClientArgs, on_signal};
use crate::{log, resp::reply};

/// How long a node may take: more than its own timeout.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is taken, in bytes.
const MOST: usize = 1024 * 1024;

/// What a node answers.
pub enum Answer {
    Text(String),
    Bytes(String),
    Number(i64),
    Nothing,
    Error(String),
    All(Vec<Answer>),
}

pub struct Connection {
    reader: BufReader<TcpStream>,
    /// It answered before: it is a node, and its port for clients.
    is_known: bool,
}

impl Connection {
    /// A connection at the level that was chosen.
    fn open(args: &ClientArgs) -> Result<Self> {
        let mut connection = Self::to(&args.connect)?;
        if let Some(level) = args.level {
            let level = level.to_string();
            let words = ["CONSISTENCY", "READ", &level, "WRITE", &level];
            if let Answer::Error(why) = connection.ask(&words)? {
                bail!(why);
            }
        }
        Ok(connection)
    }

    /// A connection to a node.
    pub fn to(address: &str) -> Result<Self> {
        let mut found =
            address.to_socket_addrs().with_context(|| format!("{address} is not found"))?;
        let first = found.next().with_context(|| format!("{address} is not found"))?;
        let stream = TcpStream::connect_timeout(&first, PATIENCE).with_context(|| {
            format!("cannot connect to {address}; is a node there? (--connect chooses another)")
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream), is_known: false })
    }

    /// Sends a command: the answer.
    pub fn ask(&mut self, words: &[impl AsRef<[u8]>]) -> Result<Answer> {
        let mut answers = self.ask_all(&[words])?;
        Ok(answers.pop().expect("a command has an answer"))
    }

    /// Sends commands at once: their answers.
    pub fn ask_all<W: AsRef<[u8]>>(&mut self, commands: &[impl AsRef<[W]>]) -> Result<Vec<Answer>> {
        let mut out = Vec::new();
        commands.iter().for_each(|words| reply::command(&mut out, words.as_ref()));
        self.reader.get_mut().write_all(&out).context("the node does not take the command")?;
        commands.iter().map(|_| self.next_answer()).collect()
    }

    fn next_answer(&mut self) -> Result<Answer> {
        let is_known = std::mem::replace(&mut self.is_known, true);
        self.answer().map_err(|why| {
            let kind = why.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            match kind {
                Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => anyhow!(
                    "the node did not answer within {} s; it may be starting, paused or overloaded",
                    PATIENCE.as_secs()
                ),
                Some(ErrorKind::ConnectionReset) => why.context(
                    "the node closed the connection: it has stood still, or ended; ask again",
                ),
                _ if is_known => why.context("the node does not answer"),
                _ => why.context(
                    "no node answers there; --connect takes its address for clients, not that for \
                     peers",
                ),
            }
        })
    }

    /// An answer, or many in one: no answer of ours is deeper.
    fn answer(&mut self) -> Result<Answer> {
        let line = self.line()?;
        let Some(length) = line.strip_prefix('*') else { return self.plain(&line) };
        let length: usize = length.parse()?;
        ensure!(length <= MOST, "an answer of {length} parts");
        let mut part = || self.line().and_then(|line| self.plain(&line));
        Ok(Answer::All((0..length).map(|_| part()).collect::<Result<_>>()?))
    }

    fn plain(&mut self, line: &str) -> Result<Answer> {
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| anyhow!("an empty line"))?;
        Ok(match kind {
            "+" => Answer::Text(rest.to_string()),
            "-" => Answer::Error(rest.to_string()),
            ":" => Answer::Number(rest.parse()?),
            "$" if rest == "-1" => Answer::Nothing,
            "$" => {
                let length: usize = rest.parse()?;
                ensure!(length <= MOST, "an answer of {length} bytes");
                let mut bytes = vec![0; length + 2];
                self.reader.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Answer::Bytes(String::from_utf8(bytes)?)
            }
            _ => bail!("not the Redis protocol: {line:?}"),
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.reader.by_ref().take(64 * 1024).read_until(b'\n', &mut line)?;
        ensure!(line.ends_with(b"\r\n"), "the connection ended");
        line.truncate(line.len() - 2);
        Ok(String::from_utf8(line)?)
    }
}

/// `orrery get`.
pub fn get(args: &ClientArgs, key: &str) -> Result<bool> {
    match Connection::open(args)?.ask(&["GET", key])? {
        Answer::Bytes(value) => {
            show(args, &value, json!({ "key": key, "value": value }))?;
            Ok(true)
        }
        Answer::Nothing => {
            if args.json {
                say(&json!({ "key": key, "value": null }))?;
            } else {
                tell(&"absent");
            }
            Ok(false)
        }
        other => failed(args, other),
    }
}

/// `orrery put`.
pub fn put(args: &ClientArgs, key: &str, value: &str) -> Result<bool> {
    match Connection::open(args)?.ask(&["SET", key, value])? {
        Answer::Text(text) => {
            show(args, &text, json!({ "key": key, "written": true }))?;
            Ok(true)
        }
        other => failed(args, other),
    }
}

/// `orrery del`.
pub fn delete(args: &ClientArgs, key: &str) -> Result<bool> {
    match Connection::open(args)?.ask(&["DEL", key])? {
        Answer::Number(count) => {
            let text = if count > 0 { "deleted" } else { "absent" };
            show(args, text, json!({ "key": key, "deleted": count > 0 }))?;
            Ok(count > 0)
        }
        other => failed(args, other),
    }
}

/// `orrery status`.
pub fn status(args: &ClientArgs, watch: bool) -> Result<bool> {
    if !watch {
        return match Connection::open(args)?.ask(&["INFO"])? {
            Answer::Bytes(info) => say(&status_text(args, &info)).map(|()| true),
            other => failed(args, other),
        };
    }
    // At once, also while a node does not answer.
    on_signal(|| std::process::exit(0))?;
    // To the top, on an empty screen.
    let clear = if std::io::stdout().is_terminal() { "\x1b[2J\x1b[H" } else { "" };
    loop {
        match Connection::open(args).and_then(|mut node| node.ask(&["INFO"])) {
            Ok(Answer::Bytes(info)) => {
                let text = if args.json { status_text(args, &info) } else { watch_text(&info) };
                match writeln!(std::io::stdout(), "{clear}{text}") {
                    Err(why) if why.kind() == ErrorKind::BrokenPipe => return Ok(true),
                    written => written.context("the output cannot be written")?,
                }
            }
            // A node that is away may come back.
            Ok(other) => tell(&reason(other)),
            Err(why) => tell(&format_args!("{why:#}")),
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// What of INFO changes while a node starts, or while the ring does.
const WATCHED: [&str; 13] = [
    "node",
    "state",
    "ring",
    "epoch",
    "members",
    "slots_to_pull",
    "slots_to_hand_over",
    "peers_to_compare",
    "records_behind",
    "joins_waiting",
    "connected_clients",
    "requests_in_flight",
    "live_records",
];

/// A node in a few lines.
fn watch_text(info: &str) -> String {
    let all: Vec<(&str, &str)> = info.lines().filter_map(|line| line.split_once(':')).collect();
    let mut lines = Vec::new();
    for name in WATCHED {
        let found = all.iter().find(|(found, _)| *found == name);
        lines.extend(found.map(|(name, value)| format!("  {name:<28} {value}")));
    }
    // Of a hundred peers those that are not well are of interest.
    let mut peers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &all {
        if let Some(id) = name.strip_prefix("peer_") {
            let seems = value.split(',').find_map(|part| part.strip_prefix("seems="));
            peers.entry(seems.unwrap_or("unknown")).or_default().push(id);
        }
    }
    let told = |(seems, ids): (&&str, &Vec<&str>)| match *seems {
        "alive" => format!("{} alive", ids.len()),
        seems => format!("{} {seems} ({})", ids.len(), ids.join(" ")),
    };
    let peers: Vec<String> = peers.iter().map(told).collect();
    lines.push(format!("  {:<28} {}", "peers", peers.join(", ")));
    lines.push(String::new());
    lines.join("\n")
}

fn status_text(args: &ClientArgs, info: &str) -> String {
    if args.json {
        let pairs = info.lines().filter_map(|line| line.split_once(':'));
        let status: Map<String, Value> =
            pairs.map(|(name, value)| (name.to_string(), json_value(name, value))).collect();
        return format!("{:#}", Value::Object(status));
    }
    let line = |line: &str| match line.split_once(':') {
        Some((name, value)) => format!("  {name:<28} {value}"),
        None => line.trim_start_matches("# ").to_string(),
    };
    info.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A number where it is written as one: the name of a cluster may have digits only, and is none.
fn json_value(name: &str, value: &str) -> Value {
    let number = value.parse::<Number>().ok().filter(|_| name != "cluster");
    number.map_or_else(|| Value::from(value), Value::Number)
}

fn show(args: &ClientArgs, text: &str, json: Value) -> Result<()> {
    match args.json {
        true => say(&json),
        false => say(&text),
    }
}

/// A line for whoever reads the output. One who has read enough is no error.
pub fn say(line: &dyn Display) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(why) if why.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("the output cannot be written"),
    }
}

/// A line that shows how far a command is, where somebody looks: once a second at most.
#[derive(Default)]
pub struct Progress(Option<Instant>);

impl Progress {
    pub fn show(&mut self, line: &dyn Display) {
        let is_due = self.0.is_none_or(|shown| shown.elapsed() >= Duration::from_secs(1));
        if is_due && std::io::stderr().is_terminal() {
            self.0 = Some(Instant::now());
            // Whoever looks at a terminal may stop it.
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    }

    /// Nothing more is shown: the line is cleared.
    pub fn end(&mut self) {
        if self.0.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// A line beside the output. Whoever does not read it has the exit code.
pub fn tell(line: &dyn Display) {
    log::tell(&line.to_string());
}

fn failed(args: &ClientArgs, answer: Answer) -> Result<bool> {
    let why = reason(answer);
    match args.json {
        true => say(&json!({ "error": why }))?,
        false => tell(&format_args!("error: {why}")),
    }
    Ok(false)
}

/// Why an answer is not the one that was hoped for.
pub fn reason(answer: Answer) -> String {
    match answer {
        Answer::Error(why) => why,
        Answer::Text(_)
        | Answer::Bytes(_)
        | Answer::Number(_)
        | Answer::Nothing
        | Answer::All(_) => "the node's answer makes no sense; is it Orrery?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_a_number_is_one_in_json() {
        let json = |name, value| json_value(name, value).to_string();
        assert_eq!(json("records", "12"), "12");
        assert_eq!(json("clock_offset_us", "-2"), "-2");
        assert_eq!(json("used_cpu_sys", "0.020000"), "0.02");
        assert_eq!(json("redis_version", "7.0.0"), "\"7.0.0\"");
        assert_eq!(json("clock_offset_us", "unknown"), "\"unknown\"");
        assert_eq!(json("peers_to_compare", ""), "\"\"");
        assert_eq!(json("cluster", "1234567890123456"), "\"1234567890123456\"");
    }
}
