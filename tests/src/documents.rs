//! The commands that the documents show.

use std::{collections::BTreeSet, fs, path::Path};

/// What a command begins with, as it is written in a document.
const PROGRAMS: [&str; 4] = ["cargo", "orrery", "target/release/orrery", "redis-cli"];
/// How the documents name a trial in a word: `--example NAME`.
const EXAMPLE: &str = "--example ";

/// All commands that README.md, ARCHITECTURE.md and docs/ show, each once: with single spaces, and without
/// comments.
pub fn commands() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    for entry in fs::read_dir(root.join("docs")).expect("a folder of documents") {
        files.push(entry.expect("an entry").path());
    }
    files.retain(|file| file.extension().is_some_and(|name| name == "md"));
    let read = |file| fs::read_to_string(file).expect("a document");
    files.into_iter().map(read).flat_map(|text| commands_of(&text)).collect()
}

/// The commands of a text: those in indented and in fenced blocks, and those between backquotes.
pub fn commands_of(text: &str) -> Vec<String> {
    let (blocks, prose) = split(text);
    let spans = prose.split('`').skip(1).step_by(2).map(tidy);
    let spans = spans.map(|span| match span.starts_with(EXAMPLE) {
        true => format!("cargo run --release -p kv {span}"),
        false => span,
    });
    blocks.iter().map(|line| tidy(line)).chain(spans).filter(|text| is_command(text)).collect()
}

fn is_command(text: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    // A name alone is a word for the program.
    PROGRAMS.contains(&first) && text != first
}

/// Single spaces, and no comment.
fn tidy(text: &str) -> String {
    let words = text.split_whitespace().take_while(|word| *word != "#");
    words.collect::<Vec<_>>().join(" ")
}

/// The lines of code blocks, those that go on with a backslash joined; and all the rest.
fn split(text: &str) -> (Vec<String>, String) {
    let (mut blocks, mut prose, mut is_fenced) = (Vec::new(), String::new(), false);
    let mut goes_on = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        let is_code = is_fenced || line.starts_with("    ");
        if !is_code {
            prose.push_str(line);
            prose.push('\n');
            goes_on = false;
            continue;
        }
        let code = line.strip_suffix('\\').unwrap_or(line);
        match blocks.last_mut().filter(|_| goes_on) {
            Some(last) => *last = format!("{last} {code}"),
            None => blocks.push(code.to_string()),
        }
        goes_on = line.ends_with('\\');
    }
    (blocks, prose)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_blocks_and_between_backquotes() {
        let text = "Run `cargo\nsim` or `--example x`, not `orrery` or `GET a`.\n\n    orrery serve \\\n        --peer a   # b\n\
                    \n    no command\n```sh\ncargo loom\n```\n";
        let found = commands_of(text);
        let wanted = [
            "orrery serve --peer a",
            "cargo loom",
            "cargo sim",
            "cargo run --release -p kv --example x",
        ];
        assert_eq!(found, wanted);
    }
}
