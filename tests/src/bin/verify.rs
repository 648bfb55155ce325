//! `cargo verify`: all checks in order, and a summary.

use std::{
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::json;

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
struct Step {
    name: &'static str,
    env: Option<(&'static str, &'static str)>,
    args: Vec<&'static str>,
}

const MADSIM: [&str; 4] =
    ["--config", "build.rustflags=['--cfg','madsim']", "--target-dir", "target/sim"];

fn steps() -> Vec<Step> {
    let step = |name, env, args: &[&[&'static str]]| Step { name, env, args: args.concat() };
    let doc = Some(("RUSTDOCFLAGS", "-D warnings"));
    let doc_sim = Some(("RUSTDOCFLAGS", "-D warnings --cfg madsim"));
    let ours: &[&str] = &["-p", "kv", "-p", "model", "-p", "tests"];
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
                &["-p", "sim", "--all-targets", "--", "-Dwarnings"],
            ],
        ),
        step("doc", doc, &[&["doc", "--quiet", "--no-deps"], ours]),
        step("doc-sim", doc_sim, &[&["doc", "--quiet", "--no-deps"], &MADSIM, &["-p", "sim"]]),
        step("unit", None, &[&["test", "--quiet", "-p", "kv"]]),
        step("model", None, &[&["test", "--quiet", "-p", "model"]]),
        step("simulation", None, &[&["test", "--quiet", "--release"], &MADSIM, &["-p", "sim"]]),
        step("sweep", None, &[&["sim", "--seeds", "1000"]]),
        step("corpora", None, &[&["test", "--quiet", "-p", "tests", "--test", "corpora"]]),
        step("processes", None, &[&["test", "--quiet", "-p", "tests", "--tests"]]),
    ]
}

impl Step {
    fn command(&self) -> String {
        let env = self.env.map(|(name, value)| format!("{name}='{value}' ")).unwrap_or_default();
        let quoted = |arg: &&str| match arg.contains([' ', '\'', '[']) {
            true => format!("\"{arg}\""),
            false => arg.to_string(),
        };
        let args: Vec<String> = self.args.iter().map(quoted).collect();
        format!("{env}cargo {}", args.join(" "))
    }

    /// Runs the step: whether it succeeded. What it prints is shown when it failed.
    fn run(&self) -> (bool, Duration) {
        let started = Instant::now();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(&self.args).stdin(Stdio::null());
        // These would override the flags of the aliases.
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTDOCFLAGS"] {
            command.env_remove(name);
        }
        if let Some((name, value)) = self.env {
            command.env(name, value);
        }
        let passed = match command.output() {
            Ok(output) => {
                if !output.status.success() {
                    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
                    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
                }
                output.status.success()
            }
            Err(why) => {
                eprintln!("cargo cannot be run: {why}");
                false
            }
        };
        (passed, started.elapsed())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut steps = steps();
    if let Some(only) = &cli.only {
        steps.retain(|step| step.name == only);
        if steps.is_empty() {
            eprintln!("error: there is no step {only:?}; --list names them");
            return ExitCode::from(2);
        }
    }
    if cli.list {
        steps.iter().for_each(|step| println!("{:<12} {}", step.name, step.command()));
        return ExitCode::SUCCESS;
    }
    if std::env::var_os("RUSTFLAGS").is_some() {
        eprintln!(
            "RUSTFLAGS is set; it is left out, because it would override what the steps pass"
        );
    }
    let count = steps.len();
    let mut results = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        eprintln!("[{}/{count}] {:<12} {}", place + 1, step.name, step.command());
        let (passed, took) = step.run();
        let word = if passed { "ok" } else { "FAILED" };
        eprintln!(
            "[{}/{count}] {:<12} {word} after {:.1} s",
            place + 1,
            step.name,
            took.as_secs_f64()
        );
        results.push((step, passed, took));
    }
    summary(&results, cli.json)
}

fn summary(results: &[(&Step, bool, Duration)], as_json: bool) -> ExitCode {
    let failed = results.iter().filter(|(_, passed, _)| !passed).count();
    if as_json {
        let steps: Vec<_> = results
            .iter()
            .map(|(step, passed, took)| {
                json!({
                    "step": step.name, "passed": passed, "seconds": took.as_secs_f64(),
                    "command": step.command(),
                })
            })
            .collect();
        println!("{:#}", json!({ "steps": steps, "failed": failed }));
    } else {
        println!();
        for (step, passed, took) in results {
            let word = if *passed { "ok" } else { "FAILED" };
            println!("{:<12} {word:<6} {:>7.1} s", step.name, took.as_secs_f64());
        }
        for (step, _, _) in results.iter().filter(|(_, passed, _)| !passed) {
            println!("{} failed; to run just that: {}", step.name, step.command());
        }
        println!("{} passed, {failed} failed", results.len() - failed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
