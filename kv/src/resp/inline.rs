//! Inline commands: a line of words, as a person types it, with the quotes of redis-cli.

use std::ops::Range;

/// A quote that does not end, or that something other than a space follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbalanced;

/// Splits a line (without its end) into words, whose bytes are added to `text` and whose places there to
/// `words`.
///
/// The rules are those of Redis (`sdssplitargs`): within double quotes `\n`, `\r`, `\t`, `\b`, `\a` and
/// `\xHH` are bytes, and a backslash takes any other byte as it is; within single quotes only `\'` does.
/// A closing quote ends the word, so that a space has to follow. One rule is not taken over: a zero byte
/// is a byte like others, where Redis stops and drops the rest of the line in silence.
pub fn split(
    line: &[u8],
    text: &mut Vec<u8>,
    words: &mut Vec<Range<usize>>,
) -> Result<(), Unbalanced> {
    let mut rest = line;
    loop {
        let spaces = rest.iter().take_while(|byte| is_space(**byte)).count();
        rest = &rest[spaces..];
        if rest.is_empty() {
            return Ok(());
        }
        let start = text.len();
        rest = word(rest, text)?;
        words.push(start..text.len());
    }
}

/// What separates words, as `isspace` of C has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Takes a word: what follows it.
fn word<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match rest {
            [] => return Ok(rest),
            [b'"', quoted @ ..] => return after_quote(double_quoted(quoted, text)?),
            [b'\'', quoted @ ..] => return after_quote(single_quoted(quoted, text)?),
            [byte, ..] if is_space(*byte) => return Ok(rest),
            [byte, after @ ..] => {
                text.push(*byte);
                after
            }
        }
    }
}

fn after_quote(rest: &[u8]) -> Result<&[u8], Unbalanced> {
    match rest.first() {
        Some(byte) if !is_space(*byte) => Err(Unbalanced),
        Some(_) | None => Ok(rest),
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (byte, after) = match rest {
            [] => return Err(Unbalanced),
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (16 * hex(*high) + hex(*low), after)
            }
            [b'\\', escaped, after @ ..] => (escaped_byte(*escaped), after),
            [byte, after @ ..] => (*byte, after),
        };
        text.push(byte);
        rest = after;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (byte, after) = match rest {
            [] => return Err(Unbalanced),
            [b'\'', after @ ..] => return Ok(after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
        };
        text.push(byte);
        rest = after;
    }
}

fn escaped_byte(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
        let (mut text, mut words) = (Vec::new(), Vec::new());
        split(line, &mut text, &mut words)?;
        Ok(words.into_iter().map(|word| text[word].to_vec()).collect())
    }

    #[test]
    fn quotes_mean_what_they_mean_to_redis() {
        for (line, expected) in [
            (&b"SET \"a\" b"[..], &[&b"SET"[..], b"a", b"b"][..]),
            (b" \tGET\x0b''\x0c\"\" ", &[b"GET", b"", b""]),
            (br#""\n\r\t\b\a\x41\xfF\"\\\q""#, &[b"\n\r\t\x08\x07A\xff\"\\q"]),
            (br#"'\n\'"\\x'"#, &[br#"\n'"\\x"#]),
            (br#"pre"fix ed" 'x'"#, &[b"prefix ed", b"x"]),
            (br#""\xg1\x1""#, &[b"xg1x1"]),
            (br#"back\slash "#, &[br"back\slash"]),
            (b"", &[]),
        ] {
            let shown = line.escape_ascii();
            assert_eq!(words(line).unwrap(), expected, "{shown}");
        }
    }

    #[test]
    fn a_quote_that_does_not_end_or_is_followed_by_a_word_is_refused() {
        for line in [r#"SET "a v"#, "'a", r#""a"b"#, "'a'b", r#""a\""#, r"'a\'", r#""a""b""#] {
            assert_eq!(words(line.as_bytes()), Err(Unbalanced), "{line}");
        }
    }

    /// As redis-cli shows bytes.
    fn in_double_quotes(word: &[u8]) -> Vec<u8> {
        let mut quoted = vec![b'"'];
        for byte in word {
            match byte {
                b'"' | b'\\' => quoted.extend([b'\\', *byte]),
                b'\n' => quoted.extend(b"\\n"),
                0x07 => quoted.extend(b"\\a"),
                byte if byte.is_ascii_graphic() => quoted.push(*byte),
                byte => quoted.extend(format!("\\x{byte:02x}").bytes()),
            }
        }
        quoted.push(b'"');
        quoted
    }

    fn in_single_quotes(word: &[u8]) -> Vec<u8> {
        let escaped = word.iter().flat_map(|byte| match byte {
            b'\'' => vec![b'\\', b'\''],
            byte => vec![*byte],
        });
        [b'\''].into_iter().chain(escaped).chain([b'\'']).collect()
    }

    proptest! {
        #[test]
        fn words_that_are_quoted_are_the_same_words_again(
            sent in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..12), any::<bool>()), 0..6),
        ) {
            let quote = |(word, double): &(Vec<u8>, bool)| match double {
                // A backslash before a single quote would be taken as the quote's.
                false if !word.contains(&b'\\') => in_single_quotes(word),
                _ => in_double_quotes(word),
            };
            let line = sent.iter().map(quote).collect::<Vec<_>>().join(&b' ');
            let sent: Vec<Vec<u8>> = sent.into_iter().map(|(word, _)| word).collect();
            prop_assert_eq!(words(&line), Ok(sent));
        }
    }
}
