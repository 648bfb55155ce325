//! What a server tells of itself: COMMAND, CONFIG and HELLO.

use crate::resp::{
    command::CommandsAbout,
    docs,
    reply::{self, Dialect},
    table::{COMMANDS, REDIS_LEVEL},
};

/// The answer to `COMMAND`.
pub fn commands(out: &mut Vec<u8>, dialect: Dialect, about: &CommandsAbout<'_>) {
    match about {
        CommandsAbout::All => docs::all(out, dialect),
        CommandsAbout::Count => reply::integer(out, COMMANDS.len()),
        CommandsAbout::List => docs::names(out),
        CommandsAbout::Info(entries) if entries.is_empty() => docs::all(out, dialect),
        CommandsAbout::Info(entries) => docs::some(out, dialect, entries),
        CommandsAbout::Docs(entries) => docs::docs(out, dialect, entries.as_deref()),
        CommandsAbout::Keys(keys) => reply::command(out, keys),
    }
}

/// The answer to `CONFIG GET`: what benchmarks and clients ask for, as it is here.
pub fn config(out: &mut Vec<u8>, dialect: Dialect, patterns: &[&[u8]]) {
    let known = [("save", ""), ("appendonly", "no"), ("databases", "1")];
    let is_for = |pattern: &[u8], name: &str| {
        pattern == b"*" || pattern.eq_ignore_ascii_case(name.as_bytes())
    };
    let wanted = |name: &str| patterns.iter().any(|pattern| is_for(pattern, name));
    let found: Vec<_> = known.iter().filter(|(name, _)| wanted(name)).collect();
    reply::map(out, found.len(), dialect);
    for (name, value) in found {
        reply::bulk(out, name.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
}

/// The answer to `HELLO`. Clients take the server and its version for what they can ask for: that is what
/// Redis of that version has. INFO tells the version of Orrery.
pub fn hello(out: &mut Vec<u8>, dialect: Dialect, connection: u64) {
    let text = |out: &mut Vec<u8>, name: &str, value: &str| {
        reply::bulk(out, name.as_bytes());
        reply::bulk(out, value.as_bytes());
    };
    reply::map(out, 7, dialect);
    text(out, "server", "redis");
    text(out, "version", REDIS_LEVEL);
    reply::bulk(out, b"proto");
    reply::integer(out, if dialect == Dialect::Resp3 { 3 } else { 2 });
    reply::bulk(out, b"id");
    reply::integer(out, usize::try_from(connection).unwrap_or(usize::MAX));
    text(out, "mode", "standalone");
    text(out, "role", "master");
    reply::bulk(out, b"modules");
    reply::array(out, 0);
}
