//! From bytes to the arguments of a command: arrays of bulk strings, and inline commands.

use std::ops::Range;

use super::{args::Args, http, inline};

/// The most arguments of a command.
pub const MAX_ARGS: usize = 1_048_576;
/// The longest argument, in bytes.
pub const MAX_BULK: usize = 64 * 1_024;
/// The longest inline command, in bytes.
pub const MAX_INLINE: usize = 64 * 1_024;
/// The longest command, in bytes, where a parser is told no other bound.
pub const MAX_COMMAND: usize = 64 * 1_024 * 1_024;
/// The longest line that declares a length: a sign, digits, and the line's end.
const MAX_HEADER: usize = 24;
/// What a length may declare, as in Redis. What is over our own limits is skipped up to here.
const MOST_DECLARED_ARGS: u64 = 2_147_483_647;
const MOST_DECLARED_BYTES: u64 = 512 * 1_024 * 1_024;

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
        limit: u64,
    },
    /// Something else where an argument should begin.
    #[error("Protocol error: expected '$', got '{}'", .0.escape_ascii())]
    NoBulk(u8),
    /// An argument that does not end where it should.
    #[error("Protocol error: an argument is not followed by CRLF")]
    NoEnd,
    /// A quote of an inline command that does not end, or that no space follows.
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    /// This is HTTP: a web page may be behind it, and nothing of it is to be done.
    #[error("Protocol error: this is HTTP")]
    Http,
}

/// Why a command was skipped. Nothing of it was done, and the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Too many arguments.
    #[error(
        "ERR a command has at most {MAX_ARGS} arguments, and this one has {0}; nothing was done"
    )]
    Args(usize),
    /// Too long an argument.
    #[error(
        "ERR an argument has at most {MAX_BULK} bytes, and one of these has {0}; nothing was done"
    )]
    Arg(usize),
    /// Too many bytes in all.
    #[error("ERR a command has at most {0} bytes here; nothing was done. Send it in parts")]
    Bytes(usize),
}

/// What a look at the buffer gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A command that takes so many bytes; its arguments are told by [`Parser::args`].
    Command(usize),
    /// So many bytes that ask for nothing: an empty line, an empty array, or a part of a command that is
    /// skipped.
    Nothing(usize),
    /// So many bytes end a command that was skipped.
    Skipped(usize, TooMuch),
    /// The command is not complete yet.
    Incomplete,
}

/// Finds commands in a buffer. Keeps its place in a command that is not complete, so that bytes are
/// looked at once however they trickle in.
#[derive(Debug)]
pub struct Parser {
    args: Vec<Range<usize>>,
    /// The words of an inline command, without their quotes.
    line: Vec<u8>,
    is_inline: bool,
    /// Where to go on, from the beginning of the command.
    at: usize,
    state: State,
    most_bytes: usize,
}

/// How far a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its first byte is still to come, or the end of its first line.
    Begins,
    /// So many arguments are still to come.
    Takes(usize),
    /// It is too much: its bytes are passed over as they come, and are not kept.
    Skips { missing: usize, part: Part, why: TooMuch },
}

/// The part of an argument that is to be skipped next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    Bytes(usize),
    End,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new(MAX_COMMAND)
    }
}

impl Parser {
    /// A parser of commands of so many bytes at most.
    pub fn new(most_bytes: usize) -> Self {
        let (args, line) = (Vec::new(), Vec::new());
        Self { args, line, is_inline: false, at: 0, state: State::Begins, most_bytes }
    }

    /// The arguments of the command that was found last, in the bytes that it was found in.
    pub fn args<'a>(&'a self, buffer: &'a [u8]) -> Args<'a> {
        Args::new(if self.is_inline { &self.line } else { buffer }, &self.args)
    }

    /// Gives back the memory of a large command, if none is under way.
    pub fn shrink(&mut self) {
        if self.state == State::Begins {
            (self.args, self.line) = (Vec::new(), Vec::new());
        }
    }

    /// The memory that it holds, in bytes.
    pub fn held(&self) -> usize {
        self.args.capacity() * size_of::<Range<usize>>() + self.line.capacity()
    }

    /// Looks for a command at the beginning of `buffer`. After [`Parsed::Incomplete`] call it again
    /// with the same bytes and more; after the others, with what follows.
    pub fn parse(&mut self, buffer: &[u8]) -> Result<Parsed, FrameError> {
        let parsed = match self.state {
            State::Begins => self.begin(buffer)?,
            State::Takes(missing) => self.take(buffer, missing)?,
            State::Skips { missing, part, why } => self.skip(buffer, missing, part, why)?,
        };
        match parsed {
            Parsed::Incomplete => {}
            // More of the same command is to be skipped.
            Parsed::Nothing(_) if matches!(self.state, State::Skips { .. }) => self.at = 0,
            Parsed::Command(_) | Parsed::Nothing(_) | Parsed::Skipped(..) => {
                (self.at, self.state) = (0, State::Begins);
            }
        }
        Ok(parsed)
    }

    fn begin(&mut self, buffer: &[u8]) -> Result<Parsed, FrameError> {
        self.args.clear();
        self.line.clear();
        match buffer.first() {
            None => return Ok(Parsed::Incomplete),
            Some(b'*') => self.is_inline = false,
            Some(_) => return self.parse_inline(buffer),
        }
        let Some((count, end)) = length(buffer, 1, "multibulk", MOST_DECLARED_ARGS)? else {
            return Ok(Parsed::Incomplete);
        };
        if count == 0 {
            return Ok(Parsed::Nothing(end));
        }
        if count > MAX_ARGS {
            return Ok(self.too_much(end, count, Part::Header, TooMuch::Args(count)));
        }
        self.at = end;
        self.take(buffer, count)
    }

    fn take(&mut self, buffer: &[u8], mut missing: usize) -> Result<Parsed, FrameError> {
        while missing > 0 {
            self.state = State::Takes(missing);
            let Some((size, start)) = argument(buffer, self.at)? else {
                return Ok(Parsed::Incomplete);
            };
            let end = start + size;
            let why = match size {
                _ if size > MAX_BULK => Some(TooMuch::Arg(size)),
                _ if end + 2 > self.most_bytes => Some(TooMuch::Bytes(self.most_bytes)),
                _ => None,
            };
            if let Some(why) = why {
                return Ok(self.too_much(start, missing, Part::Bytes(size), why));
            }
            if !ends(buffer, end)? {
                return Ok(Parsed::Incomplete);
            }
            self.args.push(start..end);
            self.at = end + 2;
            missing -= 1;
        }
        if http::is_forbidden(&buffer[self.args[0].clone()]) {
            return Err(FrameError::Http);
        }
        Ok(Parsed::Command(self.at))
    }

    /// From here on the command is skipped: so many bytes of it are known.
    fn too_much(&mut self, known: usize, missing: usize, part: Part, why: TooMuch) -> Parsed {
        self.args = Vec::new();
        self.state = State::Skips { missing, part, why };
        Parsed::Nothing(known)
    }

    fn skip(
        &mut self,
        buffer: &[u8],
        mut missing: usize,
        mut part: Part,
        why: TooMuch,
    ) -> Result<Parsed, FrameError> {
        let mut at = 0;
        while missing > 0 {
            part = match part {
                Part::Header => match argument(buffer, at)? {
                    None => break,
                    Some((size, start)) => {
                        at = start;
                        Part::Bytes(size)
                    }
                },
                Part::Bytes(left) => {
                    let here = left.min(buffer.len() - at);
                    at += here;
                    if here < left {
                        part = Part::Bytes(left - here);
                        break;
                    }
                    Part::End
                }
                Part::End if ends(buffer, at)? => {
                    at += 2;
                    missing -= 1;
                    Part::Header
                }
                Part::End => break,
            };
        }
        self.state = State::Skips { missing, part, why };
        Ok(match (missing, at) {
            (0, _) => {
                self.state = State::Begins;
                Parsed::Skipped(at, why)
            }
            (_, 0) => Parsed::Incomplete,
            (_, _) => Parsed::Nothing(at),
        })
    }

    fn parse_inline(&mut self, buffer: &[u8]) -> Result<Parsed, FrameError> {
        self.is_inline = true;
        let end = buffer[self.at..].iter().position(|byte| *byte == b'\n').map(|end| self.at + end);
        let length = end.unwrap_or(buffer.len());
        if length > MAX_INLINE {
            let (given, limit) = (MAX_INLINE as u64 + 1, MAX_INLINE as u64);
            return Err(FrameError::TooLong { what: "inline", given, limit });
        }
        let Some(end) = end else {
            self.at = buffer.len();
            return Ok(Parsed::Incomplete);
        };
        let line = &buffer[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if http::is_request(line) {
            return Err(FrameError::Http);
        }
        let split = inline::split(line, &mut self.line, &mut self.args);
        split.map_err(|inline::Unbalanced| FrameError::Quotes)?;
        match self.args.first() {
            None => Ok(Parsed::Nothing(end + 1)),
            Some(name) if http::is_forbidden(&self.line[name.clone()]) => Err(FrameError::Http),
            Some(_) => Ok(Parsed::Command(end + 1)),
        }
    }
}

/// The length of the argument whose header begins there, and where its bytes begin. None: the header is
/// not complete.
fn argument(buffer: &[u8], at: usize) -> Result<Option<(usize, usize)>, FrameError> {
    match buffer.get(at) {
        None => Ok(None),
        Some(b'$') => length(buffer, at + 1, "bulk", MOST_DECLARED_BYTES),
        Some(other) => Err(FrameError::NoBulk(*other)),
    }
}

/// Whether an argument that ends there is followed by what has to follow. False: it is still to come.
fn ends(buffer: &[u8], end: usize) -> Result<bool, FrameError> {
    match buffer.get(end..end + 2) {
        None => Ok(false),
        Some(b"\r\n") => Ok(true),
        Some(_) => Err(FrameError::NoEnd),
    }
}

/// A declared length, and where what it is about begins. None: the line is not complete.
fn length(
    buffer: &[u8],
    from: usize,
    what: &'static str,
    limit: u64,
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
                    Some(b'\n') if value > limit => {
                        Err(FrameError::TooLong { what, given: value, limit })
                    }
                    Some(b'\n') => {
                        Ok(Some((usize::try_from(value).expect("under the limit"), end + 1)))
                    }
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

    /// So few bytes are a large command here that random ones are too much often.
    const MOST: usize = 40;

    /// All commands in some bytes that come in pieces; one word where a command was skipped.
    fn commands(pieces: &[&[u8]]) -> Found {
        commands_of(Parser::new(MOST), pieces)
    }

    fn commands_of(mut parser: Parser, pieces: &[&[u8]]) -> Found {
        let (mut buffer, mut found) = (Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match parser.parse(&buffer)? {
                    Parsed::Command(used) => {
                        let args = parser.args(&buffer);
                        found.push(args.from(0).map(<[u8]>::to_vec).collect());
                        buffer.drain(..used);
                    }
                    Parsed::Skipped(used, why) => {
                        found.push(vec![why.to_string().into_bytes()]);
                        buffer.drain(..used);
                    }
                    Parsed::Nothing(used) => drop(buffer.drain(..used)),
                    Parsed::Incomplete => break,
                }
            }
            assert!(buffer.len() <= MAX_COMMAND + MAX_HEADER, "{} bytes are kept", buffer.len());
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
    fn quotes_of_a_line_are_taken_off_and_those_that_do_not_end_are_refused() {
        let found = commands(&[b"set \"a b\" 'c'\r\nget \"\\x41\"\r\n"]).unwrap();
        assert_eq!(found, [words("set|a b|c"), words("get|A")]);
        for line in ["SET \"a v\r\n", "SET 'a\n", "SET \"a\"b c\n"] {
            let error = commands(&[b"PING\n", line.as_bytes()]).unwrap_err();
            assert_eq!(error.to_string(), "Protocol error: unbalanced quotes in request");
        }
    }

    #[test]
    fn http_is_no_command() {
        for bytes in [
            "POST /\r\n",
            "post\r\n",
            "Host: a\r\n",
            "GET / HTTP/1.1\r\n",
            "SET /a HTTP/1.1\r\n",
            "*1\r\n$4\r\nPost\r\n",
            "*2\r\n$5\r\nhost:\r\n$1\r\na\r\n",
        ] {
            assert_eq!(commands(&[bytes.as_bytes()]), Err(FrameError::Http), "{bytes:?}");
        }
        let in_quotes = commands(&[b"SET a \"HTTP/1.1\"\r\n"]).unwrap();
        assert_eq!(in_quotes, [words("SET|a|HTTP/1.1")]);
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_anything_comes() {
        let error = |bytes: &[u8]| commands(&[bytes]).unwrap_err().to_string();
        assert_eq!(
            error(b"*2\r\n$3\r\nGET\r\n$1073741824\r\n"),
            "Protocol error: bulk length 1073741824 is over the limit of 536870912"
        );
        assert_eq!(
            error(b"*2147483648\r\n"),
            "Protocol error: multibulk length 2147483648 is over the limit of 2147483647"
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
    fn a_command_that_is_too_much_is_skipped_and_the_next_one_is_found() {
        let many = [b"*1048577\r\n".to_vec(), b"$1\r\na\r\n".repeat(1_048_577)].concat();
        let long =
            [b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$65537\r\n".as_slice(), &[b'x'; 65_537], b"\r\n"];
        let large = [b"*5\r\n".to_vec(), b"$6\r\n\r\nabcd\r\n".repeat(5)].concat();
        for (command, why) in [
            (many, "1048576 arguments, and this one has 1048577"),
            (long.concat(), "65536 bytes, and one of these has 65537"),
            (large, "40 bytes here"),
        ] {
            let bytes =
                [&command, b"PING\r\n".as_slice(), &command, b"*1\r\n$4\r\nPING\r\n"].concat();
            let pieces: Vec<&[u8]> = bytes.chunks(4_093).collect();
            let found = commands(&pieces).unwrap();
            let shown = |at: usize| String::from_utf8_lossy(&found[at][0]).into_owned();
            assert!(shown(0).contains(why) && shown(2).contains(why), "{}", shown(0));
            assert_eq!((found.len(), shown(1), shown(3)), (4, "PING".into(), "PING".into()));
        }
    }

    #[test]
    fn a_command_of_very_many_arguments_is_taken() {
        let mut bytes = b"*1048576\r\n$4\r\nMGET\r\n".to_vec();
        bytes.extend_from_slice(&b"$1\r\na\r\n".repeat(MAX_ARGS - 1));
        let found = commands_of(Parser::default(), &[&bytes]).unwrap();
        assert_eq!((found.len(), found[0].len()), (1, MAX_ARGS));
    }

    proptest! {
        #![proptest_config(crate::core::properties::usual())]

        #[test]
        fn how_bytes_are_cut_does_not_matter(
            bytes in prop::collection::vec(
                prop::sample::select(b"*$0123\r\nab \xff-\"'\\".to_vec()), 0..60),
            cut in 0usize..60,
        ) {
            let cut = cut.min(bytes.len());
            let whole = commands(&[&bytes]);
            let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&whole, &commands(&[&bytes[..cut], &bytes[cut..]]));
            prop_assert_eq!(&whole, &commands(&pieces));
        }

        #[test]
        fn how_commands_of_any_size_are_cut_does_not_matter(
            sent in prop::collection::vec(prop::collection::vec(
                prop::collection::vec(any::<u8>(), 0..20), 1..5), 0..5),
            size in 1usize..9,
        ) {
            let mut bytes = Vec::new();
            for args in &sent {
                crate::resp::reply::command(&mut bytes, args);
            }
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(commands(&[&bytes]), commands(&pieces));
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
            prop_assert_eq!(commands_of(Parser::default(), &[&bytes]), Ok(sent));
        }
    }
}
