//! The command line: its help, its exit codes, and `dev`.

use std::net::TcpStream;

use redis::Commands as _;
use rustix::process::Signal;
use tests::{
    cluster::{Cluster, connect, local, ports_in_a_row},
    process::{Process, eventually, orrery},
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
        assert!(why.contains("one address of this machine is wanted"), "{why}");
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
    nobody_listens(port);
}

#[test]
fn dev_that_is_killed_leaves_no_node_behind() {
    let (mut dev, port) = start_dev();
    dev.kill();
    nobody_listens(port);
}
