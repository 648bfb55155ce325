//! `cargo verify` itself, with a stand-in for cargo.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

/// Runs verify with a shell script as cargo: exit code, output, news.
fn verify(script: &str, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let cargo = folder.path().join("cargo");
    // Written by another process: a script that this one has open for writing while another thread
    // forks could not be run.
    let made = Command::new("sh")
        .args(["-c", "printf '%s' \"$1\" > \"$0\""])
        .arg(&cargo)
        .arg(format!("#!/bin/sh\n{script}\n"))
        .status();
    assert!(made.unwrap().success());
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_verify"))
        .args(args)
        .env("CARGO", &cargo)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or("")
}

fn steps() -> usize {
    let (code, list, _) = verify("exit 1", &["--list"], &[]);
    assert_eq!(code, Some(0));
    list.lines().count()
}

#[test]
fn a_step_that_fails_is_named_and_does_not_stop_the_others() {
    let all = steps();
    let script = r#"case "$*" in *corpora*) printf 'why \377\n' >&2; exit 101;; esac"#;
    let (code, out, news) = verify(script, &[], &[]);
    assert_eq!(code, Some(1));
    assert_eq!(last_line(&out), format!("{} passed, 1 failed", all - 1));
    assert!(news.contains("why \u{fffd}"), "what it printed is shown: {news}");
    let how = "corpora failed; to run just that: cargo test --quiet -p tests --test corpora";
    assert!(out.lines().any(|line| line == how), "{out}");
}

#[test]
fn all_steps_pass_without_variables_that_override_their_flags_and_without_input() {
    let all = steps();
    let script = "[ -z \"${RUSTFLAGS+set}\" ] && ! read -r line && [ -f Cargo.lock ]";
    let (code, out, news) = verify(script, &[], &[("RUSTFLAGS", "--cfg nothing")]);
    assert_eq!((code, last_line(&out)), (Some(0), &*format!("{all} passed, 0 failed")), "{news}");
    assert!(news.contains("RUSTFLAGS is set; the steps run without it"), "{news}");
}

#[test]
fn one_step_can_be_run_alone() {
    let (code, out, _) = verify("[ \"$1\" = fmt ]", &["--only", "format"], &[]);
    assert_eq!((code, last_line(&out)), (Some(0), "1 passed, 0 failed"));
    let (code, _, why) = verify("exit 0", &["--only", "nothing"], &[]);
    assert_eq!(code, Some(2));
    assert!(why.contains("there is no step \"nothing\""), "{why}");
}

#[test]
fn the_result_can_be_json() {
    let (code, out, news) = verify("exit 3", &["--only", "format", "--json"], &[]);
    assert_eq!((code, last_line(&news)), (Some(1), "0 passed, 1 failed"));
    let result: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(result["failed"], 1);
    let step = &result["steps"][0];
    assert_eq!((&step["step"], &step["passed"]), (&"format".into(), &false.into()));
    assert_eq!(step["command"], "cargo fmt --all --check");
}

#[test]
fn what_a_step_that_passes_skipped_is_told_and_is_no_failure() {
    let script = r#"case "$*" in *"tests --tests") printf '..SKIPPED: no network\n.\n' >&2;; esac"#;
    let (code, out, _) = verify(script, &[], &[]);
    assert_eq!(code, Some(0));
    assert_eq!(last_line(&out), format!("{} passed, 0 failed, 1 skipped", steps()));
    assert!(out.lines().any(|line| line == "processes: SKIPPED: no network"), "{out}");
    let (code, out, news) = verify(script, &["--only", "processes", "--json"], &[]);
    assert_eq!((code, last_line(&news)), (Some(0), "1 passed, 0 failed, 1 skipped"));
    let result: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(result["skipped"], 1);
    assert_eq!(result["steps"][0]["skipped"][0], "SKIPPED: no network");
}
