//! Texts for people, as wide as their terminal.

use std::io::Write as _;

/// What is taken for a terminal's width where there is none.
const USUAL: usize = 80;
/// Lines are no shorter, and tables no wider, whatever the terminal.
const LEAST: usize = 40;
const MOST: usize = 160;

/// How many characters fit into a line of the standard output: COLUMNS says so, or the terminal.
pub fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let asked = || comfy_table::Table::new().width().map(usize::from);
    told.or_else(asked).unwrap_or(USUAL).clamp(LEAST, MOST)
}

/// Prints a result. A reader that went away is no error of ours; an output that cannot be written is one.
pub fn print(text: &str) -> std::io::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(why) if why.kind() != std::io::ErrorKind::BrokenPipe => Err(why),
        _ => Ok(()),
    }
}

/// Prints a line of news beside the result. Whoever cannot be told has the result and the exit code.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line, with its end, cut into several between words where it is too long. All but the first begin with so many
/// spaces.
pub fn wrapped(line: &str, width: usize, indent: usize) -> String {
    let first = line.len() - line.trim_start().len();
    let (spaces, words) = line.split_at(first);
    packed(words.split(' ').map(str::to_string), width, spaces, indent)
}

/// Items, with commas between them, in as many lines of a width as they take. One that is longer is cut between
/// its words.
pub fn listed(items: &[String], width: usize) -> String {
    let last = items.len().saturating_sub(1);
    let comma = |place| if place < last { "," } else { "" };
    let items = items.iter().enumerate().map(|(place, item)| format!("{item}{}", comma(place)));
    let lines = packed(items, width, "", 0);
    lines.lines().map(|line| wrapped(line, width, 2)).collect::<String>().trim_end().to_string()
}

/// Characters of a key or a value that are shown at most.
const MOST_TEXT: usize = 24;

/// Stands between a number and its unit, so that no line ends there.
pub const TIED: char = '\u{a0}';

/// A time, in the unit that suits it.
pub fn length(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}{TIED}us"),
        1_000..1_000_000 => format!("{:.1}{TIED}ms", us as f64 / 1e3),
        1_000_000.. => format!("{:.1}{TIED}s", us as f64 / 1e6),
    }
}

/// A moment of the run in milliseconds.
pub fn ms(us: u64) -> String {
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

/// The names of nodes: `n1, n2 and n3`.
pub fn nodes(of: &[u32]) -> String {
    let names: Vec<String> = of.iter().map(|node| format!("n{node}")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "no node".into(),
    }
}

/// A text in quotes, cut where it is long.
pub fn quoted(of: &str) -> String {
    match of.chars().count() > MOST_TEXT {
        true => format!("{:?}…", of.chars().take(MOST_TEXT).collect::<String>()),
        false => format!("{of:?}"),
    }
}

/// As many parts in each line as there is room for.
fn packed(parts: impl Iterator<Item = String>, width: usize, first: &str, indent: usize) -> String {
    let (mut text, mut line) = (String::new(), first.to_string());
    let mut is_empty = true;
    for part in parts {
        let length = line.chars().count() + usize::from(!is_empty) + part.chars().count();
        if !is_empty && length > width {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(indent);
            is_empty = true;
        }
        // Further spaces between two words are kept, but not at the beginning of a line.
        if is_empty && part.is_empty() {
            continue;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(&part);
        is_empty = false;
    }
    text + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_between_words() {
        assert_eq!(wrapped("one two", 7, 2), "one two\n");
        assert_eq!(wrapped("one two three", 7, 2), "one two\n  three\n");
        assert_eq!(wrapped("one two three four", 9, 2), "one two\n  three\n  four\n");
        assert_eq!(wrapped("  a-very-long-word", 5, 2), "  a-very-long-word\n");
        assert_eq!(wrapped("", 5, 2), "\n");
        assert_eq!(wrapped(">  1  op 3  one two", 14, 6), ">  1  op 3\n      one two\n");
        assert_eq!(wrapped(">  1  op 3  one two", 16, 6), ">  1  op 3  one\n      two\n");
        assert_eq!(wrapped("äöü äöü", 4, 0), "äöü\näöü\n");
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(length(999), "999\u{a0}us");
        assert_eq!(length(1_250), "1.2\u{a0}ms");
        assert_eq!(length(2_000_000), "2.0\u{a0}s");
        assert_eq!(nodes(&[1, 2, 3]), "n1, n2 and n3");
        assert_eq!(nodes(&[]), "no node");
    }

    #[test]
    fn lists_are_cut_between_items() {
        let items = ["lost 3", "cut 14", "doubled 7"].map(str::to_string);
        assert_eq!(listed(&items, 40), "lost 3, cut 14, doubled 7");
        assert_eq!(listed(&items, 15), "lost 3, cut 14,\ndoubled 7");
        assert_eq!(listed(&items, 7), "lost 3,\ncut 14,\ndoubled\n  7");
        assert_eq!(listed(&[], 7), "");
    }
}
