//! A node is killed under load.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use redis::Commands as _;
use tests::cluster::{Cluster, eventually};

const CLIENTS: usize = 4;

/// What a client did to its key: the last value that was ok, and those after it whose outcome is unknown.
#[derive(Debug, Default)]
struct Written {
    ok: Option<u64>,
    unknown: Vec<u64>,
}

#[test]
fn quorum_goes_on_when_a_node_is_killed_and_no_ok_write_is_lost() {
    let mut cluster = Cluster::start(3, &[]);
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let histories: Vec<Written> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                // Clients of the two nodes that stay.
                let mut connection = cluster.connect(client % 2);
                let (stop, written) = (&stop, &written);
                scope.spawn(move || {
                    let mut history = Written::default();
                    for value in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        match connection.set::<_, _, ()>(format!("key{client}"), value) {
                            Ok(()) => {
                                history.ok = Some(value);
                                history.unknown.clear();
                                written.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(why) => {
                                let text = why.to_string();
                                let is_honest = text.contains("TIMEOUT") || text.contains("BUSY");
                                assert!(is_honest, "{text}");
                                history.unknown.push(value);
                            }
                        }
                    }
                    history
                })
            })
            .collect();
        let more_than = |count: u64| (written.load(Ordering::Relaxed) > count).then_some(());
        eventually("writes before the kill", || more_than(500));
        cluster.nodes[2].kill();
        let at_kill = written.load(Ordering::Relaxed);
        eventually("writes after the kill", || more_than(at_kill + 2_000));
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for node in 0..2 {
        let mut connection = cluster.connect(node);
        for (client, history) in histories.iter().enumerate() {
            let found: Option<u64> = connection.get(format!("key{client}")).unwrap();
            let is_good =
                found == history.ok || found.is_some_and(|v| history.unknown.contains(&v));
            assert!(is_good, "key{client} is {found:?}, and its client knows of {history:?}");
        }
    }
}

#[test]
fn a_restarted_process_is_refused_under_its_old_identity() {
    let mut cluster = Cluster::start(3, &[]);
    let () = cluster.connect(0).set("a", "b").unwrap();
    cluster.nodes[2].kill();
    let mut again = cluster.process(2);
    assert_eq!(again.wait().code(), Some(1));
    assert!(again.log().contains("restarted process under its old identity"), "{}", again.log());
    eventually("the reason in a peer's log", || {
        let log = cluster.nodes[0].log() + &cluster.nodes[1].log();
        log.contains("restarted process under its old identity").then_some(())
    });
    assert_eq!(cluster.connect(1).get::<_, String>("a").unwrap(), "b");
}
