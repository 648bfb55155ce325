//! The commands, once: what the parser accepts, and what COMMAND and its like tell of them.
//! The list itself is in `entries.rs`.

pub use super::entries::COMMANDS;
use super::entry::Entry;

/// The version of Redis that clients and tools are told: the level of the protocol, and of what COMMAND, HELLO
/// and INFO answer. Those who look at it refuse versions below 5 or 6.2 (queues), or choose how to ask for
/// things; what a command of Redis 7.0 is not there for is refused by its name.
pub const REDIS_LEVEL: &str = "7.0.0";

impl Entry {
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
