//! `orrery get`, `put`, `del` and `status`: a small client of the Redis protocol.

use std::{
    fmt::Display,
    io::{BufRead as _, BufReader, ErrorKind, IsTerminal as _, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Map, Value, json};

use super::ClientArgs;
use crate::resp::reply;

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
}

pub struct Connection {
    reader: BufReader<TcpStream>,
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
            address.to_socket_addrs().with_context(|| format!("{address} is no address"))?;
        let first = found.next().with_context(|| format!("{address} is no address"))?;
        let stream = TcpStream::connect_timeout(&first, PATIENCE).with_context(|| {
            format!("cannot connect to {address}; is a node there? (--connect chooses another)")
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends a command: the answer.
    pub fn ask(&mut self, words: &[&str]) -> Result<Answer> {
        let mut out = Vec::new();
        reply::command(&mut out, words);
        self.reader.get_mut().write_all(&out).context("the node does not take the command")?;
        self.answer().map_err(|why| {
            let late = why.downcast_ref::<std::io::Error>().is_some_and(|why| {
                matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
            });
            match late {
                true => anyhow!(
                    "the node did not answer within {} s; it may be starting, paused or overloaded",
                    PATIENCE.as_secs()
                ),
                false => why.context("the node does not answer"),
            }
        })
    }

    fn answer(&mut self) -> Result<Answer> {
        let line = self.line()?;
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
                eprintln!("absent");
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
        return print_status(args);
    }
    loop {
        if std::io::stdout().is_terminal() {
            // To the top, on an empty screen.
            say(&"\x1b[2J\x1b[H")?;
        }
        // A node that is away may come back.
        if let Err(why) = print_status(args) {
            eprintln!("{why:#}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn print_status(args: &ClientArgs) -> Result<bool> {
    let info = match Connection::open(args)?.ask(&["INFO"])? {
        Answer::Bytes(info) => info,
        other => return failed(args, other),
    };
    let pairs = info.lines().filter_map(|line| line.split_once(':'));
    if args.json {
        let status: Map<String, Value> = pairs
            .map(|(name, value)| {
                let number = value.parse::<u64>().map(Value::from);
                (name.to_string(), number.unwrap_or_else(|_| Value::from(value)))
            })
            .collect();
        say(&format_args!("{:#}", Value::Object(status)))?;
        return Ok(true);
    }
    for line in info.lines() {
        match line.split_once(':') {
            Some((name, value)) => say(&format_args!("  {name:<28} {value}"))?,
            None => say(&line.trim_start_matches("# "))?,
        }
    }
    Ok(true)
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

fn failed(args: &ClientArgs, answer: Answer) -> Result<bool> {
    let why = reason(answer);
    match args.json {
        true => say(&json!({ "error": why }))?,
        false => eprintln!("{why}"),
    }
    Ok(false)
}

/// Why an answer is not the one that was hoped for.
pub fn reason(answer: Answer) -> String {
    match answer {
        Answer::Error(why) => why,
        Answer::Text(_) | Answer::Bytes(_) | Answer::Number(_) | Answer::Nothing => {
            "the node's answer makes no sense; is it Orrery?".into()
        }
    }
}
