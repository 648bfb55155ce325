//! What the table of commands says of each.

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
    /// `RECORDS` without more.
    Records,
    /// `RECORDS LIST`
    RecordsList,
    /// `RECORDS RESTORE`
    RecordsRestore,
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
