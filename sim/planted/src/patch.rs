//! The bugs on disk: patches, their headers, and the tree with one of them applied.
//!
//! A patch begins with lines `# name: …`:
//!
//! - `title`, `source`: what it does, and where it was seen,
//! - `engine`: who must find it, all of these,
//! - `may fail`: the properties, promises of models and tests that it may break, as the engines name them.
//!   Where anything else fails, the bug is not found: the engine may have seen something else. The engine
//!   `unit` runs the tests that are named here, and no others,
//! - `models`: those that are explored, where not all are: the smallest one that sees the bug may have a path
//!   that the simulation cannot take, while another one has one that it can,
//! - `no replay`: why the simulation cannot take the model's path, where it cannot.
//!
//! An `.absent` has `title`, `source`, and `why` the design leaves no room for the bug.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};

use super::engine::Engine;

/// What of the tree is built.
const COPIED: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "rustfmt.toml", ".cargo", "kv", "sim", "model", "tests"];

/// A bug to plant.
pub struct Bug {
    /// Its name: the number in the list of bugs, and a few words.
    pub id: String,
    /// What it does.
    pub title: String,
    /// Where it was seen.
    pub source: String,
    /// The patch, and who must find it; or why there is none.
    pub kind: Kind,
    /// The properties, promises of models and tests that it may break.
    pub may_fail: Vec<String>,
    /// The models that are explored; none stands for all.
    pub models: Vec<String>,
    /// Why the path of the model that finds it is not replayed, where that is known.
    pub no_replay: Option<String>,
}

/// What is to be planted.
pub enum Kind {
    /// A patch, and the engines each of which must find it.
    Patch(String, Vec<Engine>),
    /// The design leaves no room for it: why.
    NoRoom(String),
}

/// Reads the bugs of a folder, by name: `ID.patch`, or `ID.absent` with the reason.
pub fn read(folder: &Path) -> Result<Vec<Bug>> {
    let mut bugs = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_string();
        let line = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("# {name}: ")));
            line.map(str::to_string)
        };
        let header =
            |name: &str| line(name).with_context(|| format!("{id} has no line `# {name}: …`"));
        let no_replay = line("no replay");
        let listed = |line: String| line.split(", ").map(str::to_string).collect();
        let models = line("models").map(listed).unwrap_or_default();
        let (title, source) = (header("title")?, header("source")?);
        let mut may_fail = Vec::new();
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("patch") => {
                may_fail = listed(header("may fail")?);
                Kind::Patch(body(&text), engines(&header("engine")?, &id)?)
            }
            Some("absent") => Kind::NoRoom(header("why")?),
            _ => bail!("{}: neither .patch nor .absent", path.display()),
        };
        bugs.push(Bug { id, title, source, kind, may_fail, models, no_replay });
    }
    bugs.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(bugs)
}

fn body(text: &str) -> String {
    let lines = text.lines().skip_while(|line| line.starts_with('#'));
    lines.fold(String::new(), |patch, line| patch + line + "\n")
}

fn engines(listed: &str, id: &str) -> Result<Vec<Engine>> {
    let parsed = |name: &str| {
        let name = name.trim();
        Engine::of_name(name).with_context(|| {
            format!("{id}: there is no engine {name:?}; there are {}", Engine::names())
        })
    };
    listed.split(',').map(parsed).collect()
}

/// The files that a patch changes, as they are after it.
pub fn patched(root: &Path, patch: &str) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for part in split_by_file(patch) {
        let diff = diffy::Patch::from_str(&part).context("it cannot be read")?;
        let name = diff.modified().context("it names no file")?;
        let name = name.strip_prefix("b/").unwrap_or(name).to_string();
        let before = fs::read_to_string(root.join(&name)).with_context(|| name.clone())?;
        let after = diffy::apply(&before, &diff).with_context(|| format!("{name} has changed"))?;
        files.push((name, after));
    }
    ensure!(!files.is_empty(), "it changes nothing");
    Ok(files)
}

fn split_by_file(patch: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for line in patch.lines() {
        if line.starts_with("--- ") {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    parts
}

/// Makes the tree that of the workspace, with a patch applied if there is one.
pub fn apply(root: &Path, tree: &Path, patch: Option<&str>) -> Result<()> {
    let changed = patch.map_or(Ok(Vec::new()), |patch| patched(root, patch))?;
    for name in COPIED {
        remove_gone(root, tree, Path::new(name))?;
        copy(root, tree, Path::new(name), &changed)?;
    }
    for (name, text) in &changed {
        write_if_new(&tree.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// Removes from the tree what the workspace no longer has.
fn remove_gone(root: &Path, tree: &Path, name: &Path) -> Result<()> {
    let (from, to) = (root.join(name), tree.join(name));
    if to.is_dir() && from.is_dir() {
        for entry in fs::read_dir(&to).with_context(|| to.display().to_string())? {
            remove_gone(root, tree, &name.join(entry?.file_name()))?;
        }
        return Ok(());
    }
    let gone = to.exists() && (!from.exists() || from.is_dir() != to.is_dir());
    match (gone, to.is_dir()) {
        (false, _) => Ok(()),
        (true, true) => fs::remove_dir_all(&to).with_context(|| to.display().to_string()),
        (true, false) => fs::remove_file(&to).with_context(|| to.display().to_string()),
    }
}

/// Copies what differs, so that only what a patch changes is built anew.
fn copy(root: &Path, tree: &Path, name: &Path, changed: &[(String, String)]) -> Result<()> {
    let from = root.join(name);
    if from.is_dir() {
        for entry in fs::read_dir(&from).with_context(|| from.display().to_string())? {
            copy(root, tree, &name.join(entry?.file_name()), changed)?;
        }
        return Ok(());
    }
    if changed.iter().any(|(changed, _)| Path::new(changed) == name) || !from.exists() {
        return Ok(());
    }
    let bytes = fs::read(&from).with_context(|| from.display().to_string())?;
    write_if_new(&tree.join(name), &bytes)
}

fn write_if_new(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|held| held == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())
}
