//! `cargo verify`: all checks in order, and a summary.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::json;

/// Variables that would override the flags of the steps.
const OVERRIDES: [&str; 4] =
    ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTDOCFLAGS", "CARGO_ENCODED_RUSTDOCFLAGS"];

/// Runs all checks of the project in order, and says how to run just those that failed.
#[derive(Parser)]
#[command(name = "cargo verify", version)]
struct Cli {
    /// Just this step.
    #[arg(long)]
    only: Option<String>,
    /// Print the steps with their commands, and do nothing.
    #[arg(long)]
    list: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// A check: a command that succeeds or fails.
struct Check {
    name: &'static str,
    env: Option<(&'static str, &'static str)>,
    args: Vec<&'static str>,
}

/// How a step went.
struct Outcome {
    passed: bool,
    /// What it says that it did not look at, because it cannot on this machine.
    skipped: Vec<String>,
    took: Duration,
}

/// The word with which a test says that it did nothing.
const SKIPPED: &str = "SKIPPED";

const MADSIM: [&str; 4] =
    ["--config", "build.rustflags=['--cfg','madsim']", "--target-dir", "target/sim"];

const LOOM: [&str; 4] =
    ["--config", "build.rustflags=['--cfg','loom']", "--target-dir", "target/loom"];
const CORE: [&str; 3] = ["-p", "kv", "--no-default-features"];

fn steps() -> Vec<Check> {
    let step = |name, env, args: &[&[&'static str]]| Check { name, env, args: args.concat() };
    let doc = Some(("RUSTDOCFLAGS", "-D warnings"));
    let doc_sim = Some(("RUSTDOCFLAGS", "-D warnings --cfg madsim"));
    let ours: &[&str] = &["-p", "kv", "-p", "harness", "-p", "planted", "-p", "tests"];
    vec![
        step("format", None, &[&["fmt", "--all", "--check"]]),
        step(
            "clippy",
            None,
            &[&["clippy", "--quiet"], ours, &["--all-targets", "--", "-Dwarnings"]],
        ),
        step(
            "clippy-core",
            None,
            &[&["clippy", "--quiet", "-p", "kv", "--no-default-features"], &["--", "-Dwarnings"]],
        ),
        step(
            "clippy-sim",
            None,
            &[
                &["clippy", "--quiet", "--release"],
                &MADSIM,
                &["-p", "sim", "-p", "model", "--all-targets", "--", "-Dwarnings"],
            ],
        ),
        step(
            "clippy-loom",
            None,
            &[&["clippy", "--quiet", "--release"], &LOOM, &CORE, &["--tests", "--", "-Dwarnings"]],
        ),
        step("doc", doc, &[&["doc", "--quiet", "--no-deps"], ours]),
        step(
            "doc-sim",
            doc_sim,
            &[
                &["doc", "--quiet", "--release", "--no-deps"],
                &MADSIM,
                &["-p", "sim", "-p", "model"],
            ],
        ),
        step("unit", None, &[&["test", "--quiet", "-p", "kv", "-p", "harness", "-p", "planted"]]),
        step("loom", None, &[&["loom"]]),
        step("simulation", None, &[&["test", "--quiet", "--release"], &MADSIM, &["-p", "sim"]]),
        step("model", None, &[&["test", "--quiet", "--release"], &MADSIM, &["-p", "model"]]),
        step("sweep", None, &[&["sim", "--seeds", "1000"]]),
        step("corpora", None, &[&["test", "--quiet", "-p", "tests", "--test", "corpora"]]),
        step("processes", None, &[&["test", "--quiet", "-p", "tests", "--tests"]]),
    ]
}

impl Check {
    fn command(&self) -> String {
        let env = self.env.map(|(name, value)| format!("{name}='{value}' ")).unwrap_or_default();
        let quoted = |arg: &&str| match arg.contains([' ', '\'', '[']) {
            true => format!("\"{arg}\""),
            false => arg.to_string(),
        };
        let args: Vec<String> = self.args.iter().map(quoted).collect();
        format!("{env}cargo {}", args.join(" "))
    }

    /// Runs the step. What it prints is shown when it failed.
    fn run(&self) -> Outcome {
        let started = Instant::now();
        let (passed, skipped) = self.try_run().unwrap_or_else(|why| {
            say(&format!("cargo cannot be run: {why}"));
            (false, Vec::new())
        });
        Outcome { passed, skipped, took: started.elapsed() }
    }

    fn try_run(&self) -> io::Result<(bool, Vec<String>)> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // A file, not a pipe: a process that a test left behind could keep a pipe open.
        let mut printed = tempfile::tempfile()?;
        let share = |file: &File| file.try_clone().map(Stdio::from);
        let mut command = Command::new(cargo);
        // target/sim is a place in this folder.
        command.args(&self.args).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        command.stdin(Stdio::null()).stdout(share(&printed)?).stderr(share(&printed)?);
        for name in OVERRIDES {
            command.env_remove(name);
        }
        if let Some((name, value)) = self.env {
            command.env(name, value);
        }
        let passed = command.status()?.success();
        let mut bytes = Vec::new();
        printed.rewind()?;
        printed.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        if !passed {
            say(&text);
        }
        Ok((passed, skips(&text)))
    }
}

/// The lines that tell of something skipped. The runner's dots may stand before them.
fn skips(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.contains(SKIPPED));
    lines.map(|line| line.trim_start_matches('.').trim().to_string()).collect()
}

/// Prints a line of news. Whoever closed our output does not want to know.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints a line of the result.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut steps = steps();
    if let Some(only) = &cli.only {
        steps.retain(|step| step.name == only);
        if steps.is_empty() {
            say(&format!("error: there is no step {only:?}; --list names them"));
            return ExitCode::from(2);
        }
    }
    if cli.list {
        steps.iter().for_each(|step| print(&format!("{:<12} {}", step.name, step.command())));
        return ExitCode::SUCCESS;
    }
    for name in OVERRIDES.iter().filter(|name| std::env::var_os(name).is_some()) {
        say(&format!("{name} is set; the steps run without it, for it would override their flags"));
    }
    let (count, started) = (steps.len(), Instant::now());
    let mut results = Vec::new();
    for (place, step) in (1..).zip(&steps) {
        let at = format!("[{place}/{count}, {:.0} s]", started.elapsed().as_secs_f64());
        say(&format!("{at} {:<12} {}", step.name, step.command()));
        let outcome = step.run();
        let (word, seconds) = (word(outcome.passed), outcome.took.as_secs_f64());
        say(&format!("{at} {:<12} {word} after {seconds:.1} s", step.name));
        results.push((step, outcome));
    }
    summary(&results, started.elapsed(), cli.json)
}

fn word(passed: bool) -> &'static str {
    if passed { "PASS" } else { "FAIL" }
}

fn summary(results: &[(&Check, Outcome)], took: Duration, as_json: bool) -> ExitCode {
    let failed = results.iter().filter(|(_, outcome)| !outcome.passed).count();
    let skipped: usize = results.iter().map(|(_, outcome)| outcome.skipped.len()).sum();
    let mut counts = format!("{} passed, {failed} failed", results.len() - failed);
    if skipped > 0 {
        counts += &format!(", {skipped} skipped");
    }
    let seconds = took.as_secs_f64();
    if as_json {
        let steps: Vec<_> = results.iter().map(|(step, outcome)| told(step, outcome)).collect();
        let all = json!({
            "steps": steps, "failed": failed, "skipped": skipped, "seconds": seconds,
        });
        print(&format!("{all:#}"));
        say(&counts);
    } else {
        print("");
        for (step, Outcome { passed, took, .. }) in results {
            let (name, seconds) = (step.name, took.as_secs_f64());
            print(&format!("{} {name:<12} {seconds:>7.1} s  {}", word(*passed), step.command()));
        }
        for (step, outcome) in results {
            outcome.skipped.iter().for_each(|line| print(&format!("{}: {line}", step.name)));
        }
        for (step, _) in results.iter().filter(|(_, outcome)| !outcome.passed) {
            print(&format!("{} failed; to run just that: {}", step.name, step.command()));
        }
        print(&format!("{seconds:.1} s in all"));
        print(&counts);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// A step as JSON.
fn told(step: &Check, Outcome { passed, skipped, took }: &Outcome) -> serde_json::Value {
    json!({
        "step": step.name, "passed": passed, "skipped": skipped, "seconds": took.as_secs_f64(),
        "command": step.command(),
    })
}
