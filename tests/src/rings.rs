//! Clusters whose ring changes: what they say of it, and what they hold.

use redis::{Commands as _, Connection};
use serde_json::Value;

use crate::{
    cluster::Cluster,
    process::{Process, eventually, orrery},
};

/// What a node says of its ring. None: it cannot be asked.
pub fn ring(node: u16, cluster: &Cluster) -> Option<Value> {
    let client = redis::Client::open(format!("redis://{}", cluster.address(node))).ok()?;
    let mut connection =
        client.get_connection_with_timeout(std::time::Duration::from_secs(1)).ok()?;
    let text: String = redis::cmd("RING").query(&mut connection).ok()?;
    serde_json::from_str(&text).ok()
}

/// The members of a ring with their states.
pub fn members(ring: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_string();
    let all = ring["members"].as_array().expect("members");
    all.iter().map(|member| (text(&member["id"]), text(&member["state"]))).collect()
}

/// Waits until a node's ring is final and has these members.
pub fn has_members(cluster: &Cluster, node: u16, ids: &[&str]) {
    eventually(&format!("a final ring of {ids:?}"), || {
        let ring = ring(node, cluster)?;
        let members = members(&ring);
        let found: Vec<&str> = members.iter().map(|(id, _)| id.as_str()).collect();
        (found == ids && ring["joint"] == false).then_some(())
    });
}

/// Runs `orrery` against a node, and expects success.
pub fn ask(cluster: &Cluster, node: u16, words: &[&str]) -> String {
    let at = cluster.address(node).to_string();
    let (code, out, why) = orrery(&[words, &["--connect", &at]].concat());
    assert_eq!(code, Some(0), "{words:?}: {out}{why}");
    out
}

/// Waits until a process serves: the id that it has.
pub fn serves(process: &mut Process) -> String {
    let line = process.line("ready ").expect("it serves");
    line.rsplit_once("node=").expect("it says its id").1.to_string()
}

/// Writes many keys, so that members have something to move.
pub fn fill(cluster: &Cluster, node: u16, count: usize) {
    let mut connection = cluster.connect(node);
    for first in (0..count).step_by(500) {
        let pairs: Vec<(String, usize)> =
            (first..count.min(first + 500)).map(|n| (format!("k{n}"), n)).collect();
        // A busy machine may need more than one try; what is written twice is the same.
        eventually("a write", || match connection.mset::<_, _, ()>(&pairs) {
            Ok(()) => Some(()),
            Err(why) if why.is_io_error() => {
                connection = cluster.connect(node);
                None
            }
            Err(why) => {
                assert_eq!(why.code(), Some("TIMEOUT"), "{why}");
                None
            }
        });
    }
}

/// All of them are there, through a node.
pub fn has_all(connection: &mut Connection, count: usize) {
    for first in (0..count).step_by(500) {
        let numbers = first..count.min(first + 500);
        let keys: Vec<String> = numbers.clone().map(|n| format!("k{n}")).collect();
        let found: Vec<Option<usize>> = connection.mget(&keys).unwrap();
        assert_eq!(found, numbers.map(Some).collect::<Vec<_>>());
    }
}
