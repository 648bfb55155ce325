//! From arguments to commands.

use std::ops::Range;

use crate::{
    quorum::{Level, UnknownLevel},
    types::{Key, LimitError, Limits, NodeId, NotANode, Value, is_address},
};

/// The arguments of a command: places in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    buffer: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl<'a> Args<'a> {
    /// Arguments at these places.
    pub fn new(buffer: &'a [u8], ranges: &'a [Range<usize>]) -> Self {
        Self { buffer, ranges }
    }

    fn get(&self, at: usize) -> &'a [u8] {
        &self.buffer[self.ranges[at].clone()]
    }

    fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Those from a place on; none, where there are fewer.
    fn from(&self, at: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let buffer = self.buffer;
        self.ranges.get(at..).unwrap_or_default().iter().map(move |range| &buffer[range.clone()])
    }
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `COMMAND`, `COMMAND COUNT`, `COMMAND DOCS`
    Commands(CommandsAbout),
    /// `INFO [section]`
    Info,
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
    /// `CONFIG GET pattern`
    ConfigGet(&'a [u8]),
    /// `DBSIZE`
    Dbsize,
    /// `QUIT`
    Quit,
    /// `RESET`
    Reset,
    /// `CONSISTENCY [READ level] [WRITE level]`
    Consistency {
        /// The level of reads from now on.
        read: Option<Level>,
        /// The level of writes from now on.
        write: Option<Level>,
    },
    /// `RING …`
    Ring(RingCommand<'a>),
}

/// What `RING` is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingCommand<'a> {
    /// `RING`: what the ring is like.
    Show,
    /// `RING LEAVE id`
    Leave(NodeId),
    /// `RING EVICT id …`
    Evict(Vec<NodeId>),
    /// `RING CANCEL`
    Cancel,
    /// `RING FORCE EVICT id …`
    Force(Vec<NodeId>),
    /// `RING JOIN address`
    Join(&'a str),
}

/// What `COMMAND` is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandsAbout {
    /// All commands.
    All,
    /// How many.
    Count,
    /// What they do.
    Docs,
}

/// The names of all commands with their arity, as Redis counts it: with the name; negative: at least.
pub const COMMANDS: [(&str, i8); 20] = [
    ("get", 2),
    ("set", 3),
    ("del", -2),
    ("exists", -2),
    ("mget", -2),
    ("mset", -3),
    ("strlen", 2),
    ("ping", -1),
    ("echo", 2),
    ("hello", -1),
    ("command", -1),
    ("info", -1),
    ("client", -2),
    ("select", 2),
    ("config", -2),
    ("dbsize", 1),
    ("quit", 1),
    ("reset", 1),
    ("consistency", -1),
    ("ring", -1),
];

/// Why arguments are no command of ours. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such command.
    #[error("ERR unknown command '{0}'")]
    Unknown(String),
    /// Too few or too many arguments.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(&'static str),
    /// A key or value beyond its limit.
    #[error("ERR {0}; nothing was done")]
    Limit(#[from] LimitError),
    /// An option that the command of Redis has and ours does not.
    #[error("ERR {command} has no option '{option}' here; nothing was done")]
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
        let mut upper = [0; 12];
        if name.len() > upper.len() {
            return Err(CommandError::Unknown(shown(name)));
        }
        let upper = &mut upper[..name.len()];
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        let key = |at: usize| Key::new(args.get(at), limits);
        let count = args.len();
        match &*upper {
            b"GET" => exactly("get", 2, count).and_then(|()| Ok(Command::Get(key(1)?))),
            b"SET" => set(args, limits),
            b"DEL" => Ok(Command::Del(keys("del", args, limits)?)),
            b"EXISTS" => Ok(Command::Exists(keys("exists", args, limits)?)),
            b"MGET" => Ok(Command::Mget(keys("mget", args, limits)?)),
            b"MSET" => mset(args, limits),
            b"STRLEN" => exactly("strlen", 2, count).and_then(|()| Ok(Command::Strlen(key(1)?))),
            b"PING" if count > 2 => Err(CommandError::Arity("ping")),
            b"PING" => Ok(Command::Ping(args.from(1).next())),
            b"ECHO" => exactly("echo", 2, count).map(|()| Command::Echo(args.get(1))),
            b"HELLO" => hello(args),
            b"COMMAND" => commands(args),
            b"INFO" => Ok(Command::Info),
            b"CLIENT" => client(args),
            b"SELECT" => {
                exactly("select", 2, count)?;
                if args.get(1) == b"0" { Ok(Command::Select) } else { Err(CommandError::Database) }
            }
            b"CONFIG" => config(args),
            b"DBSIZE" => exactly("dbsize", 1, count).map(|()| Command::Dbsize),
            b"QUIT" => exactly("quit", 1, count).map(|()| Command::Quit),
            b"RESET" => exactly("reset", 1, count).map(|()| Command::Reset),
            b"CONSISTENCY" => consistency(args),
            b"RING" => ring(args).map(Command::Ring),
            _ => Err(CommandError::Unknown(shown(name))),
        }
    }
}

fn exactly(command: &'static str, wanted: usize, given: usize) -> Result<(), CommandError> {
    if given == wanted { Ok(()) } else { Err(CommandError::Arity(command)) }
}

fn set<'a>(args: Args<'a>, limits: &Limits) -> Result<Command<'a>, CommandError> {
    if args.len() < 3 {
        return Err(CommandError::Arity("set"));
    }
    if args.len() > 3 {
        let option = shown(args.get(3)).to_uppercase();
        return Err(CommandError::Option { command: "SET", option });
    }
    Ok(Command::Set(Key::new(args.get(1), limits)?, Value::new(args.get(2), limits)?))
}

fn keys(command: &'static str, args: Args<'_>, limits: &Limits) -> Result<Vec<Key>, CommandError> {
    if args.len() < 2 {
        return Err(CommandError::Arity(command));
    }
    Ok(args.from(1).map(|bytes| Key::new(bytes, limits)).collect::<Result<_, _>>()?)
}

fn mset<'a>(args: Args<'a>, limits: &Limits) -> Result<Command<'a>, CommandError> {
    if args.len() < 3 || args.len().is_multiple_of(2) {
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

fn commands(args: Args<'_>) -> Result<Command<'_>, CommandError> {
    Ok(Command::Commands(match args.from(1).next() {
        None => CommandsAbout::All,
        Some(word) if word.eq_ignore_ascii_case(b"COUNT") => CommandsAbout::Count,
        Some(word) if word.eq_ignore_ascii_case(b"DOCS") => CommandsAbout::Docs,
        Some(word) => {
            let option = shown(word).to_uppercase();
            return Err(CommandError::Option { command: "COMMAND", option });
        }
    }))
}

fn client(args: Args<'_>) -> Result<Command<'_>, CommandError> {
    let word = args.from(1).next().ok_or(CommandError::Arity("client"))?;
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let count = args.len();
    if is("SETNAME") {
        exactly("client", 3, count).map(|()| Command::ClientSetName(args.get(2)))
    } else if is("GETNAME") {
        exactly("client", 2, count).map(|()| Command::ClientGetName)
    } else if is("ID") {
        exactly("client", 2, count).map(|()| Command::ClientId)
    } else if is("SETINFO") {
        exactly("client", 4, count).map(|()| Command::ClientSetInfo)
    } else {
        let option = shown(word).to_uppercase();
        Err(CommandError::Option { command: "CLIENT", option })
    }
}

fn config(args: Args<'_>) -> Result<Command<'_>, CommandError> {
    let word = args.from(1).next().ok_or(CommandError::Arity("config"))?;
    if word.eq_ignore_ascii_case(b"GET") {
        return exactly("config", 3, args.len()).map(|()| Command::ConfigGet(args.get(2)));
    }
    let option = shown(word).to_uppercase();
    Err(CommandError::Option { command: "CONFIG", option })
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

fn ring(args: Args<'_>) -> Result<RingCommand<'_>, CommandError> {
    let Some(word) = args.from(1).next() else { return Ok(RingCommand::Show) };
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let one = || exactly("ring", 3, args.len());
    if is(word, "LEAVE") {
        one()?;
        Ok(RingCommand::Leave(node(args.get(2))?))
    } else if is(word, "EVICT") {
        Ok(RingCommand::Evict(nodes(args, 2)?))
    } else if is(word, "CANCEL") {
        exactly("ring", 2, args.len()).map(|()| RingCommand::Cancel)
    } else if is(word, "FORCE") && args.len() > 2 && is(args.get(2), "EVICT") {
        Ok(RingCommand::Force(nodes(args, 3)?))
    } else if is(word, "FORCE") && args.len() > 2 {
        let option = format!("FORCE {}", shown(args.get(2)).to_uppercase());
        Err(CommandError::Option { command: "RING", option })
    } else if is(word, "FORCE") {
        Err(CommandError::Arity("ring"))
    } else if is(word, "JOIN") {
        one()?;
        let text = std::str::from_utf8(args.get(2)).ok();
        let address = text.filter(|text| is_address(text));
        address.map(RingCommand::Join).ok_or_else(|| CommandError::Address(shown(args.get(2))))
    } else {
        Err(CommandError::Option { command: "RING", option: shown(word).to_uppercase() })
    }
}

fn node(bytes: &[u8]) -> Result<NodeId, NotANode> {
    shown(bytes).parse()
}

fn nodes(args: Args<'_>, at: usize) -> Result<Vec<NodeId>, CommandError> {
    if args.len() <= at {
        return Err(CommandError::Arity("ring"));
    }
    Ok(args.from(at).map(node).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<String, String> {
        let mut buffer = Vec::new();
        let mut ranges = Vec::new();
        for word in words {
            ranges.push(buffer.len()..buffer.len() + word.len());
            buffer.extend_from_slice(word.as_bytes());
        }
        let parsed = Command::parse(Args::new(&buffer, &ranges), &Limits::default());
        parsed.map(|command| format!("{command:?}")).map_err(|error| error.to_string())
    }

    fn error(words: &[&str]) -> String {
        parse(words).unwrap_err()
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
            (&["RING", "EVICT", "4", "N5"], "Ring(Evict([NodeId(4), NodeId(5)]))"),
            (&["RING", "CANCEL"], "Ring(Cancel)"),
            (&["RING", "FORCE", "evict", "1"], "Ring(Force([NodeId(1)]))"),
            (&["RING", "JOIN", "h:1"], r#"Ring(Join("h:1"))"#),
        ] {
            assert_eq!(parse(words).unwrap(), parsed);
        }
        let arity = "ERR wrong number of arguments for 'ring' command";
        for bad in [&["FORCE"][..], &["FORCE", "EVICT"], &["EVICT"], &["LEAVE"], &["CANCEL", "1"]] {
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
        assert_eq!(
            error(&["RING", "FORCE", "leave", "1"]),
            "ERR RING has no option 'FORCE LEAVE' here; nothing was done"
        );
        assert_eq!(error(&["RING", "x"]), "ERR RING has no option 'X' here; nothing was done");
    }

    /// Found by a user: HELLO without an argument ended the node.
    #[test]
    fn every_command_takes_or_refuses_any_number_of_arguments() {
        assert_eq!(parse(&["HELLO"]).unwrap(), "Hello(None, None)");
        for (name, _) in COMMANDS {
            for count in 0..6 {
                let words: Vec<&str> = [name].into_iter().chain((0..count).map(|_| "1")).collect();
                let _ = parse(&words);
            }
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
        assert_eq!(error(&["CONFIG", "GET"]), "ERR wrong number of arguments for 'config' command");
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
