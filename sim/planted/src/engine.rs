//! The engines that look for a planted bug, each as the command that a reader would type.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// A bug that takes the simulation more seeds than this was not found. Some need a node that starts again, or
/// a change of the ring, at just the wrong time.
pub const MOST_SEEDS: u64 = 4_000;

/// Is told what is being done.
pub type Doing<'a> = &'a dyn Fn(&str);

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
    /// The tests of one machine by hand that the patch names: for what no engine with clients shows.
    Unit,
}

/// What an engine found.
pub struct Found {
    /// What failed: properties that are violated, or a test.
    pub failed: String,
    /// The model in which it is violated.
    pub model: Option<String>,
    /// How much it took, in the engine's own measure.
    pub effort: String,
    /// The seeds that it took, where there are seeds.
    pub seeds: Option<u64>,
    /// Seconds of time, without the build.
    pub seconds: f64,
    /// What came of the path of a model in the simulation.
    pub replay: Replay,
}

/// What came of the path of a model in the simulation.
pub enum Replay {
    /// The engine is no model.
    None,
    /// This failed, or nothing did.
    As(String),
    /// There is no such scenario: why.
    Impossible(String),
}

impl Engine {
    /// All of them.
    pub const EVERY: [Self; 5] =
        [Self::Simulation, Self::Model, Self::Loom, Self::Trace, Self::Unit];

    /// As patches name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simulation => "simulation",
            Self::Model => "model",
            Self::Loom => "loom",
            Self::Trace => "trace",
            Self::Unit => "unit",
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

    /// Looks for what is wrong with a tree, of which these properties and tests may fail, in these models where any
    /// are named. None: it found nothing.
    pub fn search(
        self,
        tree: &Path,
        may_fail: &[String],
        models: &[String],
        doing: Doing<'_>,
    ) -> Result<Option<Found>> {
        match self {
            Self::Simulation => simulation(tree, doing),
            Self::Model => model(tree, models, doing),
            Self::Loom => loom(tree, doing),
            Self::Trace => trace(tree, doing),
            Self::Unit => unit(tree, may_fail, doing),
        }
    }
}

const MADSIM: &str = "build.rustflags=['--cfg','madsim','--cap-lints','allow']";
const UNITS: &str = "profile.release.package.kv.codegen-units=64";
const LOOM: &str = "build.rustflags=['--cfg','loom','--cap-lints','allow']";

impl Found {
    /// For people: what failed, and where.
    pub fn what(&self) -> String {
        match &self.model {
            Some(model) => format!("{} in {model}", self.failed),
            None => self.failed.clone(),
        }
    }

    /// Whether what failed is something that may. Anything else is not the bug's doing, or was not understood.
    pub fn is_among(&self, may_fail: &[String]) -> bool {
        self.properties().any(|of| may_fail.iter().any(|may| may == of))
    }

    /// A promise of a model may be that of several properties.
    fn properties(&self) -> impl Iterator<Item = &str> {
        self.failed.split(", ")
    }

    /// Whether the path that a model wrote, if any, breaks a property in the simulation too: the one that the model
    /// saw, or another one that the bug may break, for the simulation tells of the first that it sees. Where the model
    /// wrote none, the patch has to say so.
    pub fn replays(&self, may_fail: &[String], is_known_not_to: bool) -> bool {
        match &self.replay {
            Replay::None => true,
            Replay::As(property) => {
                self.properties().any(|of| of == property) || may_fail.contains(property)
            }
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
    // A patch changes a few lines: only what they touch is built anew, which takes many small units.
    command.env("CARGO_INCREMENTAL", "1");
    command.args([what, "--release", "--config", flags, "--config", UNITS, "--target-dir"]);
    command.arg(&target);
    (command, target.join("release"))
}

/// Builds programs of the simulation and of the models; where they are. Both packages are named each time:
/// apart, each would build the core with features of its own.
fn build(tree: &Path, programs: &[&str], doing: Doing<'_>) -> Result<PathBuf> {
    doing("compiling");
    let (mut command, built) = cargo(tree, "build", MADSIM, "target");
    command.args(["-p", "sim", "-p", "model"]);
    for program in programs {
        command.args(["--bin", program]);
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

fn simulation(tree: &Path, doing: Doing<'_>) -> Result<Option<Found>> {
    let sim = build(tree, &["sim"], doing)?.join("sim");
    doing("running");
    let most = MOST_SEEDS.to_string();
    let swept = json(Command::new(sim).args(["--stop-at-first", "--json", "--seeds", &most]))?;
    let Some(first) = swept["failed"].get(0) else { return Ok(None) };
    let seeds = first["seed"].as_u64().context("a seed is a number")? + 1;
    // The first that was looked at comes first; a bug may break several.
    let also = first["also"].as_array().into_iter().flatten();
    let all = [&first["property"]].into_iter().chain(also).filter_map(Value::as_str);
    let failed = all.collect::<Vec<_>>().join(", ");
    let seconds = swept["wall_seconds"].as_f64().unwrap_or(0.0);
    let effort = format!("{seeds} seeds");
    let found =
        Found { failed, model: None, effort, seeds: Some(seeds), seconds, replay: Replay::None };
    Ok(Some(found))
}

fn model(tree: &Path, names: &[String], doing: Doing<'_>) -> Result<Option<Found>> {
    let built = build(tree, &["sim", "model"], doing)?;
    doing("running");
    let paths = tree.join("../paths");
    if paths.exists() {
        fs::remove_dir_all(&paths).with_context(|| paths.display().to_string())?;
    }
    let started = Instant::now();
    let mut command = Command::new(built.join("model"));
    command.current_dir(tree).args(["--stop-at-first", "--json", "--write"]);
    command.arg(&paths).args(names);
    let explored = json(&mut command)?;
    let models = explored["models"].as_array().context("models are a list")?;
    let failing = models.iter().find(|model| model["violated"].get(0).is_some());
    let Some(failing) = failing else { return Ok(None) };
    let property = failing["violated"][0].as_str().unwrap_or("?");
    let path = &failing["paths"][0];
    let replay = match path["file"].as_str() {
        Some(file) => Replay::As(replay(&built.join("sim"), &paths.join(file))?),
        None => Replay::Impossible(path["no_file"].as_str().context("a reason")?.to_string()),
    };
    let (name, states) = (&failing["model"], &failing["states"]);
    Ok(Some(Found {
        failed: short(property).to_string(),
        model: name.as_str().map(str::to_string),
        effort: format!("{states} states, {} steps", path["steps"]),
        seeds: None,
        seconds: started.elapsed().as_secs_f64(),
        replay,
    }))
}

/// The properties of a promise that has more to say: "P3, P4: quorum reads see …".
fn short(property: &str) -> &str {
    property.split_once(':').map_or(property, |(short, _)| short)
}

/// What the simulation says to a path that the model wrote.
fn replay(sim: &Path, path: &Path) -> Result<String> {
    let told = json(Command::new(sim).args(["replay", "--json"]).arg(path))?;
    let property = told["violation"]["property"].as_str();
    Ok(property.unwrap_or("nothing violated").to_string())
}

fn loom(tree: &Path, doing: Doing<'_>) -> Result<Option<Found>> {
    let package = ["-p", "kv", "--no-default-features", "--lib"];
    Ok(test(tree, LOOM, "target-loom", &package, &["loom_"], doing)?.found)
}

fn trace(tree: &Path, doing: Doing<'_>) -> Result<Option<Found>> {
    let package = ["-p", "model", "--test", "trace"];
    Ok(test(tree, MADSIM, "target", &package, &["each_step"], doing)?.found)
}

fn unit(tree: &Path, may_fail: &[String], doing: Doing<'_>) -> Result<Option<Found>> {
    let package = ["-p", "kv", "--no-default-features", "--lib"];
    let names: Vec<&str> = named_tests(may_fail).collect();
    ensure!(!names.is_empty(), "the patch names no test");
    let tested = test(tree, MADSIM, "target", &package, &names, doing)?;
    for name in names {
        // A test that is gone finds nothing, and would be missed by nobody.
        let is_there = tested.begun.iter().any(|begun| begun == name) || tested.found.is_some();
        ensure!(is_there, "there is no test {name}");
    }
    Ok(tested.found)
}

/// What may fail and is a test, not a property: tests are sentences.
fn named_tests(may_fail: &[String]) -> impl Iterator<Item = &str> {
    may_fail.iter().map(String::as_str).filter(|name| name.contains('_'))
}

/// What came of tests.
struct Tested {
    /// Those that began, by their last names.
    begun: Vec<String>,
    /// The first that failed.
    found: Option<Found>,
}

/// Runs the tests whose names have one of these parts, until one fails.
fn test(
    tree: &Path,
    flags: &str,
    folder: &str,
    args: &[&str],
    names: &[&str],
    doing: Doing<'_>,
) -> Result<Tested> {
    doing("compiling");
    let command = || {
        let (mut command, _) = cargo(tree, "test", flags, folder);
        command.args(args);
        command
    };
    succeeds(command().arg("--no-run").output().context("cargo cannot be run")?)?;
    doing("running");
    let started = Instant::now();
    // Each name is printed before its test runs, so that one which ends the process is known, too.
    let listed = ["--", "--test-threads=1", "--format=pretty", "--nocapture"];
    let done = command().args(listed).args(names).output().context("cargo cannot be run")?;
    let begun = begun(&String::from_utf8_lossy(&done.stdout));
    if done.status.success() {
        return Ok(Tested { begun, found: None });
    }
    let Some(failed) = begun.last().cloned() else {
        bail!(String::from_utf8_lossy(&done.stderr).into_owned());
    };
    let effort = format!("{} tests before it passed", begun.len() - 1);
    let seconds = started.elapsed().as_secs_f64();
    let found = Found { failed, model: None, effort, seeds: None, seconds, replay: Replay::None };
    Ok(Tested { begun, found: Some(found) })
}

/// The tests that began, until the first that failed, or that ended the process.
fn begun(said: &str) -> Vec<String> {
    let mut begun: Vec<&str> = Vec::new();
    for line in said.lines() {
        let name = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        begun.extend(name.map(|(name, _)| name));
        // What a test prints comes between its name and its result.
        if line == "FAILED" || line.ends_with(" ... FAILED") {
            break;
        }
    }
    begun.iter().filter_map(|name| name.rsplit("::").next()).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_test_that_failed_is_told() {
        let said = "running 3 tests\ntest a::one ... queue: 3\nok\ntest a::two ... FAILED\n\
                    test a::three ... FAILED\n\nfailures:\n\ntest result: FAILED. 1 passed\n";
        assert_eq!(begun(said), ["one", "two"]);
        assert_eq!(begun("test a::one ... \nFAILED\ntest a::two ... "), ["one"]);
        assert_eq!(begun("test a::one ... ok\ntest a::two ... "), ["one", "two"]);
        assert!(begun("").is_empty());
    }

    #[test]
    fn only_what_may_fail_is_found() {
        let failed = "P3, P4".to_string();
        let (model, effort) = (Some("quorum".to_string()), String::new());
        let replay = Replay::As("P4".into());
        let found = Found { failed, model, effort, seeds: None, seconds: 0.0, replay };
        assert_eq!(found.what(), "P3, P4 in quorum");
        let may_fail = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(found.is_among(&may_fail(&["P0", "P4"])));
        assert!(!found.is_among(&may_fail(&["P0", "P", "quorum", "a_test"])));
        assert!(found.replays(&[], false));
        let replayed = Found { replay: Replay::As("P1".into()), ..found };
        assert!(replayed.replays(&may_fail(&["P1", "P4"]), false));
        assert!(!replayed.replays(&may_fail(&["P4"]), false));
    }
}
