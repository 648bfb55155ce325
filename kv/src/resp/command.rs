//! From arguments to commands.

use std::ops::RangeInclusive;

use super::{
    args::Args,
    entry::{Entry, Word},
    table::Found,
};
use crate::core::{
    quorum::{Level, UnknownLevel},
    record::{Record, Version},
    ring::RING_SIZE,
    time::Timestamp,
    types::{Key, LimitError, Limits, NodeId, NotANode, Value, is_address},
};

/// How many records `RECORDS LIST` lists at most: its answer is built at once.
pub const MOST_LISTED: u64 = 256;

/// A command.
#[derive(Clone, Debug)]
pub enum Command<'a> {
    /// `GET key`
    Get(Key),
    /// `SET key value`
    Set(Key, Value),
    /// `DEL key …`
    Del(Vec<Key>),
    /// `EXISTS key …`
    Exists(Vec<Key>),
    /// `MGET key …`
    Mget(Vec<Key>),
    /// `MSET key value …`
    Mset(Vec<(Key, Value)>),
    /// `STRLEN key`
    Strlen(Key),
    /// `PING [text]`
    Ping(Option<&'a [u8]>),
    /// `ECHO text`
    Echo(&'a [u8]),
    /// `HELLO [2|3] [SETNAME name]`
    Hello(Option<u8>, Option<&'a [u8]>),
    /// `COMMAND …`
    Commands(CommandsAbout<'a>),
    /// `INFO [section …]`
    Info(Vec<&'a [u8]>),
    /// `CLIENT SETNAME name`
    ClientSetName(&'a [u8]),
    /// `CLIENT GETNAME`
    ClientGetName,
    /// `CLIENT ID`
    ClientId,
    /// `CLIENT SETINFO attribute value`: taken, and not kept.
    ClientSetInfo,
    /// `SELECT 0`
    Select,
    /// `CONFIG GET pattern …`
    ConfigGet(Vec<&'a [u8]>),
    /// `DBSIZE`
    Dbsize,
    /// `QUIT`
    Quit,
    /// `RESET`
    Reset,
    /// `MULTI` and what belongs to it.
    Transaction(Transaction),
    /// `CONSISTENCY [READ level] [WRITE level]`
    Consistency {
        /// The level of reads from now on.
        read: Option<Level>,
        /// The level of writes from now on.
        write: Option<Level>,
    },
    /// `RING …`
    Ring(RingCommand<'a>),
    /// `RECORDS LIST first last count [after]`
    RecordsList {
        /// Of which slots.
        slots: RangeInclusive<u16>,
        /// Behind which key.
        after: Option<Key>,
        /// How many records at most; not zero.
        count: usize,
    },
    /// `RECORDS RESTORE key time node [value]`
    RecordsRestore(Key, Record),
}

/// The commands about transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// `MULTI`
    Multi,
    /// `EXEC`
    Exec,
    /// `DISCARD`
    Discard,
    /// `WATCH key …`
    Watch,
    /// `UNWATCH`
    Unwatch,
}

/// What `RING` is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingCommand<'a> {
    /// `RING`: what the ring is like.
    Show,
    /// `RING LEAVE id`
    Leave(NodeId),
    /// `RING EVICT id … [FORCE] [ACCEPT-LOSS]`
    Evict {
        /// The members.
        nodes: Vec<NodeId>,
        /// Though they seem alive.
        force: bool,
        /// The node that is asked decides alone: what only they held is lost.
        accept_loss: bool,
    },
    /// `RING CANCEL`
    Cancel,
    /// `RING JOIN address`
    Join(&'a str),
}

/// What `COMMAND` is asked.
#[derive(Clone, Debug)]
pub enum CommandsAbout<'a> {
    /// All commands.
    All,
    /// How many.
    Count,
    /// Their names.
    List,
    /// These; none in the place of a name that is no command's.
    Info(Vec<Option<&'static Entry>>),
    /// What these do; all, where none is named.
    Docs(Option<Vec<&'static Entry>>),
    /// Which arguments of a command are keys.
    Keys(Vec<&'a [u8]>),
}

/// Why arguments are no command of ours. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such command.
    #[error("ERR unknown command '{0}'")]
    Unknown(String),
    /// Too few or too many arguments.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(&'static str),
    /// No such command, where one was to be told of.
    #[error("ERR Invalid command specified")]
    NoCommand,
    /// A command without keys, where they were to be told.
    #[error("ERR The command has no key arguments")]
    NoKeys,
    /// Too few or too many arguments of the command that was to be told of.
    #[error("ERR Invalid number of arguments specified for command")]
    ArityToo,
    /// A key or value beyond its limit.
    #[error("ERR {0}; nothing was done")]
    Limit(#[from] LimitError),
    /// An option that the command of Redis has and ours does not.
    #[error("ERR {} has no option '{option}' here; nothing was done", command.to_uppercase())]
    Option {
        /// The command.
        command: &'static str,
        /// The option.
        option: String,
    },
    /// A level that we do not have.
    #[error("ERR {0}")]
    Level(#[from] UnknownLevel),
    /// Not the id of a node.
    #[error("ERR {0}")]
    Node(#[from] NotANode),
    /// Not an address.
    #[error("ERR {0:?} is no address; one is written host:port")]
    Address(String),
    /// Not a number, or one that is too small or too large.
    #[error("ERR {0:?} is no number from {1} to {2}")]
    Number(String, u64, u64),
    /// Another database than 0.
    #[error("ERR there is one database, 0")]
    Database,
    /// A version of the protocol that we do not speak.
    #[error("NOPROTO unsupported protocol version, there are 2 and 3")]
    Protocol,
}

/// The part of a text that an error may repeat.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned()
}

impl<'a> Command<'a> {
    /// Takes arguments as a command.
    pub fn parse(args: Args<'a>, limits: &Limits) -> Result<Self, CommandError> {
        let name = args.get(0);
        let entry = match Entry::of(name, args.from(1)) {
            Found::Entry(entry) => entry,
            Found::NoSubcommand(entry) => {
                let option = shown(args.get(1)).to_uppercase();
                return Err(CommandError::Option { command: entry.name, option });
            }
            Found::Nothing => return Err(CommandError::Unknown(shown(name))),
        };
        if !entry.takes_count(args.len()) {
            return Err(CommandError::Arity(entry.name));
        }
        let key = |at: usize| Key::new(args.get(at), limits);
        Ok(match entry.word {
            Word::Get => Command::Get(key(1)?),
            Word::Set => return set(args, limits),
            Word::Del => Command::Del(keys(args, limits)?),
            Word::Exists => Command::Exists(keys(args, limits)?),
            Word::Mget => Command::Mget(keys(args, limits)?),
            Word::Mset => return mset(args, limits),
            Word::Strlen => Command::Strlen(key(1)?),
            Word::Ping if args.len() > 2 => return Err(CommandError::Arity(entry.name)),
            Word::Ping => Command::Ping(args.from(1).next()),
            Word::Echo => Command::Echo(args.get(1)),
            Word::Hello => return hello(args),
            Word::Command => Command::Commands(CommandsAbout::All),
            Word::CommandCount => Command::Commands(CommandsAbout::Count),
            Word::CommandList => Command::Commands(CommandsAbout::List),
            Word::CommandInfo => {
                Command::Commands(CommandsAbout::Info(args.from(2).map(Entry::named).collect()))
            }
            Word::CommandDocs => {
                let named = args.from(2).filter_map(Entry::named).collect();
                Command::Commands(CommandsAbout::Docs((args.len() > 2).then_some(named)))
            }
            Word::CommandGetkeys => Command::Commands(CommandsAbout::Keys(keys_of(args)?)),
            Word::Info => Command::Info(args.from(1).collect()),
            Word::ClientGetname => Command::ClientGetName,
            Word::ClientId => Command::ClientId,
            Word::ClientSetinfo => Command::ClientSetInfo,
            Word::ClientSetname => Command::ClientSetName(args.get(2)),
            Word::Select if args.get(1) == b"0" => Command::Select,
            Word::Select => return Err(CommandError::Database),
            Word::ConfigGet => Command::ConfigGet(args.from(2).collect()),
            Word::Dbsize => Command::Dbsize,
            Word::Quit => Command::Quit,
            Word::Reset => Command::Reset,
            Word::Multi => Command::Transaction(Transaction::Multi),
            Word::Exec => Command::Transaction(Transaction::Exec),
            Word::Discard => Command::Transaction(Transaction::Discard),
            Word::Watch => Command::Transaction(Transaction::Watch),
            Word::Unwatch => Command::Transaction(Transaction::Unwatch),
            Word::Consistency => return consistency(args),
            Word::Ring => Command::Ring(RingCommand::Show),
            Word::RingCancel => Command::Ring(RingCommand::Cancel),
            Word::RingEvict => Command::Ring(evict(args)?),
            Word::RingJoin => Command::Ring(RingCommand::Join(address(args.get(2))?)),
            Word::RingLeave => Command::Ring(RingCommand::Leave(node(args.get(2))?)),
            Word::RecordsList => return records_list(args, limits),
            Word::RecordsRestore => return records_restore(args, limits),
            // Their names alone have too few arguments.
            Word::Client | Word::Config | Word::Records => {
                return Err(CommandError::Arity(entry.name));
            }
        })
    }
}

fn set<'a>(args: Args<'a>, limits: &Limits) -> Result<Command<'a>, CommandError> {
    if args.len() > 3 {
        let option = shown(args.get(3)).to_uppercase();
        return Err(CommandError::Option { command: "SET", option });
    }
    Ok(Command::Set(Key::new(args.get(1), limits)?, Value::new(args.get(2), limits)?))
}

fn keys(args: Args<'_>, limits: &Limits) -> Result<Vec<Key>, CommandError> {
    Ok(args.from(1).map(|bytes| Key::new(bytes, limits)).collect::<Result<_, _>>()?)
}

fn mset<'a>(args: Args<'a>, limits: &Limits) -> Result<Command<'a>, CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("mset"));
    }
    let pair = |at: usize| -> Result<(Key, Value), LimitError> {
        Ok((Key::new(args.get(at), limits)?, Value::new(args.get(at + 1), limits)?))
    };
    Ok(Command::Mset((1..args.len()).step_by(2).map(pair).collect::<Result<_, _>>()?))
}

fn hello(args: Args<'_>) -> Result<Command<'_>, CommandError> {
    let version = match args.from(1).next() {
        None => None,
        Some(b"2") => Some(2),
        Some(b"3") => Some(3),
        Some(_) => return Err(CommandError::Protocol),
    };
    let mut options = args.from(2);
    match (options.next(), options.next()) {
        (None, _) => Ok(Command::Hello(version, None)),
        (Some(option), Some(name)) if option.eq_ignore_ascii_case(b"SETNAME") => {
            Ok(Command::Hello(version, Some(name)))
        }
        (Some(option), _) => {
            let option = shown(option).to_uppercase();
            Err(CommandError::Option { command: "HELLO", option })
        }
    }
}

/// The keys of the command that follows `COMMAND GETKEYS`.
fn keys_of(args: Args<'_>) -> Result<Vec<&[u8]>, CommandError> {
    let words: Vec<&[u8]> = args.from(2).collect();
    let Found::Entry(entry) = Entry::of(words[0], words[1..].iter().copied()) else {
        return Err(CommandError::NoCommand);
    };
    let keys = entry.keys.ok_or(CommandError::NoKeys)?;
    if !entry.takes_count(words.len()) {
        return Err(CommandError::ArityToo);
    }
    let last = usize::try_from(keys.last).unwrap_or(words.len() - 1);
    Ok(words[1..=last].iter().copied().step_by(keys.step.into()).collect())
}

fn consistency(args: Args<'_>) -> Result<Command<'_>, CommandError> {
    let (mut read, mut write) = (None, None);
    let mut words = args.from(1);
    while let Some(word) = words.next() {
        let level = words.next().ok_or(CommandError::Arity("consistency"))?;
        let level: Level = String::from_utf8_lossy(level).parse()?;
        if word.eq_ignore_ascii_case(b"READ") {
            read = Some(level);
        } else if word.eq_ignore_ascii_case(b"WRITE") {
            write = Some(level);
        } else {
            let option = shown(word).to_uppercase();
            return Err(CommandError::Option { command: "CONSISTENCY", option });
        }
    }
    Ok(Command::Consistency { read, write })
}

fn address(bytes: &[u8]) -> Result<&str, CommandError> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| is_address(text));
    text.ok_or_else(|| CommandError::Address(shown(bytes)))
}

fn node(bytes: &[u8]) -> Result<NodeId, NotANode> {
    shown(bytes).parse()
}

/// A number within bounds.
fn number(bytes: &[u8], least: u64, most: u64) -> Result<u64, CommandError> {
    let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    let number = number.filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| CommandError::Number(shown(bytes), least, most))
}

fn slot(bytes: &[u8], least: u16) -> Result<u16, CommandError> {
    let number = number(bytes, least.into(), u64::from(RING_SIZE) - 1)?;
    Ok(u16::try_from(number).expect("a slot is less than the size of the ring"))
}

fn records_list<'a>(args: Args<'a>, limits: &Limits) -> Result<Command<'a>, CommandError> {
    if args.len() > 6 {
        return Err(CommandError::Arity("records|list"));
    }
    let first = slot(args.get(2), 0)?;
    let slots = first..=slot(args.get(3), first)?;
    let count = number(args.get(4), 1, MOST_LISTED)? as usize;
    let after = args.from(5).next().map(|key| Key::new(key, limits)).transpose()?;
    Ok(Command::RecordsList { slots, after, count })
}

fn records_restore<'a>(args: Args<'a>, limits: &Limits) -> Result<Command<'a>, CommandError> {
    if args.len() > 6 {
        return Err(CommandError::Arity("records|restore"));
    }
    let key = Key::new(args.get(2), limits)?;
    let timestamp = Timestamp(number(args.get(3), 0, u64::MAX)?);
    let version = Version { timestamp, node: node(args.get(4))? };
    let value = args.from(5).next().map(|value| Value::new(value, limits)).transpose()?;
    Ok(Command::RecordsRestore(key, Record { version, value }))
}

fn evict(args: Args<'_>) -> Result<RingCommand<'_>, CommandError> {
    let (mut nodes, mut force, mut accept_loss) = (Vec::new(), false, false);
    for word in args.from(2) {
        match word {
            word if word.eq_ignore_ascii_case(b"FORCE") => force = true,
            word if word.eq_ignore_ascii_case(b"ACCEPT-LOSS") => accept_loss = true,
            word => nodes.push(node(word)?),
        }
    }
    match nodes.is_empty() {
        true => Err(CommandError::Arity("ring|evict")),
        false => Ok(RingCommand::Evict { nodes, force, accept_loss }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::table::COMMANDS;

    fn parse(words: &[&str]) -> Result<String, CommandError> {
        let mut buffer = Vec::new();
        let mut ranges = Vec::new();
        for word in words {
            ranges.push(buffer.len()..buffer.len() + word.len());
            buffer.extend_from_slice(word.as_bytes());
        }
        let parsed = Command::parse(Args::new(&buffer, &ranges), &Limits::default());
        parsed.map(|command| format!("{command:?}"))
    }

    fn error(words: &[&str]) -> String {
        parse(words).unwrap_err().to_string()
    }

    #[test]
    fn commands_are_read_in_any_case() {
        let get = r#"Get(Key("a"))"#;
        assert_eq!(parse(&["gEt", "a"]).unwrap(), get);
        assert_eq!(parse(&["SET", "", ""]).unwrap(), r#"Set(Key(""), Value(""))"#);
        assert_eq!(
            parse(&["consistency", "read", "one", "WRITE", "ALL"]).unwrap(),
            "Consistency { read: Some(One), write: Some(All) }"
        );
    }

    #[test]
    fn changes_of_the_ring_name_their_nodes() {
        for (words, parsed) in [
            (&["ring"][..], "Ring(Show)"),
            (&["RING", "leave", "n4"], "Ring(Leave(NodeId(4)))"),
            (
                &["RING", "EVICT", "4", "N5"],
                "Ring(Evict { nodes: [NodeId(4), NodeId(5)], force: false, accept_loss: false })",
            ),
            (
                &["RING", "evict", "1", "force"],
                "Ring(Evict { nodes: [NodeId(1)], force: true, accept_loss: false })",
            ),
            (
                &["RING", "EVICT", "1", "Accept-Loss"],
                "Ring(Evict { nodes: [NodeId(1)], force: false, accept_loss: true })",
            ),
            (&["RING", "CANCEL"], "Ring(Cancel)"),
            (&["RING", "JOIN", "h:1"], r#"Ring(Join("h:1"))"#),
        ] {
            assert_eq!(parse(words).unwrap(), parsed);
        }
        for bad in [&["EVICT", "FORCE"][..], &["EVICT"], &["LEAVE"], &["CANCEL", "1"]] {
            let name = format!("ring|{}", bad[0].to_lowercase());
            let arity = format!("ERR wrong number of arguments for '{name}' command");
            assert_eq!(error(&[&["RING"], bad].concat()), arity);
        }
        assert_eq!(
            error(&["RING", "LEAVE", "x4"]),
            r#"ERR "x4" is no node: ids are written n4 or 4"#
        );
        assert_eq!(
            error(&["RING", "JOIN", "host"]),
            r#"ERR "host" is no address; one is written host:port"#
        );
        for bad in ["h: 1", "h:0", ":1", "a b:1", "h:65536"] {
            assert!(error(&["RING", "JOIN", bad]).contains("is no address"), "{bad}");
        }
        let unknown = error(&["RING", "FORCE", "EVICT", "1"]);
        assert_eq!(unknown, error(&["RING", "NEVER", "EVICT", "1"]).replace("NEVER", "FORCE"));
        assert_eq!(error(&["RING", "x"]), "ERR RING has no option 'X' here; nothing was done");
    }

    /// Found by a user: HELLO without an argument ended the node.
    #[test]
    fn every_command_takes_or_refuses_any_number_of_arguments() {
        assert_eq!(parse(&["HELLO"]).unwrap(), "Hello(None, None)");
        for entry in COMMANDS.iter().flat_map(|entry| [entry].into_iter().chain(entry.subcommands))
        {
            for count in 0..6 {
                let words: Vec<&str> =
                    entry.name.split('|').chain((0..count).map(|_| "1")).collect();
                let _ = parse(&words);
            }
        }
    }

    #[test]
    fn the_keys_of_a_command_are_those_that_the_table_names() {
        let keys = |words: &[&str]| parse(&[&["COMMAND", "GETKEYS"], words].concat());
        for (words, found) in [
            (&["get", "a"][..], "[[97]]"),
            (&["MSET", "a", "1", "b", "2"], "[[97], [98]]"),
            (&["mget", "a", "b"], "[[97], [98]]"),
        ] {
            assert_eq!(keys(words).unwrap(), format!("Commands(Keys({found}))"));
        }
        for (words, why) in [
            (&["ping", "a"][..], "ERR The command has no key arguments"),
            (&["nope", "a"], "ERR Invalid command specified"),
            (&["get", "a", "b"], "ERR Invalid number of arguments specified for command"),
        ] {
            assert_eq!(keys(words).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn errors_name_the_limit_or_the_command() {
        let (key, value) = ("k".repeat(51), "v".repeat(201));
        assert_eq!(
            error(&["GET", &key]),
            "ERR the key has 51 characters, the limit is 50; nothing was done"
        );
        assert_eq!(
            error(&["MSET", "a", &value]),
            "ERR the value has 201 characters, the limit is 200; nothing was done"
        );
        assert_eq!(error(&["GET"]), "ERR wrong number of arguments for 'get' command");
        assert_eq!(error(&["MSET", "a"]), "ERR wrong number of arguments for 'mset' command");
        assert_eq!(error(&["FLUSHALL"]), "ERR unknown command 'FLUSHALL'");
        assert_eq!(
            error(&["SET", "a", "b", "ex", "10"]),
            "ERR SET has no option 'EX' here; nothing was done"
        );
        assert_eq!(
            error(&["CONFIG", "SET", "save", ""]),
            "ERR CONFIG has no option 'SET' here; nothing was done"
        );
        assert_eq!(
            error(&["CONFIG", "GET"]),
            "ERR wrong number of arguments for 'config|get' command"
        );
        assert_eq!(
            error(&["CONSISTENCY", "READ", "two"]),
            "ERR unknown level \"two\": the levels are one, session, quorum, all and linearizable"
        );
        assert_eq!(error(&["SELECT", "1"]), "ERR there is one database, 0");
        assert_eq!(
            error(&["HELLO", "4"]),
            "NOPROTO unsupported protocol version, there are 2 and 3"
        );
    }
}
