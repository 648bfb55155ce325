//! The engines that look for a planted bug, each as the command that a reader would type.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A bug that takes the simulation more seeds than this was not found.
pub const MOST_SEEDS: u64 = 500;

/// What looks for bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// A sweep of seeds: `cargo sim`.
    Simulation,
    /// Every order of events of small clusters: `cargo model`.
    Model,
    /// Every interleaving of threads: `cargo loom`.
    Loom,
    /// Simulated runs, followed by the model.
    Trace,
}

/// What an engine found.
pub struct Found {
    /// What fell.
    pub what: String,
    /// How much it took, in the engine's own measure.
    pub effort: String,
    /// The seeds that it took, where there are seeds.
    pub seeds: Option<u64>,
    /// Seconds of time, without the build.
    pub seconds: f64,
    /// What came of the way of a model in the simulation.
    pub replay: Replay,
}

/// What came of the way of a model in the simulation.
pub enum Replay {
    /// The engine is no model.
    None,
    /// This fell, or nothing did.
    As(String),
    /// There is no such scenario: why.
    Impossible(String),
}

impl Engine {
    /// All of them.
    pub const EVERY: [Self; 4] = [Self::Simulation, Self::Model, Self::Loom, Self::Trace];

    /// As patches name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simulation => "simulation",
            Self::Model => "model",
            Self::Loom => "loom",
            Self::Trace => "trace",
        }
    }

    /// The names, for people.
    pub fn names() -> String {
        Self::EVERY.map(Self::name).join(", ")
    }

    /// The engine of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|engine| engine.name() == name)
    }

    /// Looks for what is wrong with a tree. None: it found nothing.
    pub fn search(self, tree: &Path) -> Result<Option<Found>> {
        match self {
            Self::Simulation => simulation(tree),
            Self::Model => model(tree),
            Self::Loom => loom(tree),
            Self::Trace => trace(tree),
        }
    }
}

const MADSIM: &str = "build.rustflags=['--cfg','madsim','--cap-lints','allow']";
const LOOM: &str = "build.rustflags=['--cfg','loom','--cap-lints','allow']";

impl Found {
    /// Whether the way that a model wrote, if any, breaks a property in the simulation too. Where it wrote
    /// none, the patch has to say so.
    pub fn replays(&self, is_known_not_to: bool) -> bool {
        match &self.replay {
            Replay::None => true,
            Replay::As(property) => self.what.split([',', ' ']).any(|of| of == property),
            Replay::Impossible(_) => is_known_not_to,
        }
    }
}

/// A cargo that builds in the tree, apart from the reader's own builds.
fn cargo(tree: &Path, what: &str, flags: &str, folder: &str) -> (Command, PathBuf) {
    let target = tree.join("..").join(folder);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(tree).env_remove("RUSTFLAGS").stdin(Stdio::null());
    // Backtraces of what must fail would take most of the time.
    command.env("RUST_BACKTRACE", "0");
    command.args([what, "--release", "--config", flags, "--target-dir"]).arg(&target);
    (command, target.join("release"))
}

/// Builds programs; where they are.
fn build(tree: &Path, programs: &[&str]) -> Result<PathBuf> {
    let (mut command, built) = cargo(tree, "build", MADSIM, "target");
    for program in programs {
        command.args(["-p", program, "--bin", program]);
    }
    succeeds(command.output().context("cargo cannot be run")?)?;
    Ok(built)
}

fn succeeds(built: Output) -> Result<Output> {
    let said = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "it does not build:\n{said}");
    Ok(built)
}

fn json(command: &mut Command) -> Result<Value> {
    let done = command.stdin(Stdio::null()).output().context("it cannot be run")?;
    serde_json::from_slice(&done.stdout)
        .with_context(|| format!("it said {:?}", String::from_utf8_lossy(&done.stderr)))
}

fn simulation(tree: &Path) -> Result<Option<Found>> {
    let sim = build(tree, &["sim"])?.join("sim");
    let most = MOST_SEEDS.to_string();
    let swept = json(Command::new(sim).args(["--stop-at-first", "--json", "--seeds", &most]))?;
    let Some(first) = swept["fallen"].get(0) else { return Ok(None) };
    let seeds = first["seed"].as_u64().context("a seed is a number")? + 1;
    let what = first["property"].as_str().unwrap_or("?").to_string();
    let seconds = swept["wall_seconds"].as_f64().unwrap_or(0.0);
    let effort = format!("{seeds} seeds");
    Ok(Some(Found { what, effort, seeds: Some(seeds), seconds, replay: Replay::None }))
}

fn model(tree: &Path) -> Result<Option<Found>> {
    let built = build(tree, &["sim", "model"])?;
    let ways = tree.join("../ways");
    if ways.exists() {
        fs::remove_dir_all(&ways).with_context(|| ways.display().to_string())?;
    }
    let started = Instant::now();
    let mut command = Command::new(built.join("model"));
    command.current_dir(tree).args(["--stop-at-first", "--json", "--write"]).arg(&ways);
    let explored = json(&mut command)?;
    let models = explored["models"].as_array().context("models are a list")?;
    let fallen = models.iter().find(|model| model["fell"].get(0).is_some());
    let Some(fallen) = fallen else { return Ok(None) };
    let property = fallen["fell"][0].as_str().unwrap_or("?");
    let way = &fallen["ways"][0];
    let replay = match way["file"].as_str() {
        Some(file) => Replay::As(replay(&built.join("sim"), &ways.join(file))?),
        None => Replay::Impossible(way["no_file"].as_str().context("a reason")?.to_string()),
    };
    let (name, states) = (&fallen["model"], &fallen["states"]);
    Ok(Some(Found {
        what: format!("{} in {}", short(property), name.as_str().unwrap_or("?")),
        effort: format!("{states} states, {} steps", way["steps"]),
        seeds: None,
        seconds: started.elapsed().as_secs_f64(),
        replay,
    }))
}

/// The properties of a promise that has more to say: "P3, P4: quorum reads see …".
fn short(property: &str) -> &str {
    property.split_once(':').map_or(property, |(short, _)| short)
}

/// What the simulation says to a way that the model wrote.
fn replay(sim: &Path, way: &Path) -> Result<String> {
    let told = json(Command::new(sim).args(["replay", "--json"]).arg(way))?;
    let property = told["violation"]["property"].as_str();
    Ok(property.unwrap_or("nothing falls").to_string())
}

fn loom(tree: &Path) -> Result<Option<Found>> {
    let package = ["-p", "kv", "--no-default-features", "--lib", "loom_"];
    test(tree, LOOM, "target-loom", &package)
}

fn trace(tree: &Path) -> Result<Option<Found>> {
    test(tree, MADSIM, "target", &["-p", "model", "--test", "trace", "each_step"])
}

/// Runs tests until one fails.
fn test(tree: &Path, flags: &str, folder: &str, args: &[&str]) -> Result<Option<Found>> {
    let command = || {
        let (mut command, _) = cargo(tree, "test", flags, folder);
        command.args(args);
        command
    };
    succeeds(command().arg("--no-run").output().context("cargo cannot be run")?)?;
    let started = Instant::now();
    // Each name is printed before its test runs, so that one which ends the process is known, too.
    let listed = ["--", "--test-threads=1", "--format=pretty", "--nocapture"];
    let done = command().args(listed).output().context("cargo cannot be run")?;
    if done.status.success() {
        return Ok(None);
    }
    let (name, before) = failed(&String::from_utf8_lossy(&done.stdout))
        .with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())?;
    let effort = format!("{before} tests before it passed");
    let seconds = started.elapsed().as_secs_f64();
    Ok(Some(Found { what: name, effort, seeds: None, seconds, replay: Replay::None }))
}

/// The first test that failed, or that ended the process; and how many passed before it.
fn failed(said: &str) -> Option<(String, usize)> {
    let mut begun: Vec<&str> = Vec::new();
    for line in said.lines() {
        let name = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        begun.extend(name.map(|(name, _)| name));
        // What a test prints comes between its name and its result.
        if line == "FAILED" || line.ends_with(" ... FAILED") {
            break;
        }
    }
    let name = begun.last()?.rsplit("::").next()?;
    Some((name.to_string(), begun.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_test_that_failed_is_told() {
        let said = "running 3 tests\ntest a::one ... queue: 3\nok\ntest a::two ... FAILED\n\
                    test a::three ... FAILED\n\nfailures:\n\ntest result: FAILED. 1 passed\n";
        assert_eq!(failed(said), Some(("two".into(), 1)));
        let said = "test a::one ... \nFAILED\ntest a::two ... ";
        assert_eq!(failed(said), Some(("one".into(), 0)));
        assert_eq!(failed("test a::one ... ok\ntest a::two ... "), Some(("two".into(), 1)));
        assert_eq!(failed(""), None);
    }
}
