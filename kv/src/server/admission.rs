//! Who is let in, and for which commands.

use std::time::Duration;

use crate::resp::command::{Command, RingCommand};

/// What is refused while no node serves. Nothing was done.
pub const LOADING: &str = "LOADING this node does not serve yet: it waits for its peers, or for a place in their ring; \
                           nothing was done; ask another node, or later";
/// What a client is told that is one too many: as Redis says it, for clients know the words.
pub const TOO_MANY: &str = "ERR max number of clients reached";
/// How long one who was let in for an operator's commands alone may take for each.
const OPERATOR_IDLE: Duration = Duration::from_secs(2);

/// Whether a connection is within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Client,
    /// It is one too many, and may do what an operator does to find out why.
    Operator,
}

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Records: a node has to serve.
    Data,
    /// A change of the ring: a node has to serve, and operators may always ask for it.
    Change,
    /// What an operator looks at, whatever the state of the process.
    Look,
    /// The connection itself.
    Connection,
}

/// What a command asks for.
pub fn concern(command: &Command<'_>) -> Concern {
    match command {
        Command::Get(_)
        | Command::Set(..)
        | Command::Del(_)
        | Command::Exists(_)
        | Command::Mget(_)
        | Command::Mset(_)
        | Command::Strlen(_)
        | Command::RecordsList { .. }
        | Command::RecordsRestore(..)
        | Command::Dbsize => Concern::Data,
        Command::Ring(RingCommand::Show) | Command::Info(_) | Command::Ping(_) | Command::Quit => {
            Concern::Look
        }
        Command::Ring(
            RingCommand::Leave(_)
            | RingCommand::Evict { .. }
            | RingCommand::Cancel
            | RingCommand::Join(_),
        ) => Concern::Change,
        Command::Echo(_)
        | Command::Hello(..)
        | Command::Commands(_)
        | Command::ClientSetName(_)
        | Command::ClientGetName
        | Command::ClientId
        | Command::ClientSetInfo
        | Command::Select
        | Command::ConfigGet(_)
        | Command::Transaction(_)
        | Command::Reset
        | Command::Consistency { .. } => Concern::Connection,
    }
}

impl Admission {
    /// How long a connection may be silent.
    pub fn patience(self) -> Option<Duration> {
        match self {
            Admission::Client => None,
            Admission::Operator => Some(OPERATOR_IDLE),
        }
    }
}
