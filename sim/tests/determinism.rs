//! A seed gives one event log, byte for byte: twice on one thread, on a fresh thread, in a fresh
//! process, alone and in the middle of a sweep.

use std::{fs, process::Command, thread};

use sim::{
    run::run,
    swarm::{self, Fixed},
};

const SEEDS: u64 = 50;

fn log(seed: u64) -> String {
    run(&swarm::scenario(seed, &Fixed::default()), true).text.unwrap()
}

#[test]
fn fifty_seeds_give_the_same_log_in_one_process_and_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let swept = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["--seeds", &SEEDS.to_string(), "--jobs", "3", "--logs"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(swept.status.success(), "{}", String::from_utf8_lossy(&swept.stdout));
    for seed in 0..SEEDS {
        let first = log(seed);
        assert!(first.lines().count() > 20, "the log of seed {seed} is nearly empty");
        assert!(first == log(seed), "seed {seed}, a second time on one thread");
        let fresh = thread::spawn(move || log(seed)).join().unwrap();
        assert!(first == fresh, "seed {seed}, on a fresh thread");
        let other = fs::read_to_string(folder.path().join(format!("seed-{seed}.log"))).unwrap();
        assert!(first == other, "seed {seed}, within a sweep of another process");
    }
}

#[test]
fn logs_differ_where_seeds_differ_and_hashes_tell() {
    let verdict = |seed| run(&swarm::scenario(seed, &Fixed::default()), true);
    let (one, other) = (verdict(1), verdict(2));
    assert_ne!(one.text, other.text);
    assert_ne!(one.hash, other.hash);
    // The hash is of the same events, whether the text is kept or not.
    let silent = run(&swarm::scenario(1, &Fixed::default()), false);
    assert_eq!(silent.hash, one.hash);
    assert_eq!(silent.events, one.events);
}

#[test]
fn a_replay_writes_the_log_that_a_sweep_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let replayed = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["replay", "--seed", "7", "--log"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stdout));
    assert_eq!(fs::read_to_string(&path).unwrap(), log(7));
}
