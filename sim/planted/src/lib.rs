//! Planted bugs: real mistakes of others, as patches of our code. Each is applied to a copy of the
//! tree and built there, and each engine that must find it looks for it: after it found nothing in the
//! copy without any.

mod engine;
mod patch;
mod report;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use harness::text;
use indicatif::{ProgressBar, ProgressStyle};

use self::{
    engine::Engine,
    patch::{Bug, Kind},
    report::{Came, Fate},
};

/// How often the clock beside the progress bar moves.
const TICK: Duration = Duration::from_millis(200);

/// Plants all bugs, or one, after a look at the tree without any. True when each was found, and soon.
pub fn command(only: Option<&str>, json: bool) -> Result<bool> {
    let root = root()?;
    let mut bugs = patch::read(&root.join("sim/bugs"))?;
    if let Some(only) = only {
        let known: Vec<String> = bugs.iter().map(|bug| bug.id.clone()).collect();
        bugs.retain(|bug| bug.id == only || bug.id.split('-').next() == Some(only));
        ensure!(!bugs.is_empty(), "there is no bug {only:?}; there are {}", known.join(", "));
    }
    let tree = root.join("target/bugs/tree");
    // All patches are tried before any is built: one that no longer applies is an error at once.
    for bug in &bugs {
        if let Kind::Patch(patch, _) = &bug.kind {
            patch::patched(&root, patch).with_context(|| format!("the patch of {}", bug.id))?;
        }
    }
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(bugs.len() as u64) };
    let style = "{elapsed_precise} {spinner} {pos}/{len} {wide_bar} {msg}";
    bar.set_style(ProgressStyle::with_template(style).context("the progress bar's template")?);
    // A build takes a minute: the clock goes on meanwhile.
    bar.enable_steady_tick(TICK);
    let control = control(&root, &tree, &bugs, |doing| bar.set_message(doing))?;
    let mut fates = Vec::new();
    for bug in bugs {
        let fate = plant(&root, &tree, bug, |doing| bar.set_message(doing))?;
        // Each takes a build: whoever waits sees them come in, on a terminal or not.
        bar.suspend(|| text::tell(&report::line(&fate)));
        fates.push(fate);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let are_all = only.is_none();
    if json {
        text::print(&format!("{:#}", report::json(&fates, &control, are_all)))?;
    } else {
        text::print(&report::table(&fates, are_all, text::width()))?;
    }
    Ok(report::verdict(&fates, are_all).0)
}

/// Lets each engine that will be asked search the tree without a bug, over the same seeds: where something
/// fails there, it says nothing of the bugs that it fails with one.
fn control(root: &Path, tree: &Path, bugs: &[Bug], doing: impl Fn(String)) -> Result<Vec<Engine>> {
    patch::apply(root, tree, None)?;
    let mut asked = Vec::new();
    for engine in Engine::EVERY {
        let of_engine = bugs.iter().filter(|bug| match &bug.kind {
            Kind::Patch(_, engines) => engines.contains(&engine),
            Kind::NoRoom(_) => false,
        });
        let may_fail: Vec<String> = of_engine.flat_map(|bug| bug.may_fail.clone()).collect();
        if may_fail.is_empty() {
            continue;
        }
        let doing = |stage: &str| doing(format!("no bug, {}: {stage}", engine.name()));
        let found = engine.search(tree, &may_fail, &[], &doing);
        let found = found.with_context(|| format!("{}, with nothing planted", engine.name()))?;
        if let Some(found) = found {
            let (name, what, effort) = (engine.name(), found.what(), found.effort);
            bail!("{name}: {what} fails after {effort} with no bug planted: it cannot judge any");
        }
        asked.push(engine);
    }
    Ok(asked)
}

/// The workspace: this package is in its folder `sim`.
fn root() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2).context("the package is in a workspace")?;
    ensure!(root.join("sim/bugs").is_dir(), "{} has no sim/bugs", root.display());
    Ok(root.to_path_buf())
}

fn plant(root: &Path, tree: &Path, bug: Bug, doing: impl Fn(String)) -> Result<Fate> {
    let Bug { id, title, source, kind, may_fail, models, no_replay } = bug;
    let came = match kind {
        Kind::NoRoom(why) => Came::NoRoom(why),
        Kind::Patch(patch, engines) => {
            doing(format!("{id}: patching"));
            patch::apply(root, tree, Some(&patch))?;
            let mut all = Vec::new();
            for engine in engines {
                let doing = |stage: &str| doing(format!("{id}, {}: {stage}", engine.name()));
                let found = engine.search(tree, &may_fail, &models, &doing);
                let found =
                    found.with_context(|| format!("{}, with {id} planted", engine.name()))?;
                all.push((engine, found));
            }
            Came::Of(all)
        }
    };
    Ok(Fate { id, title, source, came, may_fail, no_replay })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_applies_to_the_tree() {
        let root = root().unwrap();
        let bugs = patch::read(&root.join("sim/bugs")).unwrap();
        assert!(bugs.iter().any(|bug| bug.id == "canary"));
        for bug in bugs {
            if let Kind::Patch(patch, engines) = bug.kind {
                assert!(!engines.is_empty(), "{}: no engine", bug.id);
                patch::patched(&root, &patch).unwrap_or_else(|why| panic!("{}: {why:#}", bug.id));
            }
        }
    }
}
