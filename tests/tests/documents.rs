//! Every command that the documents show is run, as it stands or in a small size.
//!
//! `cargo test -p tests --test documents -- --nocapture` prints what was run, and what was changed and why. What
//! needs programs that are not here says SKIPPED.

#![allow(clippy::print_stdout, reason = "the runner of the tests takes it")]

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tests::{
    cluster::{local, ports_in_a_row},
    documents::commands,
    process::{PATIENCE, Process, binary},
};

/// A command of the documents, and what is run here in its place. In braces: addresses, ports and folders.
struct Entry {
    documented: &'static str,
    runs: &'static [&'static str],
    how: How,
    /// What is different here, and why.
    changed: &'static str,
}

/// What comes of a command.
#[derive(Clone, Copy)]
enum How {
    /// It ends so.
    Ends(i32),
    /// It is a node, which serves until it is killed or the scene ends.
    Serves,
    /// It goes on, and prints this; then it is asked to end.
    Prints(&'static str),
    /// It goes on beside the rest of the scene, and prints this.
    Stays(&'static str),
    /// Not run, for that reason.
    Not,
}

const fn entry(
    documented: &'static str,
    runs: &'static [&'static str],
    how: How,
    changed: &'static str,
) -> Entry {
    Entry { documented, runs, how, changed }
}

const PORTS: &str = "other ports";
const FEWER: &str = "fewer seeds";

/// `Run it`.
const DEVELOPMENT: &[Entry] = &[
    entry(
        "cargo build --release",
        &["cargo build -p kv --bin orrery"],
        How::Ends(0),
        "the build that the tests need anyway: a release build takes minutes",
    ),
    entry(
        "target/release/orrery dev --nodes 3",
        &["orrery dev --nodes 3 --port {port}"],
        How::Stays("Ctrl-C ends all"),
        PORTS,
    ),
    entry(
        "target/release/orrery put greeting hello",
        &["orrery put greeting hello --connect {n1}"],
        How::Ends(0),
        PORTS,
    ),
    entry(
        "target/release/orrery get greeting --connect 127.0.0.1:7002 --level all",
        &["orrery get greeting --connect {n2} --level all"],
        How::Ends(0),
        PORTS,
    ),
    entry("target/release/orrery status", &["orrery status --connect {n1}"], How::Ends(0), PORTS),
    entry("orrery status", &["orrery status --connect {n3}"], How::Ends(0), PORTS),
    entry(
        "redis-cli -p 7001",
        &["redis-cli -p {port} PING"],
        How::Ends(0),
        "another port, and a command, for it would wait for one",
    ),
];

/// Members that come and go. In the order in which they can.
const MEMBERS: &[Entry] = &[
    entry(
        "orrery serve --client 10.0.0.1:7001 --peer 10.0.0.1:17001 --initial-cluster \
         10.0.0.1:17001,10.0.0.2:17001,10.0.0.3:17001 --replication 3",
        &[
            "orrery serve --client {n1} --peer {p1} --initial-cluster {p1},{p2},{p3} --replication 3",
            "orrery serve --client {n2} --peer {p2} --initial-cluster {p1},{p2},{p3} --replication 3",
            "orrery serve --client {n3} --peer {p3} --initial-cluster {p1},{p2},{p3} --replication 3",
        ],
        How::Serves,
        "addresses of this machine",
    ),
    entry(
        "orrery serve --join 10.0.0.1:17001,10.0.0.2:17001 --client 10.0.0.4:7001 --peer 10.0.0.4:17001",
        &[
            "orrery serve --join {p1},{p2} --client {n4} --peer {p4}",
            "orrery serve --join {p1},{p2} --client {n5} --peer {p5}",
        ],
        How::Serves,
        "addresses of this machine",
    ),
    entry("orrery ring", &["orrery ring --connect {n1}"], How::Ends(0), PORTS),
    entry("orrery ring --wait", &["orrery ring --wait --connect {n4}"], How::Ends(0), PORTS),
    entry(
        "orrery ring --wait --connect ADDRESS",
        &["orrery ring --wait --connect {n5}"],
        How::Ends(0),
        "an address",
    ),
    entry(
        "orrery status --watch",
        &["orrery status --watch --connect {n1}"],
        How::Prints("state"),
        PORTS,
    ),
    entry(
        "orrery cancel",
        &["orrery cancel --connect {n1}"],
        How::Ends(1),
        "no change is under way here: it says so, and ends with 1",
    ),
    entry("orrery evict n2", &["kill n2", "orrery evict n2 --connect {n1}"], How::Ends(0), PORTS),
    entry("orrery leave n3", &["orrery leave n3 --connect {n1}"], How::Ends(0), PORTS),
    entry(
        "orrery evict n2 --accept-loss",
        &["kill n5", "kill n4", "orrery evict n4 n5 --accept-loss --connect {n1}"],
        How::Ends(0),
        "other members: n2 is gone here",
    ),
];

const ALONE: &[Entry] = &[
    entry(
        "orrery ring plan --nodes 1..100 --replication 3 --svg plan.svg",
        &["orrery ring plan --nodes 1..20 --replication 3 --svg {dir}/plan.svg"],
        How::Ends(0),
        "20 nodes, and a folder of its own",
    ),
    entry(
        "cargo verify",
        &["verify --list"],
        How::Ends(0),
        "its list: these tests are one of its steps, and the others would take an hour",
    ),
    entry(
        "cargo verify --only simulation",
        &["verify --only format"],
        How::Ends(0),
        "the shortest step: that one is run by cargo verify itself",
    ),
    entry(
        "cargo verify --only model",
        &["verify --only format"],
        How::Ends(0),
        "the shortest step: that one is run by cargo verify itself",
    ),
    entry(
        "cargo fuzz run resp",
        &[],
        How::Not,
        "it needs nightly Rust and cargo-fuzz, and has no end; the tests of the corpora run its body",
    ),
];

/// `Data on disk`.
const DATA: &[Entry] = &[
    entry(
        "orrery serve --data /var/lib/orrery --durability always",
        &["orrery serve --client {n1} --peer {p1} --data {dir}/orrery --durability always"],
        How::Serves,
        "a folder of its own, and other ports",
    ),
    entry(
        "orrery check /var/lib/orrery",
        &["orrery check {dir}/orrery"],
        How::Ends(0),
        "a folder of its own",
    ),
    entry(
        "orrery check /var/lib/orrery --json",
        &["orrery check {dir}/orrery --json"],
        How::Ends(0),
        "a folder of its own",
    ),
    entry(
        "orrery backup /backups/monday",
        &["orrery backup {dir}/monday --connect {n1}"],
        How::Ends(0),
        "another port, and a folder of its own",
    ),
    entry(
        "orrery restore /backups/monday",
        &["orrery restore {dir}/monday --connect {n1}"],
        How::Ends(0),
        "another port, and a folder of its own",
    ),
];

const HARNESS: &[Entry] = &[
    entry(
        "cargo test -p harness",
        &["cargo test -p harness -- --list"],
        How::Ends(0),
        "its list: its tests are in a step of cargo verify",
    ),
    entry(
        "cargo doc -p harness",
        &["cargo doc -p harness --no-deps"],
        How::Ends(0),
        "without the pages of its dependencies",
    ),
    entry(
        "cargo run -p harness --example register",
        &["cargo run -p harness --example register"],
        How::Ends(0),
        "",
    ),
];

const SIMULATIONS: &[Entry] = &[
    entry("cargo sim", &["cargo sim --seeds 20"], How::Ends(0), FEWER),
    entry(
        "cargo sim --seeds 5000 --nodes 5 --replication 3",
        &["cargo sim --seeds 20 --nodes 5 --replication 3"],
        How::Ends(0),
        FEWER,
    ),
    entry(
        "cargo sim --seeds 20 --nodes 100 --replication 5",
        &["cargo sim --seeds 1 --nodes 100 --replication 5 --ops 100"],
        How::Ends(0),
        FEWER,
    ),
    entry(
        "cargo sim --seeds 2000 --level linearizable",
        &["cargo sim --seeds 20 --level linearizable"],
        How::Ends(0),
        FEWER,
    ),
    entry(
        "cargo sim replay --seed 7 --log a.log --save seven.ron",
        &["cargo sim replay --seed 7 --log {dir}/a.log --save {dir}/seven.ron"],
        How::Ends(0),
        "a folder of its own",
    ),
    entry(
        "cargo sim replay seven.ron",
        &["cargo sim replay {dir}/seven.ron"],
        How::Ends(0),
        "a folder of its own",
    ),
    entry(
        "cargo sim bugs",
        &["cargo sim bugs --help"],
        How::Ends(0),
        "its help: it builds the store anew for each bug, which takes an hour",
    ),
    entry("cargo sim bench", &["cargo sim bench"], How::Ends(0), ""),
    entry(
        "cargo sim cost",
        &["cargo sim cost --help"],
        How::Ends(0),
        "its help: clusters of up to 100 nodes take minutes",
    ),
    entry("cargo model", &["cargo model session"], How::Ends(0), "the smallest of the models"),
    entry(
        "cargo model quorum --write paths",
        &["cargo model session --write {dir}/paths"],
        How::Ends(0),
        "a smaller model, and a folder of its own",
    ),
    entry(
        "cargo model explore quorum",
        &["cargo model explore quorum --address {free}"],
        How::Prints("serving quorum at"),
        "another port",
    ),
    entry(
        "cargo loom",
        &["cargo loom --list"],
        How::Ends(0),
        "its list: exploring all interleavings takes minutes, and is a step of cargo verify",
    ),
];

const DEBUG: &str = "a small size, and the build that the tests need anyway";

const TRIALS: &[Entry] = &[
    entry(
        "cargo run --release -p tests --bin kills",
        &["cargo run -p tests --bin kills -- --rounds 2"],
        How::Ends(0),
        DEBUG,
    ),
    entry(
        "cargo run --release -p tests --bin rolling -- --data --nodes 5",
        &["cargo run -p tests --bin rolling -- --data --nodes 5 --rounds 2 --records 1000"],
        How::Ends(0),
        DEBUG,
    ),
    entry(
        "cargo run --release -p kv --example redis_pairs",
        &["cargo run -p kv --example redis_pairs -- --quick"],
        How::Ends(0),
        DEBUG,
    ),
    entry(
        "cargo run --release -p kv --example live_change",
        &[
            "cargo run -p kv --example live_change -- --keys 2000 --operations 2000 --runs 1 --port {port}",
        ],
        How::Ends(0),
        DEBUG,
    ),
    entry(
        "cargo run --release -p kv --example log_storm",
        &["cargo run -p kv --example log_storm -- --seconds 1"],
        How::Ends(0),
        DEBUG,
    ),
    entry(
        "cargo run --release -p kv --example big_slot",
        &["cargo run -p kv --example big_slot -- --keys 2000 --lacking 2000 --binary {orrery}"],
        How::Ends(0),
        DEBUG,
    ),
    entry(
        "cargo run --release -p kv --example ring_speed",
        &["cargo run -p kv --example ring_speed -- --rounds 1"],
        How::Ends(0),
        DEBUG,
    ),
];

/// Between two looks at what a command printed.
const PAUSE: Duration = Duration::from_millis(20);

/// Trials that need programs of Redis.
const NEED_REDIS: [&str; 2] = ["redis_pairs", "live_change"];

#[test]
fn each_command_of_the_documents_has_an_entry_here_and_each_entry_is_in_the_documents() {
    let entries: BTreeSet<String> = all().map(|entry| entry.documented.to_string()).collect();
    let shown = commands();
    let missing: Vec<_> = shown.difference(&entries).collect();
    let too_many: Vec<_> = entries.difference(&shown).collect();
    assert!(missing.is_empty(), "the documents show commands that nobody runs: {missing:#?}");
    assert!(too_many.is_empty(), "no document shows these any more: {too_many:#?}");
    for entry in all() {
        let is_same = entry.runs == [entry.documented];
        assert!(
            is_same || !entry.changed.is_empty(),
            "{} is changed without a word",
            entry.documented
        );
    }
}

fn all() -> impl Iterator<Item = &'static Entry> {
    [DEVELOPMENT, MEMBERS, ALONE, DATA, HARNESS, SIMULATIONS, TRIALS].into_iter().flatten()
}

#[test]
fn what_is_said_of_a_cluster_for_development_works() {
    Scene::new(3).play(DEVELOPMENT);
}

#[test]
fn what_is_said_of_members_that_come_and_go_works() {
    Scene::new(5).play(MEMBERS);
}

#[test]
fn what_is_said_of_data_on_disk_works() {
    Scene::new(1).play(DATA);
}

#[test]
fn what_needs_no_cluster_works() {
    Scene::new(1).play(ALONE);
}

#[test]
fn what_is_said_of_the_harness_works() {
    Scene::new(1).play(HARNESS);
}

#[test]
fn what_is_said_of_the_simulation_the_models_and_loom_works() {
    Scene::new(1).play(SIMULATIONS);
}

#[test]
fn what_is_said_of_trials_works() {
    Scene::new(4).play(TRIALS);
}

/// Where commands are run: a folder, ports, and what goes on beside them.
struct Scene {
    folder: tempfile::TempDir,
    first_port: u16,
    nodes: Vec<Process>,
    beside: Vec<Running>,
}

/// A command that goes on. Asked to end with the scene.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
        // A shell that runs these tests in the background lets them ignore that signal, and their children too.
        let until = Instant::now() + PATIENCE;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(PAUSE);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    fn new(nodes: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let first_port = ports_in_a_row(nodes);
        Self { folder, first_port, nodes: Vec::new(), beside: Vec::new() }
    }

    fn play(mut self, entries: &[Entry]) {
        for Entry { documented, runs, how, changed } in entries {
            let changed = if changed.is_empty() { "" } else { &format!("  ({changed})") };
            if let How::Not = how {
                println!("not run: {documented}{changed}");
                continue;
            }
            if let Some(program) = missing_program(documented) {
                println!("SKIPPED: {documented}, for {program} is not installed");
                continue;
            }
            for text in *runs {
                let words = self.words(text);
                println!("{documented}\n    as {}{changed}", words.join(" "));
                self.run(&words, *how);
            }
            // Those that are started together wait for each other.
            for node in self.nodes.iter_mut().filter(|_| matches!(how, How::Serves)) {
                assert!(node.line("ready ").is_some(), "{documented}: it ended");
            }
        }
    }

    /// The words of a command, with this scene's ports and folders.
    fn words(&self, text: &str) -> Vec<String> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut text = text
            .replace("{dir}", self.folder.path().to_str().expect("a path that is text"))
            .replace("{orrery}", binary().to_str().expect("a path that is text"))
            .replace("{port}", &self.first_port.to_string())
            .replace("{free}", &free.to_string());
        for node in 0..9 {
            let port = self.first_port + node;
            text = text.replace(&format!("{{n{}}}", node + 1), &local(port).to_string());
            text = text.replace(&format!("{{p{}}}", node + 1), &local(port + 10_000).to_string());
        }
        text.split(' ').map(String::from).collect()
    }

    fn run(&mut self, words: &[String], how: How) {
        let shown = words.join(" ");
        if words[0] == "kill" {
            let number: usize = words[1].trim_start_matches('n').parse().expect("a number");
            return self.nodes[number - 1].kill();
        }
        match how {
            How::Ends(code) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let until = Instant::now() + PATIENCE;
                let (done, out, why) = loop {
                    let done = command(words).output().unwrap();
                    let (out, why) = (text(&done.stdout), text(&done.stderr));
                    // A node hears of the end of another one a moment later: one is to ask again, it says.
                    if !why.contains("seems alive") || Instant::now() > until {
                        break (done, out, why);
                    }
                    thread::sleep(PAUSE);
                };
                assert_eq!(done.status.code(), Some(code), "{shown}\n{out}\n{why}");
                assert!(!(out.is_empty() && why.is_empty()), "{shown} says nothing");
            }
            How::Serves => {
                self.nodes.push(Process::start(&shown, &words[1..]));
            }
            How::Prints(text) => drop(start(words, text)),
            How::Stays(text) => self.beside.push(start(words, text)),
            How::Not => unreachable!("it is not run"),
        }
    }
}

/// The program that a command needs and that is not here.
fn missing_program(documented: &str) -> Option<&'static str> {
    let needs_redis = NEED_REDIS.iter().any(|trial| documented.ends_with(trial));
    let needed: &[&str] = match needs_redis {
        true => &["redis-server", "redis-benchmark"],
        false if documented.starts_with("redis-cli") => &["redis-cli"],
        false => &[],
    };
    let is_missing = |program: &&&str| Command::new(program).arg("--version").output().is_err();
    needed.iter().find(is_missing).copied()
}

/// A command that can be run from here.
fn command(words: &[String]) -> Command {
    let mut command = match words[0].as_str() {
        "orrery" => Command::new(binary()),
        "verify" => Command::new(env!("CARGO_BIN_EXE_verify")),
        "cargo" => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
        other => Command::new(other),
    };
    command.args(&words[1..]).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    // They would override the flags of the aliases.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.env("ORRERY_BIN", binary()).stdin(Stdio::null());
    command
}

/// Starts a command, and waits until it prints a text.
fn start(words: &[String], text: &'static str) -> Running {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = command(words);
    let child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    // It holds the pipe's other end.
    drop(command);
    let mut running = Running(child);
    let is_printed = Arc::new(AtomicBool::new(false));
    let found = is_printed.clone();
    thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if line.contains(text) {
                found.store(true, Ordering::Release);
            }
        }
    });
    // However long it takes: a build may come first.
    while !is_printed.load(Ordering::Acquire) {
        let ended = running.0.try_wait().unwrap();
        assert!(ended.is_none(), "{} ended without {text:?}", words.join(" "));
        thread::sleep(PAUSE);
    }
    running
}
