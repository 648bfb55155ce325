//! The command line: its help, its exit codes, and `dev`.

use std::{
    net::TcpStream,
    process::{Command, Stdio},
};

use redis::Commands as _;
use rustix::process::Signal;
use tests::{
    cluster::{Cluster, connect, local, ports_in_a_row},
    process::{Process, binary, eventually, orrery},
    rings::{ask, fill, serves},
};

#[test]
fn help_says_what_there_is() {
    let help: String = [
        &["--help"][..],
        &["serve", "--help"],
        &["dev", "--help"],
        &["get", "--help"],
        &["ring", "--help"],
        &["ring", "plan", "--help"],
        &["leave", "--help"],
        &["evict", "--help"],
        &["join", "--help"],
    ]
    .iter()
    .map(|args| {
        let (code, text, _) = orrery(args);
        assert_eq!(code, Some(0));
        format!("$ orrery {}\n{text}\n", args.join(" "))
    })
    .collect();
    insta::assert_snapshot!(help);
}

#[test]
fn a_plan_of_the_ring_says_how_even_the_slots_are_and_what_a_join_moves() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("plan.svg");
    let plot_name = plot.to_str().unwrap();
    let plan = ["ring", "plan", "--nodes", "3..5", "--replication", "3"];
    let (code, text, _) = orrery(&[&plan[..], &["--svg", plot_name]].concat());
    assert_eq!(code, Some(0));
    assert!(text.contains("R = 3") && text.contains("max/mean"), "{text}");
    let curves = std::fs::read_to_string(&plot).unwrap().matches("<polyline").count();
    assert_eq!(curves, 4);
    let (code, json, _) = orrery(&[&plan[..], &["--json"]].concat());
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!((code, rows.len()), (Some(0), 3));
    assert_eq!((&rows[0]["max"], &rows[0]["moved"]), (&16_384.into(), &serde_json::Value::Null));
    for row in &rows[1..] {
        assert!(row["max_over_mean"].as_f64().unwrap() <= 1.05, "{row}");
        assert!(row["moved_over_fair"].as_f64().unwrap() <= 1.10, "{row}");
        assert!(row["random_max_over_mean"]["16"].as_f64().unwrap() > 1.05, "{row}");
    }
    for bad in ["5..3", "0..3", "3..101", "3"] {
        let (code, _, why) = orrery(&["ring", "plan", "--nodes", bad]);
        assert_eq!(code, Some(2));
        assert!(why.contains("from 1 to 100"), "{why}");
    }
    assert_eq!(orrery(&["ring", "plan", "--replication", "0"]).0, Some(2));
    assert_eq!(
        orrery(&["ring", "plan", "--svg", "/nowhere/plan.svg", "--nodes", "1..2"]).0,
        Some(1)
    );
}

#[test]
fn the_command_line_says_with_its_exit_code_how_it_went() {
    let cluster = Cluster::start(1, &[]);
    let at = cluster.address(0).to_string();
    let run = |words: &[&str]| {
        let (code, out, _) = orrery(&[words, &["--connect", &at]].concat());
        (code, out.trim().to_string())
    };
    assert_eq!(run(&["put", "a", "b", "--level", "all"]), (Some(0), "OK".into()));
    assert_eq!(run(&["get", "a"]), (Some(0), "b".into()));
    let linearizable = ["put", "a", "b", "--level", "linearizable"];
    assert_eq!(run(&linearizable), (Some(0), "OK".into()));
    assert_eq!(run(&["get", "a", "--level", "session"]), (Some(0), "b".into()));
    assert_eq!(run(&["get", "a", "--json"]), (Some(0), r#"{"key":"a","value":"b"}"#.into()));
    assert_eq!(run(&["get", "none"]), (Some(1), String::new()));
    assert_eq!(run(&["del", "a"]), (Some(0), "deleted".into()));
    assert_eq!(run(&["del", "a"]), (Some(1), "absent".into()));
    assert_eq!(run(&["del", "a", "--json"]), (Some(1), r#"{"deleted":false,"key":"a"}"#.into()));
    assert_eq!(run(&["put", "", "", "--json"]), (Some(0), r#"{"key":"","written":true}"#.into()));
    assert_eq!(run(&["get", "", "--json"]), (Some(0), r#"{"key":"","value":""}"#.into()));
    assert_eq!(run(&["get", "none", "--json"]), (Some(1), r#"{"key":"none","value":null}"#.into()));
    let why = r#"{"error":"ERR the key has 51 characters, the limit is 50; nothing was done"}"#;
    assert_eq!(run(&["get", &"k".repeat(51), "--json"]), (Some(1), why.into()));
    let (code, status) = run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (code, &status["node"], &status["live_records"]),
        (Some(0), &"n1".into(), &1.into())
    );
    assert_eq!(orrery(&["get"]).0, Some(2));
    assert_eq!(orrery(&["get", "a", "--level", "two"]).0, Some(2));
    assert_eq!(orrery(&["serve", "--unknown"]).0, Some(2));
    let nobody = local(ports_in_a_row(1)).to_string();
    let (code, _, why) = orrery(&["get", "a", "--connect", &nobody]);
    assert_eq!(code, Some(1));
    assert!(why.contains("is a node there?"), "{why}");
}

#[test]
fn a_peer_address_that_is_no_member_is_refused() {
    let args = ["serve", "--peer", "127.0.0.1:1", "--initial-cluster", "127.0.0.1:2"];
    let (code, _, why) = orrery(&args);
    assert_eq!(code, Some(1));
    assert!(why.contains("--peer 127.0.0.1:1 is not one of --initial-cluster"), "{why}");
}

#[test]
fn a_peer_address_that_nobody_can_connect_to_is_refused() {
    for any in ["0.0.0.0:1", "[::]:1"] {
        let (code, _, why) = orrery(&["serve", "--peer", any]);
        assert_eq!(code, Some(2));
        assert!(why.contains("add --advertise-peer HOST:PORT"), "{why}");
    }
    let (code, _, why) = orrery(&["serve", "--peer", "127.0.0.1:1", "--join", "127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("--join names 127.0.0.1:1, which is this process"), "{why}");
}

/// A cluster of three that `dev` runs, and its first port.
fn start_dev() -> (Process, u16) {
    loop {
        let port = ports_in_a_row(3);
        let args = ["dev", "--nodes", "3", "--port", &port.to_string()].map(String::from);
        let mut dev = Process::start("dev", &args);
        if dev.line("3 nodes").is_some() {
            return (dev, port);
        }
        // Another program was faster.
        assert!(dev.log().contains("is taken"), "dev ended");
    }
}

fn nobody_listens(first: u16) {
    for port in (first..first + 3).chain(first + 10_000..first + 10_003) {
        eventually("the end of all nodes", || TcpStream::connect(local(port)).err());
    }
}

#[test]
fn dev_runs_a_cluster_and_ctrl_c_ends_all_of_it() {
    let (mut dev, port) = start_dev();
    for node in 0..3 {
        let line = format!("n{}  {}", node + 1, local(port + node));
        assert_eq!(dev.printed(&line), Some(line));
    }
    let () = connect(local(port)).set("a", "b").unwrap();
    assert_eq!(connect(local(port + 2)).get::<_, String>("a").unwrap(), "b");
    let (code, _, why) = orrery(&["dev", "--port", &port.to_string()]);
    assert_eq!(code, Some(1));
    assert!(why.contains(&format!("port {port} is taken")), "{why}");
    dev.signal(Signal::INT);
    assert_eq!(dev.wait().code(), Some(0));
    let last = dev.line("all nodes have ended");
    assert!(last.is_some(), "it ends without a word");
    nobody_listens(port);
}

#[test]
fn dev_that_is_killed_leaves_no_node_behind() {
    let (mut dev, port) = start_dev();
    dev.kill();
    nobody_listens(port);
}

#[test]
fn status_that_watches_shows_a_change_under_way_and_ends_with_0_at_ctrl_c() {
    let cluster = Cluster::start(5, &["--evict-after", "0"]);
    fill(&cluster, 0, 500);
    // Of some slots two of three owners are silent: a majority decides on a join, and it does not end.
    cluster.nodes[3].signal(Signal::STOP);
    cluster.nodes[4].signal(Signal::STOP);
    let mut joiner = cluster.joiner(5, 0);
    assert_eq!(serves(&mut joiner), "n6");
    let at = cluster.address(5).to_string();
    let args = ["status", "--watch", "--connect", &at].map(String::from);
    let mut watch = Process::start("watch", &args);
    let shown = |name: &str, value: &str| format!("  {name:<28} {value}");
    let mut shows = |name: &str, value: &str| {
        watch.line(&shown(name, value)).expect("it goes on");
    };
    shows("state", "Joining");
    shows("ring", "joint");
    assert!(moving(&at, "slots_to_pull") > 0);
    cluster.nodes[3].signal(Signal::CONT);
    cluster.nodes[4].signal(Signal::CONT);
    shows("ring", "final");
    shows("slots_to_pull", "0");
    shows("state", "Active");
    // One of the new owners is silent: what it is to have stays to be handed over.
    cluster.nodes[0].signal(Signal::STOP);
    ask(&cluster, 1, &["leave", "n6", "--no-wait"]);
    shows("state", "Leaving");
    eventually("slots to hand over", || (moving(&at, "slots_to_hand_over") > 0).then_some(()));
    watch.signal(Signal::INT);
    assert_eq!(watch.wait().code(), Some(0));
    cluster.nodes[0].signal(Signal::CONT);
    assert_eq!(joiner.wait().code(), Some(0));
}

/// What `status` says of slots that move.
fn moving(at: &str, name: &str) -> u64 {
    let (code, text, why) = orrery(&["status", "--json", "--connect", at]);
    assert_eq!(code, Some(0), "{why}");
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    status[name].as_u64().expect("a number")
}

#[test]
fn status_that_watches_ends_with_whoever_reads_it_and_goes_on_without_its_node() {
    let nobody = local(ports_in_a_row(1)).to_string();
    let args = ["status", "--watch", "--connect", &nobody].map(String::from);
    let mut watch = Process::start("watch", &args);
    watch.logs("is a node there?");
    assert!(!watch.has_ended());
    watch.signal(Signal::INT);
    assert_eq!(watch.wait().code(), Some(0));
    let cluster = Cluster::start(1, &[]);
    let script =
        format!("'{}' status --watch --connect {}", binary().display(), cluster.address(0));
    let mut piped = Command::new("sh")
        .args(["-c", &format!("{script} | head -n 1")])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ended = eventually("the end of both", || piped.try_wait().unwrap());
    assert!(ended.success());
}

#[test]
fn status_that_watches_shows_a_few_lines_and_not_all_of_info() {
    let cluster = Cluster::start(3, &[]);
    let at = cluster.address(0).to_string();
    let args = ["status", "--watch", "--connect", &at].map(String::from);
    let mut watch = Process::start("watch", &args);
    eventually("two looks", || (watch.all_printed().len() >= 2 * 12).then_some(()));
    let lines = watch.all_printed();
    let begins = |line: &&String| line.starts_with("  node ");
    let first = lines.iter().position(|line| begins(&line)).expect("a first look");
    let look = lines[first + 1..].iter().position(|line| begins(&line)).expect("a second one");
    assert!(look <= 20, "{look} lines a look: {lines:#?}");
    assert!(lines[first..].iter().any(|line| line.starts_with("  peers ")), "{lines:#?}");
    watch.signal(Signal::INT);
    assert_eq!(watch.wait().code(), Some(0));
}

#[test]
fn numbers_below_zero_are_refused_with_their_bounds_and_are_keys_and_values() {
    for (args, wanted) in [
        (&["serve", "--evict-after", "-1"][..], "-1 is not in 0..=86400"),
        (&["serve", "--shards", "-8"], "-8 is not in 1..=256"),
        (&["dev", "--nodes", "-3"], "-3 is not in 1..=100"),
        (&["ring", "--wait", "--timeout", "-5"], "-5 is not in 1..=604800"),
        (&["leave", "-4"], "ids are written n4 or 4"),
    ] {
        let (code, _, why) = orrery(args);
        assert_eq!(code, Some(2), "{args:?}: {why}");
        assert!(why.contains(wanted), "{args:?}: {why}");
    }
    let cluster = Cluster::start(1, &[]);
    ask(&cluster, 0, &["put", "-1", "-2"]);
    assert_eq!(ask(&cluster, 0, &["get", "-1"]), "-2\n");
}

#[test]
fn every_command_says_that_a_refusal_is_an_error() {
    let (peers, client) = (ports_in_a_row(2), ports_in_a_row(1));
    let (client, peer) = (local(client).to_string(), local(peers + 10_000).to_string());
    let absent = local(peers + 10_001).to_string();
    let list = format!("{peer},{absent}");
    let args = ["serve", "--client", &client, "--peer", &peer, "--initial-cluster", &list];
    let node = Process::start("lonely", &args.map(String::from));
    node.logs("1 of 2 members are there, 2 are needed");
    for command in [&["get", "a"][..], &["put", "a", "b"], &["del", "a"], &["leave"]] {
        let (code, out, why) = orrery(&[command, &["--connect", &client]].concat());
        assert_eq!((code, out.as_str()), (Some(1), ""), "{command:?}: {why}");
        assert!(why.starts_with("error: LOADING "), "{command:?}: {why}");
    }
}

#[test]
fn news_that_nobody_reads_is_no_panic() {
    let nobody = local(ports_in_a_row(1)).to_string();
    let (unread, errors) = std::io::pipe().unwrap();
    drop(unread);
    let done =
        Command::new(binary()).args(["get", "a", "--connect", &nobody]).stderr(errors).status();
    assert_eq!(done.unwrap().code(), Some(1));
}

#[test]
fn addresses_that_are_none_are_refused_with_what_is_wanted() {
    let (no_client, no_peer) = ("such as 127.0.0.1:7001", "such as 10.0.0.1:17001");
    for (args, wanted) in [
        (&["status", "--connect", ""][..], no_client),
        (&["status", "--watch", "--connect", ""], no_client),
        (&["ring", "--connect", "here"], no_client),
        (&["leave", "--connect", "127.0.0.1:0"], no_client),
        (&["get", "a", "--connect", "127.0.0.1:99999"], no_client),
        (&["serve", "--client", ""], no_client),
        (&["serve", "--client", ":0"], no_client),
        (&["serve", "--peer", ""], no_peer),
        (&["serve", "--join", ""], no_peer),
        (&["serve", "--join", "127.0.0.1:1,"], no_peer),
        (&["serve", "--initial-cluster", ""], no_peer),
    ] {
        let (code, _, why) = orrery(args);
        assert_eq!(code, Some(2), "{args:?}: {why}");
        assert!(why.contains(wanted), "{args:?}: {why}");
    }
    for (args, wanted) in [
        (&["evict", ""][..], "ids are written n4 or 4"),
        (&["leave", ""], "ids are written n4 or 4"),
        (&["leave", "n99999999999"], "ids are written n4 or 4"),
        (&["evict"], "<NODES>"),
        (&["get", "a", "--level", ""], "the levels are one, session"),
        (&["ring", "plan", "--nodes", ""], "from 1 to 100"),
        (&["ring", "plan", "--svg", ""], "--svg <FILE>"),
    ] {
        let (code, _, why) = orrery(args);
        assert_eq!(code, Some(2), "{args:?}: {why}");
        assert!(why.contains(wanted), "{args:?}: {why}");
    }
    let (code, _, why) = orrery(&["ring", "plan", "--svg", "/nonexistent/x", "--nodes", "1..2"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("/nonexistent/x cannot be written"), "{why}");
    // A port, but not the one for clients.
    let cluster = Cluster::start(1, &[]);
    let peer = cluster.peer_address(0).to_string();
    for command in ["status", "ring", "leave"] {
        let (code, _, why) = orrery(&[command, "--connect", &peer]);
        assert_eq!(code, Some(1));
        assert!(why.contains("takes its address for clients, not that for peers"), "{why}");
    }
}
