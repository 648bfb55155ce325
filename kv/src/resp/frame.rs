//! From bytes to the arguments of a command: arrays of bulk strings, and inline commands.

use std::ops::Range;

/// The most arguments of a command.
pub const MAX_ARGS: usize = 4_096;
/// The longest argument, in bytes.
pub const MAX_BULK: usize = 64 * 1_024;
/// The longest inline command, in bytes.
pub const MAX_INLINE: usize = 64 * 1_024;
/// The longest command, in bytes.
pub const MAX_COMMAND: usize = 1_024 * 1_024;
/// The longest line that declares a length: a sign, digits, and the line's end.
const MAX_HEADER: usize = 24;

/// Why bytes are no command. The connection cannot go on: what follows has no known beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length that is no number, or negative.
    #[error("Protocol error: invalid {0} length")]
    Length(&'static str),
    /// A length over its limit.
    #[error("Protocol error: {what} length {given} is over the limit of {limit}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// What was declared, or has come so far.
        given: u64,
        /// The limit.
        limit: usize,
    },
    /// Something else where an argument should begin.
    #[error("Protocol error: expected '$', got '{}'", .0.escape_ascii())]
    NoBulk(u8),
    /// An argument that does not end where it should.
    #[error("Protocol error: an argument is not followed by CRLF")]
    NoEnd,
}

/// What a look at the buffer gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A command that takes so many bytes; its arguments are in [`Parser::args`].
    Command(usize),
    /// So many bytes that ask for nothing: an empty line or an empty array.
    Nothing(usize),
    /// The command is not complete yet.
    Incomplete,
}

/// Finds commands in a buffer. Keeps its place in a command that is not complete, so that bytes are
/// looked at once however they trickle in.
#[derive(Debug, Default)]
pub struct Parser {
    args: Vec<Range<usize>>,
    /// Where to go on, from the beginning of the command.
    at: usize,
    /// Arguments that are still to come. None: the command's first byte is still to come.
    missing: Option<usize>,
}

impl Parser {
    /// The arguments of the command that was found last, as places in the buffer.
    pub fn args(&self) -> &[Range<usize>] {
        &self.args
    }

    /// Looks for a command at the beginning of `buffer`. After [`Parsed::Incomplete`] call it again
    /// with the same bytes and more; after the others, with what follows.
    pub fn parse(&mut self, buffer: &[u8]) -> Result<Parsed, FrameError> {
        let parsed = self.parse_here(buffer)?;
        if parsed == Parsed::Incomplete {
            if buffer.len() > MAX_COMMAND {
                let given = buffer.len() as u64;
                return Err(FrameError::TooLong { what: "command", given, limit: MAX_COMMAND });
            }
        } else {
            (self.at, self.missing) = (0, None);
        }
        Ok(parsed)
    }

    fn parse_here(&mut self, buffer: &[u8]) -> Result<Parsed, FrameError> {
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => {
                self.args.clear();
                match buffer.first() {
                    None => return Ok(Parsed::Incomplete),
                    Some(b'*') => {}
                    Some(_) => return self.parse_inline(buffer),
                }
                let Some((count, end)) = length(buffer, 1, "multibulk", MAX_ARGS)? else {
                    return Ok(Parsed::Incomplete);
                };
                if count == 0 {
                    return Ok(Parsed::Nothing(end));
                }
                self.at = end;
                count
            }
        };
        while missing > 0 {
            self.missing = Some(missing);
            match buffer.get(self.at) {
                None => return Ok(Parsed::Incomplete),
                Some(b'$') => {}
                Some(other) => return Err(FrameError::NoBulk(*other)),
            }
            let Some((size, start)) = length(buffer, self.at + 1, "bulk", MAX_BULK)? else {
                return Ok(Parsed::Incomplete);
            };
            let end = start + size;
            match buffer.get(end..end + 2) {
                None => return Ok(Parsed::Incomplete),
                Some(b"\r\n") => {}
                Some(_) => return Err(FrameError::NoEnd),
            }
            self.args.push(start..end);
            self.at = end + 2;
            missing -= 1;
        }
        Ok(Parsed::Command(self.at))
    }

    /// A line of words, as a person types it. Quotes mean nothing: who needs empty arguments sends
    /// arrays.
    fn parse_inline(&mut self, buffer: &[u8]) -> Result<Parsed, FrameError> {
        let Some(end) = buffer[self.at..].iter().position(|byte| *byte == b'\n') else {
            self.at = buffer.len();
            if buffer.len() > MAX_INLINE {
                let given = buffer.len() as u64;
                return Err(FrameError::TooLong { what: "inline", given, limit: MAX_INLINE });
            }
            return Ok(Parsed::Incomplete);
        };
        let end = self.at + end;
        let mut word = None;
        for (at, byte) in buffer[..=end].iter().enumerate() {
            match (byte.is_ascii_whitespace(), word) {
                (false, None) => word = Some(at),
                (true, Some(start)) => {
                    self.args.push(start..at);
                    word = None;
                }
                (false, Some(_)) | (true, None) => {}
            }
        }
        if self.args.len() > MAX_ARGS {
            let given = self.args.len() as u64;
            return Err(FrameError::TooLong { what: "inline", given, limit: MAX_ARGS });
        }
        match self.args.is_empty() {
            true => Ok(Parsed::Nothing(end + 1)),
            false => Ok(Parsed::Command(end + 1)),
        }
    }
}

/// A declared length, and where what it is about begins. None: the line is not complete.
fn length(
    buffer: &[u8],
    from: usize,
    what: &'static str,
    limit: usize,
) -> Result<Option<(usize, usize)>, FrameError> {
    let mut value: u64 = 0;
    for (digits, byte) in buffer[from..].iter().enumerate() {
        match byte {
            b'0'..=b'9' if digits < MAX_HEADER => {
                value = value.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
            }
            b'\r' if digits > 0 => {
                let end = from + digits + 1;
                return match buffer.get(end) {
                    None => Ok(None),
                    Some(b'\n') if value > limit as u64 => {
                        Err(FrameError::TooLong { what, given: value, limit })
                    }
                    Some(b'\n') => Ok(Some((usize::try_from(value).unwrap_or(limit), end + 1))),
                    Some(_) => Err(FrameError::Length(what)),
                };
            }
            _ => return Err(FrameError::Length(what)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Found = Result<Vec<Vec<Vec<u8>>>, FrameError>;

    /// All commands in some bytes that come in pieces.
    fn commands(pieces: &[&[u8]]) -> Found {
        let (mut parser, mut buffer, mut found) = (Parser::default(), Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match parser.parse(&buffer)? {
                    Parsed::Command(used) => {
                        let arg = |range: &Range<usize>| buffer[range.clone()].to_vec();
                        found.push(parser.args().iter().map(arg).collect());
                        buffer.drain(..used);
                    }
                    Parsed::Nothing(used) => drop(buffer.drain(..used)),
                    Parsed::Incomplete => break,
                }
            }
        }
        Ok(found)
    }

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split('|').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn arrays_and_lines_are_commands() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\na\n\r\nget  a\r\n\r\n*0\r\nping\n";
        let found = commands(&[bytes]).unwrap();
        assert_eq!(found, [words("SET||a\n"), words("get|a"), words("ping")]);
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_anything_comes() {
        let error = |bytes: &[u8]| commands(&[bytes]).unwrap_err().to_string();
        assert_eq!(
            error(b"*2\r\n$3\r\nGET\r\n$1073741824\r\n"),
            "Protocol error: bulk length 1073741824 is over the limit of 65536"
        );
        assert_eq!(
            error(b"*1000000\r\n"),
            "Protocol error: multibulk length 1000000 is over the limit of 4096"
        );
        let huge = format!("*1\r\n${}\r\n", "9".repeat(23));
        assert!(error(huge.as_bytes()).contains("over the limit"), "{huge}");
        assert_eq!(error(b"*-1\r\n"), "Protocol error: invalid multibulk length");
        assert_eq!(error(b"*1\r\n$x\r\n"), "Protocol error: invalid bulk length");
        assert_eq!(error(b"*1\r\n!3\r\n"), "Protocol error: expected '$', got '!'");
        assert_eq!(
            error(b"*1\r\n$1\r\nabc"),
            "Protocol error: an argument is not followed by CRLF"
        );
        assert!(error(&[b'a'; MAX_INLINE + 1]).contains("inline length"));
    }

    #[test]
    fn a_command_that_never_ends_is_refused() {
        let mut bytes = b"*4096\r\n".to_vec();
        let arg = [b"$65536\r\n".as_slice(), &[b'x'; MAX_BULK], b"\r\n"].concat();
        (0..20).for_each(|_| bytes.extend_from_slice(&arg));
        assert!(commands(&[&bytes]).unwrap_err().to_string().contains("command length"));
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_does_not_matter(
            bytes in prop::collection::vec(
                prop::sample::select(b"*$0123\r\nab \xff-".to_vec()), 0..60),
            cut in 0usize..60,
        ) {
            let cut = cut.min(bytes.len());
            let whole = commands(&[&bytes]);
            let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&whole, &commands(&[&bytes[..cut], &bytes[cut..]]));
            prop_assert_eq!(&whole, &commands(&pieces));
        }

        #[test]
        fn what_was_encoded_is_found_again(
            sent in prop::collection::vec(prop::collection::vec(
                prop::collection::vec(any::<u8>(), 0..20), 1..5), 0..5),
        ) {
            let mut bytes = Vec::new();
            for args in &sent {
                crate::resp::reply::command(&mut bytes, args);
            }
            prop_assert_eq!(commands(&[&bytes]), Ok(sent));
        }
    }
}
