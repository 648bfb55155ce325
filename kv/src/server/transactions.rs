//! MULTI and what belongs to it. There are no transactions, and a client must not take it for one that its
//! commands were done: clients send MULTI, the commands and EXEC in one piece, and a refusal of MULTI
//! alone would not stop the commands. So a block is taken, each of its commands is refused with the reason,
//! and EXEC says that nothing was done.

use super::session::{Block, Session};
use crate::resp::{
    command::{Command, Transaction},
    reply,
};

impl Session {
    /// The command, if it is not refused because it is between MULTI and EXEC.
    pub(super) fn outside_a_block<'a>(&mut self, command: Command<'a>) -> Option<Command<'a>> {
        let ends_or_asks = match &command {
            Command::Transaction(
                Transaction::Multi | Transaction::Exec | Transaction::Discard | Transaction::Watch,
            )
            | Command::Quit
            | Command::Reset => true,
            Command::Get(_)
            | Command::Set(..)
            | Command::Del(_)
            | Command::Exists(_)
            | Command::Mget(_)
            | Command::Mset(_)
            | Command::Strlen(_)
            | Command::Ping(_)
            | Command::Echo(_)
            | Command::Hello(..)
            | Command::Commands(_)
            | Command::Info(_)
            | Command::ClientSetName(_)
            | Command::ClientGetName
            | Command::ClientId
            | Command::ClientSetInfo
            | Command::Select
            | Command::ConfigGet(_)
            | Command::Dbsize
            | Command::Transaction(Transaction::Unwatch)
            | Command::Consistency { .. }
            | Command::RecordsList { .. }
            | Command::RecordsRestore(..)
            | Command::Ring(_) => false,
        };
        if self.block.is_none() || ends_or_asks {
            return Some(command);
        }
        self.refuse(
            &"ERR there are no transactions here: this command is not done, and nothing is until EXEC or DISCARD; \
              send it without MULTI",
        );
        None
    }

    /// MULTI, EXEC, DISCARD, WATCH and UNWATCH, with the words of Redis where it has some.
    pub(super) fn transaction(&mut self, command: Transaction) {
        let said = match (command, self.block) {
            (Transaction::Multi, None) => {
                self.block = Some(Block::default());
                Ok("OK")
            }
            (Transaction::Multi, Some(_)) => Err("ERR MULTI calls can not be nested"),
            (Transaction::Exec, None) => Err("ERR EXEC without MULTI"),
            (Transaction::Exec, Some(block)) => {
                self.block = None;
                if !block.is_spoilt {
                    // A block of no commands: they are all done.
                    return self.literal(|out, _| reply::array(out, 0));
                }
                Err("EXECABORT Transaction discarded because of previous errors.")
            }
            (Transaction::Discard, None) => Err("ERR DISCARD without MULTI"),
            (Transaction::Discard, Some(_)) => {
                self.block = None;
                Ok("OK")
            }
            (Transaction::Watch, None) => {
                Err("ERR there are no transactions here: WATCH watches nothing")
            }
            (Transaction::Watch, Some(_)) => Err("ERR WATCH inside MULTI is not allowed"),
            // Nothing is watched. (Between MULTI and EXEC it was refused.)
            (Transaction::Unwatch, _) => Ok("OK"),
        };
        self.literal(|out, _| match said {
            Ok(text) => reply::simple(out, text),
            Err(text) => reply::error(out, text),
        });
    }
}
