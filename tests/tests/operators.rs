//! Several who want something of one ring at once.

use std::thread;

use redis::Commands as _;
use rustix::process::Signal;
use tests::{
    cluster::Cluster,
    load::{Load, under_load},
    process::{Process, eventually, orrery},
    rings::{ask, fill, has_all, has_members, members, ring, serves},
    rolling::{Trial, restart_all},
};

#[test]
fn five_processes_join_through_the_only_member_at_once() {
    let cluster = Cluster::start(1, &["--replication", "3"]);
    fill(&cluster, 0, 2_000);
    let mut joiners: Vec<_> = (1..=5).map(|number| cluster.joiner(number, 0)).collect();
    let mut ids: Vec<String> = joiners.iter_mut().map(serves).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["n2", "n3", "n4", "n5", "n6"]);
    for node in 0..=5 {
        has_members(&cluster, node, &["n1", "n2", "n3", "n4", "n5", "n6"]);
        has_all(&mut cluster.connect(node), 2_000);
    }
}

#[test]
fn operators_that_contradict_each_other_are_each_told_what_came_of_it() {
    let cluster = Cluster::start(5, &[]);
    fill(&cluster, 0, 2_000);
    let asked: [(u16, &[&str]); 6] = [
        (0, &["leave", "n5"]),
        (1, &["evict", "n5", "--force"]),
        (2, &["leave", "n4"]),
        (0, &["cancel"]),
        (1, &["leave", "n5"]),
        (2, &["cancel"]),
    ];
    thread::scope(|scope| {
        for (node, words) in asked {
            let at = cluster.address(node).to_string();
            scope.spawn(move || {
                let (code, out, why) = orrery(&[words, &["--connect", &at]].concat());
                match code {
                    Some(0) => assert!(!out.is_empty(), "{words:?} says what it did"),
                    Some(1) => assert!(!why.is_empty(), "{words:?} says why not"),
                    other => panic!("{words:?} ended with {other:?}: {out}{why}"),
                }
            });
        }
    });
    // Whatever came of it, all who are members agree, and have everything.
    let agreed = eventually("one final ring on three members", || {
        let rings: Vec<_> = (0..3).filter_map(|node| ring(node, &cluster)).collect();
        let is_agreed = rings.len() == 3
            && rings
                .iter()
                .all(|ring| ring["joint"] == false && ring["epoch"] == rings[0]["epoch"]);
        is_agreed.then(|| rings[0].clone())
    });
    let ids: Vec<String> = members(&agreed).into_iter().map(|(id, _)| id).collect();
    assert!(ids.starts_with(&["n1".into(), "n2".into(), "n3".into()]), "{ids:?}");
    for node in 0..3 {
        has_all(&mut cluster.connect(node), 2_000);
    }
}

#[test]
fn first_members_that_start_again_and_again_join_anew_and_form_no_second_cluster() {
    let mut cluster = Cluster::start(3, &[]);
    fill(&cluster, 0, 1_000);
    let mut latest = 3;
    // In the second round no peer has the id that the list of first members gives it.
    for node in [0, 1, 2, 0, 1] {
        cluster.nodes[usize::from(node)].signal(Signal::KILL);
        cluster.nodes[usize::from(node)].wait();
        cluster.nodes[usize::from(node)] = cluster.process(node);
        latest += 1;
        assert_eq!(serves(&mut cluster.nodes[usize::from(node)]), format!("n{latest}"));
        eventually("a final ring", || ring(node, &cluster).filter(|ring| ring["joint"] == false));
        has_all(&mut cluster.connect(node), 1_000);
    }
    has_members(&cluster, 2, &["n6", "n7", "n8"]);
}

#[test]
fn where_too_many_owners_of_some_keys_are_gone_an_operator_forces_the_ring() {
    let mut cluster = Cluster::start(5, &["--evict-after", "0"]);
    fill(&cluster, 0, 1_000);
    for node in 3..5 {
        cluster.nodes[node].signal(Signal::KILL);
        cluster.nodes[node].wait();
    }
    // A majority of the members decides, but nobody has all that two of three owners had.
    ask(&cluster, 0, &["evict", "n4", "n5", "--no-wait"]);
    eventually("a joint ring", || ring(0, &cluster).filter(|ring| ring["joint"] == true));
    let told = ask(&cluster, 0, &["evict", "n4", "n5", "--accept-loss"]);
    assert!(told.contains("n4, n5") && told.contains("is lost"), "{told}");
    has_members(&cluster, 2, &["n1", "n2", "n3"]);
    // What the others held is there.
    let mut connection = cluster.connect(1);
    eventually("all that one of three held", || {
        let keys: Vec<String> = (0..1_000).map(|n| format!("k{n}")).collect();
        let found: Vec<Option<usize>> = connection.mget(&keys).ok()?;
        found.iter().enumerate().all(|(n, found)| *found == Some(n)).then_some(())
    });
    let () = connection.set("after", 1).unwrap();
}

#[test]
fn a_single_member_refuses_nothing_while_another_joins() {
    let cluster = Cluster::start(1, &[]);
    let mut connection = cluster.connect(0);
    let mut joiner = cluster.joiner(1, 0);
    let mut joined = false;
    for value in 0.. {
        let () = connection.set("k", value).unwrap();
        if joined {
            break;
        }
        joined = joiner.printed("ready ").is_some();
    }
    has_members(&cluster, 1, &["n1", "n2"]);
}

#[test]
fn a_cluster_grows_from_one_under_load_and_refuses_nothing() {
    let cluster = Cluster::start(1, &[]);
    let load = Load::new(&cluster, &[0]);
    let mut joiners = Vec::new();
    under_load(&cluster, &load, &[0, 3], || {
        for number in 1..4 {
            let mut joiner = cluster.joiner(number, 0);
            serves(&mut joiner);
            load.joined(number);
            load.goes_on(100);
            joiners.push(joiner);
        }
    });
    has_members(&cluster, 3, &["n1", "n2", "n3", "n4"]);
}

#[test]
fn a_leave_is_done_only_when_who_leaves_said_so() {
    let mut cluster = Cluster::start(5, &["--replication", "4", "--evict-after", "0"]);
    fill(&cluster, 0, 1_000);
    // All who stay gain slots. While one of them is stopped, the leave does not end.
    cluster.nodes[4].signal(Signal::STOP);
    let at = cluster.address(0).to_string();
    let operator = thread::spawn(move || orrery(&["leave", "--connect", &at]));
    eventually("n1 is on its way", || {
        let ring = ring(1, &cluster)?;
        members(&ring).contains(&("n1".into(), "Leaving".into())).then_some(())
    });
    cluster.nodes[0].signal(Signal::KILL);
    cluster.nodes[0].wait();
    let (code, out, why) = operator.join().unwrap();
    assert_eq!((code, out.as_str()), (Some(1), ""), "{why}");
    assert!(why.contains("it is not known whether the others have all that it held"), "{why}");

    cluster.nodes[4].signal(Signal::CONT);
    ask(&cluster, 1, &["evict", "n1"]);
    has_members(&cluster, 4, &["n2", "n3", "n4", "n5"]);
    has_all(&mut cluster.connect(4), 1_000);
}

#[test]
fn who_leaves_by_its_own_word_says_so_before_it_ends() {
    let mut cluster = Cluster::start(4, &[]);
    fill(&cluster, 0, 1_000);
    // Which one to ask from then on is known once the ring says where clients reach the first members.
    eventually("the ring says where clients reach all", || {
        let ring = ring(1, &cluster)?;
        let members = ring["members"].as_array()?;
        members.iter().all(|member| member["client"].is_string()).then_some(())
    });
    let told = ask(&cluster, 1, &["leave"]);
    assert!(told.contains("n2 is no member any more: epoch"), "{told}");
    let other = cluster.address(0);
    assert!(
        told.contains(&format!("has 3 members; from now on ask another one: --connect {other}")),
        "{told}"
    );
    assert!(cluster.nodes[1].wait().success());
    has_members(&cluster, 2, &["n1", "n3", "n4"]);
    has_all(&mut cluster.connect(2), 1_000);
}

#[test]
fn somebody_has_to_stay_and_programs_are_told_why_too() {
    let cluster = Cluster::start(3, &[]);
    let at = cluster.address(0).to_string();
    let (code, out, why) = orrery(&["evict", "n1", "n2", "n3", "--json", "--connect", &at]);
    assert_eq!((code, why.as_str()), (Some(1), ""));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(told["error"].as_str().unwrap().contains("somebody has to stay"), "{out}");
    has_members(&cluster, 0, &["n1", "n2", "n3"]);
}

#[test]
fn nodes_of_a_loaded_cluster_are_started_again_one_after_the_other_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3, &[]);
    let trial = Trial { rounds: 5, writers: 3, records: 10_000, timeout_s: 120 };
    let mut failed = Vec::new();
    let outcome = restart_all(&mut cluster, trial, |round, _, why| {
        failed.extend(why.map(|why| format!("round {round}: {why}")));
    });
    assert_eq!((outcome.lost, outcome.wedged), (0, 0), "{failed:?}");
    assert!(outcome.acknowledged > 0);
}

#[test]
fn who_waits_for_a_node_that_does_not_listen_yet_waits_until_it_has_everything() {
    let mut cluster = Cluster::start(3, &[]);
    fill(&cluster, 0, 10_000);
    cluster.nodes[2].kill();
    let at = cluster.address(2).to_string();
    // Nobody is there: it gives up after its time, and says why.
    let (code, out, why) = orrery(&["ring", "--wait", "--timeout", "1", "--connect", &at]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{why}");
    assert!(why.contains("is not settled after 1 s (--timeout)"), "{why}");
    assert!(why.contains("is a node there?"), "{why}");
    // It waits before there is anybody to wait for.
    let args = ["ring", "--wait", "--json", "--connect", &at].map(String::from);
    let mut wait = Process::start("wait", &args);
    wait.logs("is a node there?");
    cluster.nodes[2] = cluster.process(2);
    assert_eq!(wait.wait().code(), Some(0), "{}", wait.log());
    eventually("the end of what it prints", || wait.printed("}"));
    let told = wait.all_printed().join("\n");
    let ring: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&ring["node"], &ring["joint"]), (&"n4".into(), &false.into()), "{ring}");
    assert_eq!(
        (&ring["peers_to_compare"], &ring["records_behind"]),
        (&serde_json::json!([]), &0.into())
    );
    assert_eq!(records(&cluster, 2), records(&cluster, 0));
}

/// How many records a node says that it holds.
fn records(cluster: &Cluster, node: u16) -> u64 {
    let at = cluster.address(node).to_string();
    // A node that stood still ends the connections that it had.
    eventually("its status", || {
        let (_, text, _) = orrery(&["status", "--json", "--connect", &at]);
        serde_json::from_str::<serde_json::Value>(&text).ok()?["live_records"].as_u64()
    })
}

/// A stopped process takes what its sockets have room for: more than that is written.
#[test]
fn who_waits_for_a_node_that_stood_still_waits_until_it_has_what_was_written_meanwhile() {
    const WRITTEN: usize = 100_000;
    let cluster = Cluster::start(3, &["--evict-after", "0"]);
    fill(&cluster, 0, 1_000);
    cluster.nodes[2].signal(Signal::STOP);
    let (mut connection, value) = (cluster.connect(0), "v".repeat(200));
    for first in (0..WRITTEN).step_by(500) {
        let pairs: Vec<(String, &str)> =
            (first..first + 500).map(|n| (format!("late{n}"), value.as_str())).collect();
        // A busy machine may need more than one try.
        eventually("a write", || connection.mset::<_, _, ()>(&pairs).ok());
    }
    cluster.nodes[2].signal(Signal::CONT);
    ask(&cluster, 2, &["ring", "--wait"]);
    let (held, all) = (records(&cluster, 2), records(&cluster, 0));
    assert_eq!((held, all), (all, 1_000 + WRITTEN as u64), "what n3 holds, of all");
}
