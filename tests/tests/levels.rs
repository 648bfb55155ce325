//! Levels, as clients of real processes choose them.

use redis::{Commands as _, Connection, FromRedisValue, RedisResult};
use rustix::process::Signal;
use tests::{cluster::Cluster, process::eventually};

/// A connection to a node, with these words of CONSISTENCY.
fn connect(cluster: &Cluster, node: u16, words: &[&str]) -> Connection {
    let mut connection = cluster.connect(node);
    let () = redis::cmd("CONSISTENCY").arg(words).query(&mut connection).unwrap();
    connection
}

fn info(connection: &mut Connection) -> String {
    redis::cmd("INFO").query(connection).unwrap()
}

/// The error of something that cannot be done.
fn code<T: FromRedisValue>(done: RedisResult<T>) -> String {
    let why = done.err().expect("it cannot be done");
    why.code().unwrap_or_default().to_string()
}

const LINEARIZABLE: [&str; 4] = ["READ", "linearizable", "WRITE", "linearizable"];

#[test]
fn linearizable_goes_on_with_a_majority_and_writes_nothing_without_one() {
    let cluster = Cluster::start(3, &[]);
    let mut connections: Vec<Connection> =
        (0..3).map(|node| connect(&cluster, node, &LINEARIZABLE)).collect();
    for round in 0..30 {
        let () = connections[round % 3].set("a", round).unwrap();
        for connection in &mut connections {
            assert_eq!(connection.get::<_, usize>("a").unwrap(), round);
        }
    }
    assert_eq!(connections[1].del::<_, usize>(&["a", "none"]).unwrap(), 1);
    assert_eq!(connections[2].get::<_, Option<String>>("a").unwrap(), None);

    let [one, two, _] = &mut connections[..] else { unreachable!() };
    cluster.nodes[2].signal(Signal::STOP);
    let () = one.set("a", "with two nodes").unwrap();
    assert_eq!(two.get::<_, String>("a").unwrap(), "with two nodes");

    cluster.nodes[1].signal(Signal::STOP);
    assert_eq!(code(one.set::<_, _, ()>("a", "with one node")), "UNAVAILABLE");
    assert_eq!(code(one.set::<_, _, ()>("b", "with one node")), "UNAVAILABLE");
    assert_eq!(code(one.get::<_, String>("a")), "TIMEOUT");
    assert!(info(one).contains("requests_unavailable:2\r\n"));

    cluster.nodes[1..].iter().for_each(|node| node.signal(Signal::CONT));
    for node in 0..3 {
        let mut connection = connect(&cluster, node, &["READ", "all"]);
        let found: Vec<Option<String>> = eventually("all owners answer", || {
            // They may be busy with what came while they were stopped.
            connection.mget(&["a", "b"]).ok()
        });
        assert_eq!(found, [Some("with two nodes".into()), None]);
    }
}

#[test]
fn a_session_reads_its_own_writes_at_once_through_a_node_that_owns_few_of_them() {
    for (nodes, replication) in [(4, "1"), (5, "2")] {
        let args = ["--replication", replication, "--default-read", "session"];
        let cluster = Cluster::start(nodes, &args);
        let mut connection = connect(&cluster, 0, &["WRITE", "one"]);
        let keys: Vec<String> = (0..200).map(|number| format!("k{number}")).collect();
        for value in 0..3 {
            for key in &keys {
                let pipe = redis::pipe().set(key, value).ignore().get(key).get(key).clone();
                assert_eq!(pipe.query::<Vec<usize>>(&mut connection).unwrap(), [value, value]);
            }
        }
        if replication == "2" {
            cluster.nodes[usize::from(nodes) - 1].signal(Signal::STOP);
        }
        for key in &keys {
            assert_eq!(connection.get::<_, usize>(key).unwrap(), 2);
        }
        assert!(info(&mut connection).contains("requests_stale:0\r\n"));
    }
}
