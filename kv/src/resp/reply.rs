//! Replies as bytes, in the dialect that a connection asked for.

/// Which version of the protocol a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// RESP2, until `HELLO 3`.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// `+text`.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `-text`, which should begin with a word in capitals. A line break would end it early.
pub fn error(out: &mut Vec<u8>, text: &str) {
    out.push(b'-');
    out.extend(text.bytes().map(|byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// `:number`.
pub fn integer(out: &mut Vec<u8>, value: usize) {
    header(out, b':', value);
}

/// `:number`, which may be negative.
pub fn signed(out: &mut Vec<u8>, value: i64) {
    match usize::try_from(value) {
        Ok(value) => integer(out, value),
        Err(_) => out.extend_from_slice(format!(":{value}\r\n").as_bytes()),
    }
}

/// `$length`, and the bytes.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Nothing.
pub fn null(out: &mut Vec<u8>, dialect: Dialect) {
    out.extend_from_slice(match dialect {
        Dialect::Resp2 => b"$-1\r\n",
        Dialect::Resp3 => b"_\r\n",
    });
}

/// Text that is to be shown as it is.
pub fn verbatim(out: &mut Vec<u8>, text: &str, dialect: Dialect) {
    match dialect {
        Dialect::Resp2 => bulk(out, text.as_bytes()),
        Dialect::Resp3 => {
            header(out, b'=', text.len() + 4);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// So many replies follow.
pub fn array(out: &mut Vec<u8>, length: usize) {
    header(out, b'*', length);
}

/// So many pairs of replies follow.
pub fn map(out: &mut Vec<u8>, pairs: usize, dialect: Dialect) {
    match dialect {
        Dialect::Resp2 => header(out, b'*', 2 * pairs),
        Dialect::Resp3 => header(out, b'%', pairs),
    }
}

/// So many replies follow, in no order.
pub fn set(out: &mut Vec<u8>, length: usize, dialect: Dialect) {
    match dialect {
        Dialect::Resp2 => array(out, length),
        Dialect::Resp3 => header(out, b'~', length),
    }
}

/// A command, as clients send it.
pub fn command<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    array(out, args.len());
    for arg in args {
        bulk(out, arg.as_ref());
    }
}

fn header(out: &mut Vec<u8>, kind: u8, value: usize) {
    out.push(kind);
    // The digits from the last: most lengths have one or two.
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), value);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_as_specified() {
        let mut out = Vec::new();
        simple(&mut out, "OK");
        error(&mut out, "ERR two\r\nlines");
        integer(&mut out, 1_204);
        bulk(&mut out, b"");
        null(&mut out, Dialect::Resp2);
        null(&mut out, Dialect::Resp3);
        map(&mut out, 2, Dialect::Resp2);
        map(&mut out, 2, Dialect::Resp3);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "+OK\r\n-ERR two  lines\r\n:1204\r\n$0\r\n\r\n$-1\r\n_\r\n*4\r\n%2\r\n"
        );
    }
}
