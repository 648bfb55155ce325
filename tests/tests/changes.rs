//! What an operator asked for holds: a join that was given up does not happen after all, a member that is alive
//! is not evicted by mistake, and who joins does not wait for one of several members that is paused.

use rustix::process::Signal;
use tests::{
    cluster::Cluster,
    process::{Process, eventually, orrery},
    rings::{ask, fill, has_all, has_members, members, ring, serves},
};

#[test]
fn a_join_that_is_given_up_as_soon_as_it_begins_does_not_happen_after_all() {
    const ROUNDS: u16 = 6;
    let cluster = Cluster::start(3, &[]);
    fill(&cluster, 0, 20_000);
    for round in 0..ROUNDS {
        let mut joiner = cluster.joiner(3, 0);
        let mut connection = cluster.connect(round % 3);
        let mut heard = 0;
        // The first one that is heard may be about what is left of the round before.
        eventually("the end of the joiner", || {
            let answer = redis::cmd("RING").arg("CANCEL").query::<String>(&mut connection);
            heard += u32::from(answer.is_ok());
            joiner.has_ended().then_some(())
        });
        assert_eq!(joiner.wait().code(), Some(1));
        joiner.logs("start it again to try anew");
        assert!(heard > 0, "round {round}: it ended by itself");
        has_members(&cluster, 0, &["n1", "n2", "n3"]);
    }
    // A new process is another matter.
    let mut joiner = cluster.joiner(3, 0);
    let id = serves(&mut joiner);
    has_members(&cluster, 3, &["n1", "n2", "n3", &id]);
    has_all(&mut cluster.connect(3), 20_000);
}

#[test]
fn a_join_that_waits_for_its_turn_is_given_up_too() {
    let cluster = Cluster::start(3, &["--evict-after", "0"]);
    // Without a majority nothing is decided.
    cluster.nodes[1].signal(Signal::STOP);
    cluster.nodes[2].signal(Signal::STOP);
    let mut joiner = cluster.joiner(3, 0);
    cluster.nodes[0].logs("asks to join");
    let told = ask(&cluster, 0, &["cancel"]);
    assert!(
        told.contains(&format!("the join of the process at {}", cluster.peer_address(3))),
        "{told}"
    );
    assert_eq!(joiner.wait().code(), Some(1));
    assert!(joiner.log().contains("its join was given up"), "{}", joiner.log());
    let at = cluster.address(0).to_string();
    let (code, _, why) = orrery(&["cancel", "--connect", &at]);
    assert_eq!(code, Some(1));
    assert!(why.contains("has no change under way that could be given up"), "{why}");
    cluster.nodes[1].signal(Signal::CONT);
    cluster.nodes[2].signal(Signal::CONT);
    // Were it decided after all, it would be before the next one.
    let mut joiner = cluster.joiner(4, 0);
    let id = serves(&mut joiner);
    has_members(&cluster, 0, &["n1", "n2", "n3", &id]);
}

#[test]
fn who_ends_before_its_join_is_decided_is_not_taken() {
    let cluster = Cluster::start(3, &["--evict-after", "0"]);
    cluster.nodes[1].signal(Signal::STOP);
    cluster.nodes[2].signal(Signal::STOP);
    let mut joiner = cluster.joiner(3, 0);
    cluster.nodes[0].logs("asks to join");
    joiner.kill();
    eventually("nobody asks any more", || {
        let status = ask(&cluster, 0, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        (status["joins_waiting"] == 0).then_some(())
    });
    cluster.nodes[1].signal(Signal::CONT);
    cluster.nodes[2].signal(Signal::CONT);
    let mut joiner = cluster.joiner(4, 0);
    let id = serves(&mut joiner);
    has_members(&cluster, 0, &["n1", "n2", "n3", &id]);
}

#[test]
fn a_member_that_is_alive_is_evicted_only_by_force() {
    let mut cluster = Cluster::start(4, &[]);
    fill(&cluster, 0, 1_000);
    eventually("n4 seems alive", || {
        let ring = ring(0, &cluster)?;
        let all = ring["members"].as_array()?;
        (all[3]["seems"] == "alive").then_some(())
    });
    let at = cluster.address(0).to_string();
    let (code, out, why) = orrery(&["evict", "n4", "--connect", &at]);
    assert_eq!(code, Some(1), "{out}{why}");
    assert!(why.contains("n4 seems alive: `orrery leave n4` is meant"), "{why}");
    assert!(why.contains("--force"), "{why}");
    let (code, _, why) = orrery(&["evict", "n1", "--connect", &at]);
    assert_eq!(code, Some(1));
    assert!(why.contains("n1 seems alive"), "{why}");
    has_members(&cluster, 0, &["n1", "n2", "n3", "n4"]);
    // It joins anew.
    ask(&cluster, 0, &["evict", "n4", "--force", "--no-wait"]);
    has_members(&cluster, 0, &["n1", "n2", "n3", "n5"]);
    // One that is gone needs no force, at once.
    cluster.nodes[3].kill();
    ask(&cluster, 0, &["evict", "n5"]);
    has_members(&cluster, 0, &["n1", "n2", "n3"]);
    has_all(&mut cluster.connect(1), 1_000);
}

#[test]
fn what_is_decided_alone_needs_force_too_where_somebody_seems_alive() {
    let mut cluster = Cluster::start(3, &["--evict-after", "0"]);
    eventually("n2 seems alive", || {
        let ring = ring(0, &cluster)?;
        (ring["members"].as_array()?[1]["seems"] == "alive").then_some(())
    });
    let at = cluster.address(0).to_string();
    cluster.nodes[2].kill();
    let alone = ["evict", "n2", "n3", "--accept-loss", "--connect", &at];
    let (code, out, why) = orrery(&alone);
    assert_eq!(code, Some(1), "{out}");
    assert!(why.contains("n2 seems alive"), "{why}");
    cluster.nodes[1].kill();
    let told = ask(&cluster, 0, &["evict", "n2", "n3", "--accept-loss"]);
    assert!(told.contains("its members: n1. What only n2, n3 held is lost"), "{told}");
}

#[test]
fn who_joins_does_not_need_a_member_that_is_paused() {
    let cluster = Cluster::start(3, &["--evict-after", "0"]);
    cluster.nodes[0].signal(Signal::STOP);
    let (client, peer) = (cluster.address(3).to_string(), cluster.peer_address(3).to_string());
    let all = [0, 1].map(|node| cluster.peer_address(node).to_string()).join(",");
    let args = ["serve", "--client", &client, "--peer", &peer, "--join", &all];
    let mut joiner = Process::start("joiner", &args.map(String::from));
    serves(&mut joiner);
    let ring = ring(3, &cluster).expect("it serves");
    assert!(members(&ring).iter().any(|(id, _)| id == "n4"), "{ring}");
    cluster.nodes[0].signal(Signal::CONT);
}
