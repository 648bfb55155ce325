//! What COMMAND and its subcommands answer, from the table.

use super::{
    entry::{Argument, Entry, Keys},
    reply::{self, Dialect},
    table::COMMANDS,
};

/// The answer to `COMMAND`, and to `COMMAND INFO` without names.
pub fn all(out: &mut Vec<u8>, dialect: Dialect) {
    reply::array(out, COMMANDS.len());
    COMMANDS.iter().for_each(|entry| details(out, dialect, entry));
}

/// The answer to `COMMAND INFO name …`: nothing in the place of what is no command.
pub fn some(out: &mut Vec<u8>, dialect: Dialect, entries: &[Option<&'static Entry>]) {
    reply::array(out, entries.len());
    for entry in entries {
        match entry {
            Some(entry) => details(out, dialect, entry),
            None => reply::null(out, dialect),
        }
    }
}

/// The answer to `COMMAND LIST`.
pub fn names(out: &mut Vec<u8>) {
    reply::array(out, COMMANDS.len());
    COMMANDS.iter().for_each(|entry| reply::bulk(out, entry.name.as_bytes()));
}

/// The answer to `COMMAND DOCS` about these; all, where none is named.
pub fn docs(out: &mut Vec<u8>, dialect: Dialect, entries: Option<&[&'static Entry]>) {
    let all: Vec<&Entry> = match entries {
        Some(entries) => entries.to_vec(),
        None => COMMANDS.iter().collect(),
    };
    reply::map(out, all.len(), dialect);
    all.into_iter().for_each(|entry| documented(out, dialect, entry));
}

fn details(out: &mut Vec<u8>, dialect: Dialect, entry: &Entry) {
    reply::array(out, 10);
    reply::bulk(out, entry.name.as_bytes());
    reply::signed(out, entry.arity.into());
    words(out, dialect, entry.flags);
    let (first, last, step) = entry.key_places();
    [first, last, step].into_iter().for_each(|place| reply::signed(out, place));
    words(out, dialect, entry.categories);
    reply::set(out, entry.tips.len(), dialect);
    entry.tips.iter().for_each(|tip| reply::bulk(out, tip.as_bytes()));
    reply::set(out, usize::from(entry.keys.is_some()), dialect);
    entry.keys.iter().for_each(|keys| where_keys_are(out, dialect, *keys));
    // Redis has an array here in both dialects, but a set where it is empty.
    match entry.subcommands {
        [] => reply::set(out, 0, dialect),
        subcommands => {
            reply::array(out, subcommands.len());
            subcommands.iter().for_each(|entry| details(out, dialect, entry));
        }
    }
}

fn where_keys_are(out: &mut Vec<u8>, dialect: Dialect, keys: Keys) {
    reply::map(out, 3, dialect);
    reply::bulk(out, b"flags");
    words(out, dialect, keys.access);
    reply::bulk(out, b"begin_search");
    spec(out, dialect, "index", &[("index", 1)]);
    reply::bulk(out, b"find_keys");
    // Counted from the first key, as far as it is not from the end.
    let last = i64::from(if keys.last > 0 { keys.last - 1 } else { keys.last });
    spec(out, dialect, "range", &[("lastkey", last), ("keystep", keys.step.into()), ("limit", 0)]);
}

fn spec(out: &mut Vec<u8>, dialect: Dialect, kind: &str, values: &[(&str, i64)]) {
    reply::map(out, 2, dialect);
    text(out, "type", kind);
    reply::bulk(out, b"spec");
    reply::map(out, values.len(), dialect);
    for (name, value) in values {
        reply::bulk(out, name.as_bytes());
        reply::signed(out, *value);
    }
}

fn documented(out: &mut Vec<u8>, dialect: Dialect, entry: &Entry) {
    reply::bulk(out, entry.name.as_bytes());
    let more = [!entry.arguments.is_empty(), !entry.subcommands.is_empty()];
    reply::map(out, 4 + more.iter().filter(|is_there| **is_there).count(), dialect);
    text(out, "summary", entry.summary);
    text(out, "since", entry.since);
    text(out, "group", entry.group);
    text(out, "complexity", entry.complexity);
    arguments(out, dialect, entry.arguments);
    if !entry.subcommands.is_empty() {
        reply::bulk(out, b"subcommands");
        reply::map(out, entry.subcommands.len(), dialect);
        entry.subcommands.iter().for_each(|entry| documented(out, dialect, entry));
    }
}

/// The arguments of a command, or the parts of one; nothing, where there are none.
fn arguments(out: &mut Vec<u8>, dialect: Dialect, all: &[Argument]) {
    if all.is_empty() {
        return;
    }
    reply::bulk(out, b"arguments");
    reply::array(out, all.len());
    for argument in all {
        let flags = [(argument.is_optional, "optional"), (argument.is_multiple, "multiple")];
        let flags: Vec<&str> =
            flags.into_iter().filter(|(is_so, _)| *is_so).map(|(_, flag)| flag).collect();
        let is_key = argument.kind == "key";
        let more =
            [is_key, argument.token.is_some(), !flags.is_empty(), !argument.parts.is_empty()];
        reply::map(out, 2 + more.iter().filter(|is_there| **is_there).count(), dialect);
        text(out, "name", argument.name);
        text(out, "type", argument.kind);
        if is_key {
            reply::bulk(out, b"key_spec_index");
            reply::integer(out, 0);
        }
        argument.token.iter().for_each(|token| text(out, "token", token));
        if !flags.is_empty() {
            reply::bulk(out, b"flags");
            words(out, dialect, &flags);
        }
        arguments(out, dialect, argument.parts);
    }
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    reply::bulk(out, name.as_bytes());
    reply::bulk(out, value.as_bytes());
}

fn words(out: &mut Vec<u8>, dialect: Dialect, words: &[&str]) {
    reply::set(out, words.len(), dialect);
    words.iter().for_each(|word| reply::simple(out, word));
}
