//! Keeps web pages out: a browser can be made to send HTTP to any port, and a line of an HTTP request, or
//! of its body, could be a command.

/// Whether this cannot be the first word of a command, in a line or in an array: `POST` and `Host:`, as in
/// Redis.
pub fn is_forbidden(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"POST") || word.eq_ignore_ascii_case(b"Host:")
}

/// Whether a line is the first one of an HTTP request, of whatever method: a page that reached this port
/// under its own name (by DNS rebinding) may choose `SET` as its method, too. Redis has no such rule. Who
/// wants such a last word in an inline command writes it in quotes.
pub fn is_request(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let Some(space) = line.iter().rposition(u8::is_ascii_whitespace) else { return false };
    match line[space + 1..].split_at_checked(5) {
        Some((name, version)) => {
            let is_version = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
            name.eq_ignore_ascii_case(b"HTTP/")
                && !version.is_empty()
                && version.iter().all(is_version)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_any_method_are_told_from_commands() {
        for line in [
            "GET / HTTP/1.1",
            "SET /key HTTP/1.0",
            "PRI * HTTP/2.0",
            "OPTIONS * http/1.1 ",
            "x /a b HTTP/1.1",
        ] {
            assert!(is_request(line.as_bytes()), "{line}");
        }
        for line in [
            "GET /",
            "SET a \"HTTP/1.1\"",
            "SET a HTTP/",
            "SET a HTTP/x",
            "HTTP/1.1",
            "",
            "SET a xHTTP/1.1",
        ] {
            assert!(!is_request(line.as_bytes()), "{line}");
        }
    }
}
