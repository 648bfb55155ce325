//! The list of the commands.
//!
//! Where Redis has a command of the same name, flags, categories, tips and keys are those of Redis 7.0.

use super::entry::{Argument, Entry, Strings, Word};

const KEY: Argument = Argument::new("key", "key");
const VALUE: Argument = Argument::new("value", "string");
const NODE: Argument = Argument::new("id", "string");
const NAMES: &[Argument] = &[Argument::new("command-name", "string").optional().multiple()];

const READS: Strings = &["readonly", "fast"];
const WRITES: Strings = &["write", "denyoom"];
const EVEN_LOADING: Strings = &["loading", "stale"];
const HANDSHAKE: Strings = &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];
const OF_CONNECTION: Strings = &["noscript", "loading", "stale"];
const OF_TRANSACTION: Strings = &["noscript", "loading", "stale", "fast", "allow_busy"];
const OF_RING: Strings = &["admin", "noscript"];

const READS_STRINGS: Strings = &["@read", "@string", "@fast"];
const WRITES_STRINGS: Strings = &["@write", "@string", "@slow"];
const FAST_CONNECTION: Strings = &["@fast", "@connection"];
const SLOW_CONNECTION: Strings = &["@slow", "@connection"];
const FAST_TRANSACTION: Strings = &["@fast", "@transaction"];
const ADMIN: Strings = &["@admin", "@slow", "@dangerous"];

const ALL_SHARDS_SUM: Strings = &["request_policy:all_shards", "response_policy:agg_sum"];
const ALL_SHARDS_OK: Strings = &["request_policy:all_shards", "response_policy:all_succeeded"];
const SHARDS_SUM: Strings = &["request_policy:multi_shard", "response_policy:agg_sum"];
const SHARDS_OK: Strings = &["request_policy:multi_shard", "response_policy:all_succeeded"];
const UNORDERED: Strings = &["nondeterministic_output_order"];

/// All commands. Those that are used most come first: names are looked up from the front.
pub const COMMANDS: &[Entry] = &[
    Entry::new(Word::Get, "get", 2, "Get the value of a key")
        .redis("1.0.0", "string")
        .is(READS, READS_STRINGS, &[])
        .keys(1, 1, &["RO", "access"])
        .takes(&[KEY]),
    // It takes no options yet: what follows the value is refused by name.
    Entry::new(Word::Set, "set", -3, "Set the string value of a key")
        .redis("1.0.0", "string")
        .is(WRITES, WRITES_STRINGS, &[])
        .keys(1, 1, &["OW", "update"])
        .takes(&[KEY, VALUE]),
    Entry::new(Word::Mget, "mget", -2, "Get the values of all the given keys")
        .redis("1.0.0", "string")
        .is(READS, READS_STRINGS, &["request_policy:multi_shard"])
        .keys(-1, 1, &["RO", "access"])
        .costs("O(N) where N is the number of keys to retrieve.")
        .takes(&[KEY.multiple()]),
    Entry::new(Word::Mset, "mset", -3, "Set multiple keys to multiple values")
        .redis("1.0.1", "string")
        .is(WRITES, WRITES_STRINGS, SHARDS_OK)
        .keys(-1, 2, &["OW", "update"])
        .costs("O(N) where N is the number of keys to set.")
        .takes(&[Argument::of("key_value", "block", &[KEY, VALUE]).multiple()]),
    Entry::new(Word::Del, "del", -2, "Delete a key")
        .redis("1.0.0", "generic")
        .is(&["write"], &["@keyspace", "@write", "@slow"], SHARDS_SUM)
        .keys(-1, 1, &["RM", "delete"])
        .costs("O(N) where N is the number of keys; each is read, and then deleted.")
        .takes(&[KEY.multiple()]),
    Entry::new(Word::Exists, "exists", -2, "Determine if a key exists")
        .redis("1.0.0", "generic")
        .is(READS, &["@keyspace", "@read", "@fast"], SHARDS_SUM)
        .keys(-1, 1, &["RO"])
        .costs("O(N) where N is the number of keys to check.")
        .takes(&[KEY.multiple()]),
    Entry::new(Word::Strlen, "strlen", 2, "Get the length of the value stored in a key")
        .redis("2.2.0", "string")
        .is(READS, READS_STRINGS, &[])
        .keys(1, 1, &["RO"])
        .takes(&[KEY]),
    Entry::new(Word::Ping, "ping", -1, "Ping the server")
        .redis("1.0.0", "connection")
        .is(&["fast"], FAST_CONNECTION, ALL_SHARDS_OK)
        .takes(&[Argument::new("message", "string").optional()]),
    Entry::new(Word::Echo, "echo", 2, "Echo the given string")
        .redis("1.0.0", "connection")
        .is(&["loading", "stale", "fast"], FAST_CONNECTION, &[])
        .takes(&[Argument::new("message", "string")]),
    Entry::new(
        Word::Hello,
        "hello",
        -1,
        "Choose the version of the protocol, and name the connection",
    )
    .redis("6.0.0", "connection")
    .is(HANDSHAKE, FAST_CONNECTION, &[])
    .takes(&[Argument::of(
        "arguments",
        "block",
        &[
            Argument::new("protover", "integer"),
            Argument::new("clientname", "string").after("SETNAME").optional(),
        ],
    )
    .optional()]),
    Entry::new(Word::Command, "command", -1, "Get array of command details")
        .redis("2.8.13", "server")
        .is(EVEN_LOADING, SLOW_CONNECTION, UNORDERED)
        .costs("O(N) where N is the total number of commands")
        .with(OF_COMMAND),
    Entry::new(
        Word::Info,
        "info",
        -1,
        "Get information and statistics about the node that is asked",
    )
    .redis("1.0.0", "server")
    .is(
        EVEN_LOADING,
        &["@slow", "@dangerous"],
        &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    )
    .takes(&[Argument::new("section", "string").optional().multiple()]),
    Entry::new(Word::Client, "client", -2, "A container for client connection commands")
        .redis("2.4.0", "connection")
        .is(&[], &["@slow"], &[])
        .with(OF_CLIENT),
    Entry::new(Word::Select, "select", 2, "Change the selected database; there is one, 0")
        .redis("1.0.0", "connection")
        .is(&["loading", "stale", "fast"], FAST_CONNECTION, &[])
        .takes(&[Argument::new("index", "integer")]),
    Entry::new(Word::Config, "config", -2, "A container for server configuration commands")
        .redis("2.0.0", "server")
        .is(&[], &["@slow"], &[])
        .with(OF_CONFIG),
    Entry::new(Word::Dbsize, "dbsize", 1, "Return the number of keys on the node that is asked")
        .redis("1.0.0", "server")
        .is(READS, &["@keyspace", "@read", "@fast"], ALL_SHARDS_SUM),
    Entry::new(Word::Quit, "quit", -1, "Close the connection").redis("1.0.0", "connection").is(
        HANDSHAKE,
        FAST_CONNECTION,
        &[],
    ),
    Entry::new(Word::Reset, "reset", 1, "Reset the connection").redis("6.2.0", "connection").is(
        HANDSHAKE,
        FAST_CONNECTION,
        &[],
    ),
    Entry::new(
        Word::Multi,
        "multi",
        1,
        "Mark the start of a transaction block, which will be refused",
    )
    .redis("1.2.0", "transactions")
    .is(OF_TRANSACTION, FAST_TRANSACTION, &[]),
    Entry::new(Word::Exec, "exec", 1, "End a transaction block: none of its commands is done")
        .redis("1.2.0", "transactions")
        .is(&["noscript", "loading", "stale", "skip_slowlog"], &["@slow", "@transaction"], &[]),
    Entry::new(Word::Discard, "discard", 1, "End a transaction block without any of its commands")
        .redis("2.0.0", "transactions")
        .is(OF_TRANSACTION, FAST_TRANSACTION, &[]),
    Entry::new(Word::Watch, "watch", -2, "Refused: there are no transactions")
        .redis("2.2.0", "transactions")
        .is(OF_TRANSACTION, FAST_TRANSACTION, &[])
        .keys(-1, 1, &["RO"])
        .takes(&[KEY.multiple()]),
    Entry::new(Word::Unwatch, "unwatch", 1, "Forget about all watched keys; there are none")
        .redis("2.2.0", "transactions")
        .is(OF_TRANSACTION, FAST_TRANSACTION, &[]),
    Entry::new(
        Word::Consistency,
        "consistency",
        -1,
        "Show or choose the levels of this connection",
    )
    .is(&["loading", "stale", "fast"], FAST_CONNECTION, &[])
    .takes(&[
        Argument::of("read-level", "oneof", LEVELS).after("READ").optional(),
        Argument::of("write-level", "oneof", LEVELS).after("WRITE").optional(),
    ]),
    Entry::new(Word::Ring, "ring", -1, "Show what the ring is like, as this node knows it")
        .is(OF_RING, ADMIN, &[])
        .costs("O(N) where N is the number of members")
        .with(OF_RING_ITSELF),
    Entry::new(Word::Records, "records", -2, "A container for commands on records with versions")
        .is(&[], ADMIN, &[])
        .with(OF_RECORDS),
];

const LEVELS: &[Argument] = &[
    Argument::new("one", "pure-token").after("ONE"),
    Argument::new("session", "pure-token").after("SESSION"),
    Argument::new("quorum", "pure-token").after("QUORUM"),
    Argument::new("all", "pure-token").after("ALL"),
    Argument::new("linearizable", "pure-token").after("LINEARIZABLE"),
];

const OF_COMMAND: &[Entry] = &[
    Entry::new(Word::CommandCount, "command|count", 2, "Get total number of commands")
        .redis("2.8.13", "server")
        .is(EVEN_LOADING, SLOW_CONNECTION, &[]),
    Entry::new(
        Word::CommandDocs,
        "command|docs",
        -2,
        "Get array of specific command documentation",
    )
    .redis("7.0.0", "server")
    .is(EVEN_LOADING, SLOW_CONNECTION, UNORDERED)
    .costs("O(N) where N is the number of commands to look up")
    .takes(NAMES),
    Entry::new(Word::CommandGetkeys, "command|getkeys", -4, "Extract keys given a full command")
        .redis("2.8.13", "server")
        .is(EVEN_LOADING, SLOW_CONNECTION, &[])
        .costs("O(N) where N is the number of arguments to the command"),
    Entry::new(Word::CommandInfo, "command|info", -2, "Get array of specific command details")
        .redis("2.8.13", "server")
        .is(EVEN_LOADING, SLOW_CONNECTION, UNORDERED)
        .costs("O(N) where N is the number of commands to look up")
        .takes(NAMES),
    Entry::new(Word::CommandList, "command|list", 2, "Get an array of command names")
        .redis("7.0.0", "server")
        .is(EVEN_LOADING, SLOW_CONNECTION, UNORDERED)
        .costs("O(N) where N is the total number of commands"),
];

const OF_CLIENT: &[Entry] = &[
    Entry::new(Word::ClientGetname, "client|getname", 2, "Get the current connection name")
        .redis("2.6.9", "connection")
        .is(OF_CONNECTION, SLOW_CONNECTION, &[]),
    Entry::new(Word::ClientId, "client|id", 2, "Returns the client ID for the current connection")
        .redis("5.0.0", "connection")
        .is(OF_CONNECTION, SLOW_CONNECTION, &[]),
    Entry::new(Word::ClientSetinfo, "client|setinfo", 4, "Taken, and not kept")
        .redis("7.2.0", "connection")
        .is(OF_CONNECTION, SLOW_CONNECTION, &[])
        .takes(&[Argument::new("attribute", "string"), VALUE]),
    Entry::new(Word::ClientSetname, "client|setname", 3, "Set the current connection name")
        .redis("2.6.9", "connection")
        .is(OF_CONNECTION, SLOW_CONNECTION, &[])
        .takes(&[Argument::new("connection-name", "string")]),
];

const OF_CONFIG: &[Entry] =
    &[Entry::new(Word::ConfigGet, "config|get", -3, "Get the values of configuration parameters")
        .redis("2.0.0", "server")
        .is(&["admin", "noscript", "loading", "stale"], ADMIN, &[])
        .costs("O(N) when N is the number of configuration parameters provided")
        .takes(&[Argument::new("parameter", "string").multiple()])];

const OF_RING_ITSELF: &[Entry] = &[
    Entry::new(
        Word::RingCancel,
        "ring|cancel",
        2,
        "Give up the change of the ring that is under way",
    )
    .is(OF_RING, ADMIN, &[]),
    Entry::new(Word::RingEvict, "ring|evict", -3, "Make up for members that are gone for good")
        .is(OF_RING, ADMIN, &[])
        .costs("O(N) where N is the number of records that move")
        .takes(&[
            NODE.multiple(),
            Argument::new("force", "pure-token").after("FORCE").optional(),
            Argument::new("accept-loss", "pure-token").after("ACCEPT-LOSS").optional(),
        ]),
    Entry::new(Word::RingJoin, "ring|join", 3, "Leave a ring of one node for that of a member")
        .is(OF_RING, ADMIN, &[])
        .takes(&[Argument::new("address", "string")]),
    Entry::new(Word::RingLeave, "ring|leave", 3, "Let a member hand over what it holds, and go")
        .is(OF_RING, ADMIN, &[])
        .costs("O(N) where N is the number of records that move")
        .takes(&[NODE]),
];

const OF_RECORDS: &[Entry] = &[
    Entry::new(
        Word::RecordsList,
        "records|list",
        -5,
        "List records that the node that is asked holds of some slots, tombstones included",
    )
    .is(&["readonly", "admin"], ADMIN, &[])
    .costs("O(N) where N is the number of records that are listed, and of slots")
    .takes(&[
        Argument::new("first-slot", "integer"),
        Argument::new("last-slot", "integer"),
        Argument::new("count", "integer"),
        Argument::new("after-key", "string").optional(),
    ]),
    Entry::new(
        Word::RecordsRestore,
        "records|restore",
        -5,
        "Store a record with the version that it has; a newer one stays",
    )
    .is(&["write", "denyoom", "admin"], ADMIN, &[])
    .takes(&[
        KEY,
        Argument::new("time", "integer"),
        NODE,
        Argument::new("value", "string").optional(),
    ]),
];
