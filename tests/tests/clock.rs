//! A node whose clock is off refuses writes, and says so: in its log, in those of its peers, in RING and INFO, and
//! to the client.

use redis::Commands as _;
use serde_json::Value;
use tests::{
    cluster::Cluster,
    process::{Process, eventually},
    rings::{ring, serves},
};

const HOUR_US: i64 = 3_600_000_000;

/// Whether an offset is about this one.
fn is_about(found: Option<i64>, expected: i64) -> Option<()> {
    (found?.abs_diff(expected) < 500_000).then_some(())
}

/// How far a node says that a member's clock is off.
fn shown(ring: &Value, id: &str) -> Option<i64> {
    let members = ring["members"].as_array()?;
    members.iter().find(|member| member["id"] == id)?["clock_offset_us"].as_i64()
}

#[test]
fn a_node_whose_clock_is_an_hour_off_says_so_everywhere() {
    let cluster = Cluster::start(3, &[]);
    let mut args = cluster.joiner_args(3, 0);
    args.extend(["--clock-offset-ms", "3600000"].map(String::from));
    let mut off = Process::start("n4", &args);
    assert_eq!(serves(&mut off), "n4");
    let why = cluster.connect(3).set::<_, _, ()>("key", "value").unwrap_err();
    assert_eq!(why.code(), Some("CLOCK"));
    let why = why.to_string();
    assert!(why.contains("off by 3600.") || why.contains("off by 3599."), "{why}");
    assert!(why.contains("ahead of its peers' (more than 0.5 s)"), "{why}");
    off.logs("this node's clock is off by 3");
    for node in &cluster.nodes {
        node.logs("the clock of n4 is off by 3");
        assert!(!node.log().contains("this node's clock is off"), "{}", node.log());
    }
    for node in [1, 3] {
        eventually("RING shows it", || is_about(shown(&ring(node, &cluster)?, "n4"), HOUR_US));
        eventually("RING shows the others'", || is_about(shown(&ring(node, &cluster)?, "n1"), 0));
    }
    let own = ring(3, &cluster).unwrap()["clock_offset_us"].as_i64();
    assert_eq!(is_about(own, HOUR_US), Some(()), "{own:?}");
    let info: String = redis::cmd("INFO").query(&mut cluster.connect(1)).unwrap();
    let peer = info.lines().find(|line| line.starts_with("peer_n4:")).expect("a line");
    let offset = peer.rsplit_once("clock_offset_us=").expect("an offset").1.parse().ok();
    assert_eq!(is_about(offset, HOUR_US), Some(()), "{peer}");
    // The others do not mind.
    let () = cluster.connect(1).set("key", "value").unwrap();
    assert_eq!(cluster.connect(3).get::<_, String>("key").unwrap(), "value");
}
