//! The commands, once: what the parser accepts, and what COMMAND and its like tell of them.
//! The list itself is in `entries.rs`.

pub use super::entries::COMMANDS;

/// The version of Redis that clients and tools are told: the level of the protocol, and of what COMMAND, HELLO
/// and INFO answer. Those who look at it refuse versions below 5 or 6.2 (queues), or choose how to ask for
/// things; what a command of Redis 7.0 is not there for is refused by its name.
pub const REDIS_LEVEL: &str = "7.0.0";

/// What the parser makes of a command's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `GET`
    Get,
    /// `SET`
    Set,
    /// `DEL`
    Del,
    /// `EXISTS`
    Exists,
    /// `MGET`
    Mget,
    /// `MSET`
    Mset,
    /// `STRLEN`
    Strlen,
    /// `PING`
    Ping,
    /// `ECHO`
    Echo,
    /// `HELLO`
    Hello,
    /// `COMMAND`
    Command,
    /// `COMMAND COUNT`
    CommandCount,
    /// `COMMAND DOCS`
    CommandDocs,
    /// `COMMAND GETKEYS`
    CommandGetkeys,
    /// `COMMAND INFO`
    CommandInfo,
    /// `COMMAND LIST`
    CommandList,
    /// `INFO`
    Info,
    /// `CLIENT` without more.
    Client,
    /// `CLIENT GETNAME`
    ClientGetname,
    /// `CLIENT ID`
    ClientId,
    /// `CLIENT SETINFO`
    ClientSetinfo,
    /// `CLIENT SETNAME`
    ClientSetname,
    /// `SELECT`
    Select,
    /// `CONFIG` without more.
    Config,
    /// `CONFIG GET`
    ConfigGet,
    /// `DBSIZE`
    Dbsize,
    /// `QUIT`
    Quit,
    /// `RESET`
    Reset,
    /// `MULTI`
    Multi,
    /// `EXEC`
    Exec,
    /// `DISCARD`
    Discard,
    /// `WATCH`
    Watch,
    /// `UNWATCH`
    Unwatch,
    /// `CONSISTENCY`
    Consistency,
    /// `RING`
    Ring,
    /// `RING CANCEL`
    RingCancel,
    /// `RING EVICT`
    RingEvict,
    /// `RING JOIN`
    RingJoin,
    /// `RING LEAVE`
    RingLeave,
}

/// A command, or a subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What the parser makes of it.
    pub word: Word,
    /// In lower case; that of a subcommand is written `command|subcommand`.
    pub name: &'static str,
    /// How many arguments, with the name, and for a subcommand with both; negative: at least so many.
    pub arity: i8,
    /// What clients may conclude from.
    pub flags: &'static [&'static str],
    /// The groups of commands that it belongs to.
    pub categories: &'static [&'static str],
    /// How a client with connections to several servers may use it.
    pub tips: &'static [&'static str],
    /// Which arguments are keys.
    pub keys: Option<Keys>,
    /// What may follow its name.
    pub subcommands: &'static [Entry],
    /// What it does.
    pub summary: &'static str,
    /// Of Redis; of Orrery for its own.
    pub since: &'static str,
    /// A group of redis-cli's help.
    pub group: &'static str,
    /// What it costs.
    pub complexity: &'static str,
    /// What it is given.
    pub arguments: &'static [Argument],
}

/// Which arguments of a command are keys: from the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The last one; -1: the last argument.
    pub last: i8,
    /// From one to the next.
    pub step: u8,
    /// What is done with them.
    pub access: &'static [&'static str],
}

/// An argument of a command.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// What it is, in the words of Redis.
    pub kind: &'static str,
    /// The word that it follows.
    pub token: Option<&'static str>,
    /// Whether it may be left out.
    pub is_optional: bool,
    /// Whether there may be several.
    pub is_multiple: bool,
    /// What it is made of.
    pub parts: &'static [Argument],
}

impl Entry {
    pub(super) const fn new(
        word: Word,
        name: &'static str,
        arity: i8,
        summary: &'static str,
    ) -> Self {
        Self {
            word,
            name,
            arity,
            flags: &[],
            categories: &[],
            tips: &[],
            keys: None,
            subcommands: &[],
            summary,
            since: env!("CARGO_PKG_VERSION"),
            group: "server",
            complexity: "O(1)",
            arguments: &[],
        }
    }

    /// What Redis tells of its command of this name.
    pub(super) const fn redis(mut self, since: &'static str, group: &'static str) -> Self {
        (self.since, self.group) = (since, group);
        self
    }

    pub(super) const fn is(mut self, flags: Strings, categories: Strings, tips: Strings) -> Self {
        (self.flags, self.categories, self.tips) = (flags, categories, tips);
        self
    }

    pub(super) const fn keys(mut self, last: i8, step: u8, access: Strings) -> Self {
        self.keys = Some(Keys { last, step, access });
        self
    }

    pub(super) const fn costs(mut self, complexity: &'static str) -> Self {
        self.complexity = complexity;
        self
    }

    pub(super) const fn takes(mut self, arguments: &'static [Argument]) -> Self {
        self.arguments = arguments;
        self
    }

    pub(super) const fn with(mut self, subcommands: &'static [Entry]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// Whether so many arguments, with the name, are as many as it takes.
    pub fn takes_count(&self, count: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { count >= wanted } else { count == wanted }
    }

    /// The command, or subcommand, of such arguments. None where it is none of ours.
    pub fn of<'a>(name: &[u8], mut following: impl Iterator<Item = &'a [u8]>) -> Found {
        let is_named = |entry: &&Self| name.eq_ignore_ascii_case(entry.name.as_bytes());
        let Some(entry) = COMMANDS.iter().find(is_named) else { return Found::Nothing };
        if entry.subcommands.is_empty() {
            return Found::Entry(entry);
        }
        let Some(word) = following.next() else { return Found::Entry(entry) };
        let is_meant = |sub: &&Self| word.eq_ignore_ascii_case(sub.own_name().as_bytes());
        entry.subcommands.iter().find(is_meant).map_or(Found::NoSubcommand(entry), Found::Entry)
    }

    /// The command or subcommand of a name, as in `client|id`.
    pub fn named(name: &[u8]) -> Option<&'static Self> {
        let all = COMMANDS.iter().flat_map(|entry| [entry].into_iter().chain(entry.subcommands));
        all.into_iter().find(|entry| name.eq_ignore_ascii_case(entry.name.as_bytes()))
    }

    /// The name without that of the command that it belongs to.
    pub fn own_name(&self) -> &'static str {
        self.name.rsplit('|').next().unwrap_or(self.name)
    }

    /// The place of the first key, that of the last (-1: the last argument) and the step between two. Zeros,
    /// where there is no key.
    pub fn key_places(&self) -> (i64, i64, i64) {
        self.keys.map_or((0, 0, 0), |keys| (1, keys.last.into(), keys.step.into()))
    }
}

/// What a name and the word that follows it stand for.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// A command or a subcommand.
    Entry(&'static Entry),
    /// A command that has no such subcommand.
    NoSubcommand(&'static Entry),
    /// Nothing.
    Nothing,
}

impl Argument {
    pub(super) const fn new(name: &'static str, kind: &'static str) -> Self {
        let (token, is_optional, is_multiple, parts) = (None, false, false, &[] as &[Self]);
        Self { name, kind, token, is_optional, is_multiple, parts }
    }

    pub(super) const fn of(name: &'static str, kind: &'static str, parts: &'static [Self]) -> Self {
        let mut argument = Self::new(name, kind);
        argument.parts = parts;
        argument
    }

    pub(super) const fn after(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    pub(super) const fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    pub(super) const fn multiple(mut self) -> Self {
        self.is_multiple = true;
        self
    }
}

/// Words of the table.
pub(super) type Strings = &'static [&'static str];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_found_by_its_own_name_and_says_what_it_does() {
        for entry in COMMANDS {
            let found = Entry::of(entry.name.to_uppercase().as_bytes(), [].into_iter());
            assert!(matches!(found, Found::Entry(found) if found.word == entry.word), "{entry:?}");
            for sub in entry.subcommands {
                let found =
                    Entry::of(entry.name.as_bytes(), [sub.own_name().as_bytes()].into_iter());
                assert!(matches!(found, Found::Entry(found) if found.word == sub.word), "{sub:?}");
                assert!(sub.name.starts_with(&format!("{}|", entry.name)), "{}", sub.name);
            }
            for entry in [entry].into_iter().chain(entry.subcommands) {
                assert_eq!(Entry::named(entry.name.as_bytes()).map(|e| e.word), Some(entry.word));
                assert!(!entry.summary.is_empty() && entry.arity != 0, "{}", entry.name);
            }
        }
        assert!(matches!(Entry::of(b"client", [&b"x"[..]].into_iter()), Found::NoSubcommand(_)));
        assert!(matches!(Entry::of(b"x", [].into_iter()), Found::Nothing));
    }
}
