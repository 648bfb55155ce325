//! From what came to commands, and who may ask for which.

use tracing::warn;

use super::{Session, Stop};
use crate::{
    resp::{
        command::Command,
        frame::{FrameError, Parsed},
        reply,
    },
    server::{
        admission::{self, Admission, Concern},
        rest::MOST_IN_FLIGHT,
    },
};

impl Session {
    /// Parses commands into the batch.
    pub(super) fn take_commands(&mut self, used: &mut usize) -> Stop {
        let mut parser = std::mem::take(&mut self.parser);
        let input = std::mem::take(&mut self.input);
        let stop = loop {
            // In this order: a large command that is under way is done also when no other one is taken.
            if self.is_full() || self.is_alone() {
                break Stop::NeedsAnswers;
            }
            if self.ends {
                break Stop::NeedsInput;
            }
            let parsed = match self.found.take() {
                Some(size) => Ok(Parsed::Command(size)),
                None => parser.parse(&input[*used..]),
            };
            match parsed {
                Ok(Parsed::Command(size)) => {
                    let args = parser.args(&input[*used..]);
                    // Before it is looked at in whole: that may take a while, and it may have to wait often.
                    if args.len() > MOST_IN_FLIGHT && !self.pipeline.is_empty() {
                        self.found = Some(size);
                        break Stop::NeedsAnswers;
                    }
                    match Command::parse(args, &self.door.settings.node.limits) {
                        Ok(command) if self.must_wait(&command) => {
                            self.found = Some(size);
                            break Stop::NeedsAnswers;
                        }
                        Ok(command) => self.judge(command),
                        Err(error) => self.refuse(&error),
                    }
                    self.outcomes.commands += 1;
                    *used += size;
                }
                Ok(Parsed::Skipped(size, why)) => {
                    self.refuse(&why);
                    self.outcomes.commands += 1;
                    *used += size;
                }
                Ok(Parsed::Nothing(size)) => *used += size,
                Ok(Parsed::Incomplete) => break Stop::NeedsInput,
                Err(error) => self.protocol_error(&error),
            }
        };
        (self.parser, self.input) = (parser, input);
        stop
    }

    /// Whether a command with many requests is under way.
    fn is_alone(&mut self) -> bool {
        self.is_alone &= !self.pipeline.is_empty();
        self.is_alone
    }

    /// What came is no command: the connection ends once what was asked before is answered.
    fn protocol_error(&mut self, error: &FrameError) {
        self.ends = true;
        if *error == FrameError::Http {
            // No answer, as in Redis: it might be shown to a page.
            self.outcomes.http += 1;
            return warn!(
                cause = "HTTP",
                "a client connection that speaks HTTP is closed, and nothing of the request is done: this is \
                 the port for clients of Redis, and a web page may be trying to reach it"
            );
        }
        self.literal(|out, _| reply::error(out, &format!("ERR {error}")));
    }

    /// Does a command, if it may be asked for here and now.
    fn judge(&mut self, command: Command<'_>) {
        match (admission::concern(&command), self.admission) {
            (Concern::Data | Concern::Connection, Admission::Operator) => self.turn_away(),
            (Concern::Data | Concern::Change, _) if self.desk.is_none() => {
                self.refuse(&admission::LOADING);
            }
            (Concern::Data | Concern::Change | Concern::Look | Concern::Connection, _) => {
                self.command(command);
            }
        }
    }

    /// There are too many clients.
    pub(super) fn turn_away(&mut self) {
        self.literal(|out, _| reply::error(out, admission::TOO_MANY));
        self.ends = true;
    }
}
