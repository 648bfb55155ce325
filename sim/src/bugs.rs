//! Planted bugs: real mistakes of others, as patches of our code. Each is applied to a copy of the
//! tree, built, and swept until a property falls.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// A bug that takes more seeds than this was not found.
const MOST_SEEDS: u64 = 500;

/// What of the tree is built.
const COPIED: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "rustfmt.toml", ".cargo", "kv", "sim", "model", "tests"];

/// A bug to plant.
struct Bug {
    id: String,
    title: String,
    source: String,
    kind: Kind,
}

enum Kind {
    /// A patch.
    Patch(String),
    /// The design leaves no room for it: why.
    NoRoom(String),
}

/// How a bug fared.
struct Fate {
    id: String,
    title: String,
    source: String,
    /// Found: property, seeds, CPU time. Or why it was not planted.
    found: Result<(String, u64, Duration), String>,
}

/// Plants all bugs, or one. True when each was found.
pub fn command(only: Option<&str>, json: bool) -> Result<bool> {
    let root = root()?;
    let mut bugs = read_bugs(&root.join("sim/bugs"))?;
    if let Some(only) = only {
        let known: Vec<String> = bugs.iter().map(|bug| bug.id.clone()).collect();
        bugs.retain(|bug| bug.id == only || bug.id.split('-').next() == Some(only));
        ensure!(!bugs.is_empty(), "there is no bug {only:?}; there are {}", known.join(", "));
    }
    let tree = root.join("target/bugs/tree");
    // All patches are tried before any is built: one that no longer applies is an error at once.
    for bug in &bugs {
        if let Kind::Patch(patch) = &bug.kind {
            patched(&root, patch).with_context(|| format!("the patch of {}", bug.id))?;
        }
    }
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(bugs.len() as u64) };
    let style = "{elapsed_precise} {wide_bar} {pos}/{len} {msg}";
    bar.set_style(ProgressStyle::with_template(style).context("the progress bar's template")?);
    let mut fates = Vec::new();
    for bug in bugs {
        bar.set_message(bug.id.clone());
        fates.push(plant(&root, &tree, bug)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if json {
        println!("{:#}", as_json(&fates));
    } else {
        println!("{}", as_table(&fates));
    }
    Ok(fates.iter().all(|fate| !matches!(&fate.found, Err(why) if why == NOT_FOUND)))
}

const NOT_FOUND: &str = "NOT FOUND";

/// The workspace: the folder above this package.
fn root() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().context("the package is in a workspace")?;
    ensure!(root.join("sim/bugs").is_dir(), "{} has no sim/bugs", root.display());
    Ok(root.to_path_buf())
}

/// Reads the bugs of a folder, by name: `ID.patch`, or `ID.absent` with the reason.
fn read_bugs(folder: &Path) -> Result<Vec<Bug>> {
    let mut bugs = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_string();
        let header = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("# {name}: ")));
            line.map(str::to_string).with_context(|| format!("{id} has no line `# {name}: …`"))
        };
        let (title, source) = (header("title")?, header("source")?);
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("patch") => {
                let engine = header("engine")?;
                ensure!(engine == "simulation", "{id}: there is no engine {engine:?}");
                Kind::Patch(
                    text.lines()
                        .skip_while(|line| line.starts_with('#'))
                        .fold(String::new(), |patch, line| patch + line + "\n"),
                )
            }
            Some("absent") => Kind::NoRoom(header("why")?),
            _ => bail!("{}: neither .patch nor .absent", path.display()),
        };
        bugs.push(Bug { id, title, source, kind });
    }
    bugs.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(bugs)
}

/// The files that a patch changes, as they are after it.
fn patched(root: &Path, patch: &str) -> Result<Vec<(String, String)>> {
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

fn plant(root: &Path, tree: &Path, bug: Bug) -> Result<Fate> {
    let Bug { id, title, source, kind } = bug;
    let patch = match kind {
        Kind::NoRoom(why) => return Ok(Fate { id, title, source, found: Err(why) }),
        Kind::Patch(patch) => patch,
    };
    let changed = patched(root, &patch)?;
    for name in COPIED {
        copy(root, tree, Path::new(name), &changed)?;
    }
    for (name, text) in &changed {
        write_if_new(&tree.join(name), text.as_bytes())?;
    }
    let found = search(tree).with_context(|| format!("with {id} planted"))?;
    Ok(Fate { id, title, source, found: found.ok_or_else(|| NOT_FOUND.to_string()) })
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

/// Builds the tree, and sweeps until a seed falls: property, seeds, CPU time.
fn search(tree: &Path) -> Result<Option<(String, u64, Duration)>> {
    let target = tree.join("../target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(tree)
        .env_remove("RUSTFLAGS")
        .args(["build", "--quiet", "--release", "-p", "sim", "--bin", "sim"])
        .args(["--config", "build.rustflags=['--cfg','madsim','--cap-lints','allow']"])
        .arg("--target-dir")
        .arg(&target)
        .stdin(Stdio::null())
        .output()
        .context("cargo cannot be run")?;
    ensure!(
        built.status.success(),
        "it does not build:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let swept = Command::new(target.join("release/sim"))
        .args(["--stop-at-first", "--json", "--seeds", &MOST_SEEDS.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("the sweep cannot be run")?;
    let json: Value = serde_json::from_slice(&swept.stdout)
        .with_context(|| format!("the sweep said {:?}", String::from_utf8_lossy(&swept.stderr)))?;
    let Some(first) = json["fallen"].get(0) else { return Ok(None) };
    let seed = first["seed"].as_u64().context("a seed is a number")?;
    let property = first["property"].as_str().unwrap_or("?").to_string();
    let cpu = Duration::from_secs_f64(json["cpu_seconds"].as_f64().unwrap_or(0.0).max(0.0));
    Ok(Some((property, seed + 1, cpu)))
}

/// The middle of the numbers of seeds that were needed.
fn median(fates: &[Fate]) -> Option<u64> {
    let mut seeds: Vec<u64> =
        fates.iter().filter_map(|fate| fate.found.as_ref().ok().map(|(_, n, _)| *n)).collect();
    seeds.sort_unstable();
    seeds.get(seeds.len() / 2).copied()
}

fn as_table(fates: &[Fate]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["bug", "what it does", "seen in", "found by", "seeds", "CPU s"]);
    for fate in fates {
        let (by, seeds, cpu) = match &fate.found {
            Ok((property, seeds, cpu)) => {
                (property.clone(), seeds.to_string(), format!("{:.2}", cpu.as_secs_f64()))
            }
            Err(why) => (why.clone(), "-".into(), "-".into()),
        };
        table.add_row([fate.id.clone(), fate.title.clone(), fate.source.clone(), by, seeds, cpu]);
    }
    let median = median(fates).map_or("-".into(), |median| median.to_string());
    format!("{table}\nmedian of seeds: {median}; none may need more than {MOST_SEEDS}")
}

fn as_json(fates: &[Fate]) -> Value {
    let bugs: Vec<Value> = fates
        .iter()
        .map(|fate| match &fate.found {
            Ok((property, seeds, cpu)) => json!({
                "id": fate.id, "title": fate.title, "source": fate.source, "engine": "simulation",
                "property": property, "seeds": seeds, "cpu_seconds": cpu.as_secs_f64(),
            }),
            Err(why) => json!({
                "id": fate.id, "title": fate.title, "source": fate.source, "not_found": why,
            }),
        })
        .collect();
    json!({ "bugs": bugs, "median_seeds": median(fates), "most_seeds": MOST_SEEDS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_applies_to_the_tree() {
        let root = root().unwrap();
        let bugs = read_bugs(&root.join("sim/bugs")).unwrap();
        assert!(bugs.iter().any(|bug| bug.id == "canary"));
        for bug in bugs {
            if let Kind::Patch(patch) = bug.kind {
                patched(&root, &patch).unwrap_or_else(|why| panic!("{}: {why:#}", bug.id));
            }
        }
    }
}
