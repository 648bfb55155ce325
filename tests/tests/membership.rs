//! Rings that change while real processes serve real clients.

use std::{io::Write as _, net::TcpListener};

use kv::wire::{self, Greeting, Join, Purpose};
use redis::{Commands as _, Connection};
use rustix::process::Signal;
use tests::{
    cluster::{Cluster, connect, local, ports_in_a_row, stream},
    load::{Load, under_load},
    process::{Process, eventually, orrery},
    rings::{ask, fill, has_all, has_members, members, ring, serves},
};

fn error(connection: &mut Connection, words: &[&str]) -> String {
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query::<redis::Value>(connection).unwrap_err().to_string()
}

#[test]
fn a_node_that_joins_under_load_reads_everything_and_is_an_active_member() {
    let cluster = Cluster::start(3, &[]);
    fill(&cluster, 0, 3_000);
    let load = Load::new(&cluster, &[0, 1, 2]);
    let mut joiner = None;
    under_load(&cluster, &load, &[3, 0], || {
        let mut fourth = cluster.joiner(3, 0);
        assert_eq!(serves(&mut fourth), "n4");
        has_members(&cluster, 3, &["n1", "n2", "n3", "n4"]);
        load.joined(3);
        load.goes_on(100);
        joiner = Some(fourth);
    });
    let ring = ring(3, &cluster).unwrap();
    assert!(members(&ring).iter().all(|(_, state)| state == "Active"), "{ring}");
    has_all(&mut cluster.connect(3), 3_000);
    let table = ask(&cluster, 1, &["ring"]);
    assert!(table.contains("n4") && table.contains("Active"), "{table}");
}

#[test]
fn a_node_that_leaves_under_load_hands_over_everything_and_exits_with_0() {
    let mut cluster = Cluster::start(4, &[]);
    fill(&cluster, 0, 3_000);
    let load = Load::new(&cluster, &[0, 1, 2, 3]);
    under_load(&cluster, &load, &[0, 1, 2], || {
        load.leaves(3);
        let out = ask(&cluster, 1, &["leave", "n4"]);
        assert!(out.contains("n4"), "{out}");
        has_members(&cluster, 0, &["n1", "n2", "n3"]);
    });
    assert_eq!(cluster.nodes[3].wait().code(), Some(0));
    assert!(cluster.nodes[3].log().contains("n4 has left"), "{}", cluster.nodes[3].log());
    has_all(&mut cluster.connect(2), 3_000);
}

#[test]
fn all_nodes_are_replaced_one_by_one_under_load_and_no_ok_write_is_lost() {
    const OLD: u16 = 5;
    let mut cluster = Cluster::start(OLD, &[]);
    fill(&cluster, 0, 2_000);
    let mut old = std::mem::take(&mut cluster.nodes);
    let mut new = Vec::new();
    let load = Load::new(&cluster, &[0, 1, 2, 3, 4]);
    let last: Vec<u16> = (OLD..2 * OLD).collect();
    under_load(&cluster, &load, &last, || {
        for (place, process) in (0..OLD).zip(&mut old) {
            let mut joiner = cluster.joiner(OLD + place, place);
            assert_eq!(serves(&mut joiner), format!("n{}", OLD + place + 1));
            new.push(joiner);
            load.joined(OLD + place);
            load.goes_on(100);
            load.leaves(place);
            ask(&cluster, OLD + place, &["leave", &format!("n{}", place + 1)]);
            assert_eq!(process.wait().code(), Some(0));
            load.goes_on(100);
        }
    });
    has_members(&cluster, OLD, &["n6", "n7", "n8", "n9", "n10"]);
    has_all(&mut cluster.connect(OLD), 2_000);
}

#[test]
fn a_node_that_is_killed_and_started_again_joins_anew_as_another_member() {
    let mut cluster = Cluster::start(3, &[]);
    fill(&cluster, 0, 1_000);
    cluster.nodes[2].kill();
    let mut again = cluster.process(2);
    assert_eq!(serves(&mut again), "n4");
    again.logs("it is a restarted process under its old identity");
    again.logs("joins anew, as another member");
    for node in 0..3 {
        has_members(&cluster, node, &["n1", "n2", "n4"]);
    }
    has_all(&mut cluster.connect(2), 1_000);
    // Again, and with the member's arguments of a join.
    again.kill();
    let mut again = cluster.joiner(2, 0);
    assert_eq!(serves(&mut again), "n5");
    has_members(&cluster, 0, &["n1", "n2", "n5"]);
}

#[test]
fn a_live_node_that_is_evicted_joins_anew() {
    let cluster = Cluster::start(4, &[]);
    fill(&cluster, 0, 1_000);
    ask(&cluster, 0, &["evict", "n4", "--force", "--no-wait"]);
    has_members(&cluster, 0, &["n1", "n2", "n3", "n5"]);
    cluster.nodes[3].logs("n4 was evicted");
    eventually("it serves again", || {
        cluster.nodes[3].log().contains("n5 serves clients").then_some(())
    });
    has_all(&mut cluster.connect(3), 1_000);
}

#[test]
fn a_paused_node_that_was_evicted_learns_it_and_joins_anew() {
    let cluster = Cluster::start(4, &[]);
    fill(&cluster, 0, 1_000);
    cluster.nodes[3].signal(Signal::STOP);
    // For some seconds it still seems alive.
    ask(&cluster, 0, &["evict", "n4", "--force"]);
    has_members(&cluster, 1, &["n1", "n2", "n3"]);
    has_all(&mut cluster.connect(1), 1_000);
    cluster.nodes[3].signal(Signal::CONT);
    has_members(&cluster, 3, &["n1", "n2", "n3", "n5"]);
    cluster.nodes[3].logs("n5 serves clients");
    has_all(&mut cluster.connect(3), 1_000);
}

#[test]
fn a_join_that_comes_to_no_end_is_given_up_at_an_operators_word() {
    let cluster = Cluster::start(3, &[]);
    fill(&cluster, 0, 1_000);
    // Somebody listens there, and never speaks.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let mut bytes = Vec::new();
    let join = |address, instance| {
        let client = "127.0.0.1:1".into();
        Greeting::new(Purpose::Join(Join { address, client, instance }))
    };
    wire::encode(&join(address, 7), &mut bytes);
    let mut asks = stream(cluster.peer_address(0));
    asks.write_all(&bytes).unwrap();
    eventually("a joint ring", || ring(1, &cluster).filter(|ring| ring["joint"] == true));
    // All is served meanwhile.
    has_all(&mut cluster.connect(1), 1_000);
    let shown = ask(&cluster, 1, &["ring"]);
    assert!(shown.contains("Joining"), "{shown}");
    ask(&cluster, 2, &["cancel"]);
    has_members(&cluster, 0, &["n1", "n2", "n3"]);
    let () = cluster.connect(0).set("after", 1).unwrap();
    // An address that nobody reaches is not taken at all.
    drop(mute);
    let nobody = local(ports_in_a_row(1)).to_string();
    let mut bytes = Vec::new();
    wire::encode(&join(nobody, 8), &mut bytes);
    let mut asks = stream(cluster.peer_address(0));
    asks.write_all(&bytes).unwrap();
    cluster.nodes[0].logs("may not join");
    cluster.nodes[0].logs("must be an address at which the other members reach it");
}

#[test]
fn what_makes_no_sense_is_refused_with_advice() {
    let cluster = Cluster::start(1, &[]);
    let (at, peer_at) = (cluster.address(0).to_string(), cluster.peer_address(0).to_string());
    let mut connection = cluster.connect(0);
    let () = connection.set("a", "b").unwrap();
    let run = |words: &[&str]| {
        let (code, out, why) = orrery(&[words, &["--connect", &at]].concat());
        (code, out + &why)
    };
    for (words, reason) in [
        (&["leave", "n9"][..], "n9 is no member of the ring"),
        (&["evict", "n1"], "n1 is the last member: to end the cluster, stop its process"),
        (&["leave"], "n1 is the last member"),
        (&["cancel"], "has no change under way"),
        (&["evict", "n1", "--accept-loss"], "n1 is asked, so it is not gone"),
        (&["evict", "n7", "--accept-loss"], "n7 is no member of the ring"),
        (&["join", "127.0.0.1:1"], "n1 holds 1 records"),
        (&["join", &at], "is n1 itself; give the peer address of another member"),
        (&["join", &peer_at], "is n1 itself"),
        (&["join", ""], "is no address; one is written host:port"),
    ] {
        let (code, text) = run(words);
        assert_eq!(code, Some(1), "{words:?}: {text}");
        assert!(text.contains(reason), "{words:?}: {text}");
    }
    assert_eq!(run(&["evict"]).0, Some(2));
    assert_eq!(run(&["leave", "x"]).0, Some(2));
    let why = error(&mut connection, &["RING", "EVICT", "FORCE", "ACCEPT-LOSS"]);
    assert!(why.contains("wrong number of arguments"), "{why}");
    // A port for clients, and one where nobody is.
    let free = ports_in_a_row(1);
    let (client, peer) = (local(free).to_string(), local(free + 10_000).to_string());
    let serve = ["serve", "--client", &client, "--peer", &peer, "--join"];
    let (code, _, why) = orrery(&[&serve[..], &[at.as_str()]].concat());
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains(&format!("{at} is no port for peers")), "{why}");
    assert_eq!(orrery(&[&serve[..], &[&at, "--replication", "3"]].concat()).0, Some(2));
    // The address of a live member.
    let taken = ["serve", "--client", &client, "--peer", &peer_at, "--join", &peer];
    let (code, _, why) = orrery(&taken);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains(&format!("cannot listen for peers at {peer_at}")), "{why}");
    let nobody = local(ports_in_a_row(1)).to_string();
    let args: Vec<String> =
        [&serve[..], &[&nobody]].concat().iter().map(|a| a.to_string()).collect();
    let mut lonely = Process::start("lonely", &args);
    lonely.logs(&format!("cannot join at {nobody}"));
    assert!(!lonely.has_ended());
}

#[test]
fn an_empty_node_joins_at_an_operators_word_and_stays_when_it_cannot() {
    let cluster = Cluster::start(2, &[]);
    fill(&cluster, 0, 500);
    let alone = Cluster::start(1, &[]);
    let at = alone.address(0).to_string();
    let (code, _, why) = orrery(&["join", &cluster.address(0).to_string(), "--connect", &at]);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("is no port for peers"), "{why}");
    eventually("it serves on", || ring(0, &alone));
    ask(&alone, 0, &["join", &cluster.peer_address(1).to_string()]);
    has_members(&cluster, 0, &["n1", "n2", "n3"]);
    has_all(&mut alone.connect(0), 500);
    let (code, _, why) = orrery(&["join", &cluster.peer_address(0).to_string(), "--connect", &at]);
    assert_eq!(code, Some(1));
    assert!(why.contains("is in a ring with 2 other members"), "{why}");
    // A member of another cluster is no member here.
    let foreign = Cluster::start(1, &[]);
    let (peer, members) = (foreign.peer_address(1), cluster.peer_address(0));
    let (peer, list) = (peer.to_string(), format!("{peer},{members}"));
    let client = foreign.address(1).to_string();
    let args = ["serve", "--client", &client, "--peer", &peer, "--initial-cluster", &list];
    let stranger = Process::start("stranger", &args.map(String::from));
    stranger.logs("they belong to different clusters");
    stranger.logs("to add a node to one that runs, use --join");
}

#[test]
fn where_a_majority_is_gone_for_good_an_operator_forces_the_ring() {
    let mut cluster = Cluster::start(3, &[]);
    fill(&cluster, 0, 500);
    let refused = error(&mut cluster.connect(2), &["RING", "EVICT", "n1", "ACCEPT-LOSS"]);
    assert!(refused.contains("no loss has to be accepted"), "{refused}");
    let mut connection = cluster.connect(0);
    let () = redis::cmd("CONSISTENCY").arg(&["WRITE", "all"]).query(&mut connection).unwrap();
    let () = connection.set("everywhere", 1).unwrap();
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    let why = cluster.connect(2).get::<_, String>("k1").unwrap_err();
    assert_eq!(why.code(), Some("TIMEOUT"));
    let told = ask(&cluster, 2, &["evict", "n1", "n2", "--accept-loss"]);
    assert!(told.contains("is lost") && told.contains("Never start n1, n2 again"), "{told}");
    has_members(&cluster, 2, &["n3"]);
    let mut connection = cluster.connect(2);
    assert_eq!(connection.get::<_, usize>("everywhere").unwrap(), 1);
    let () = connection.set("after", 1).unwrap();
    // New processes join, at the addresses of those that are gone too.
    let mut again = cluster.joiner(0, 2);
    assert_eq!(serves(&mut again), "n4");
    has_members(&cluster, 0, &["n3", "n4"]);
    assert_eq!(cluster.connect(0).get::<_, usize>("after").unwrap(), 1);
}

#[test]
fn a_cluster_of_one_moves_to_another_process() {
    let mut cluster = Cluster::start(1, &[]);
    fill(&cluster, 0, 2_000);
    let mut second = cluster.joiner(1, 0);
    assert_eq!(serves(&mut second), "n2");
    has_members(&cluster, 1, &["n1", "n2"]);
    // Asked of the node that goes.
    ask(&cluster, 0, &["leave"]);
    assert_eq!(cluster.nodes[0].wait().code(), Some(0));
    has_members(&cluster, 1, &["n2"]);
    has_all(&mut cluster.connect(1), 2_000);
    let mut bare = stream(cluster.address(1));
    bare.write_all(b"PING\r\n").unwrap();
    let () = connect(cluster.address(1)).set("a", "b").unwrap();
}

#[test]
fn a_node_that_is_killed_is_evicted_by_its_peers_and_all_that_was_ok_is_there() {
    let mut cluster = Cluster::start(4, &["--evict-after", "3"]);
    fill(&cluster, 0, 2_000);
    cluster.nodes[3].kill();
    // Another one that a busy machine kept silent may have been evicted too, and be there anew.
    eventually("a final ring without n4", || {
        let ring = ring(0, &cluster)?;
        let is_there = members(&ring).iter().any(|(id, _)| id == "n4");
        (ring["joint"] == false && !is_there).then_some(())
    });
    for node in 0..3 {
        has_all(&mut cluster.connect(node), 2_000);
    }
}

#[test]
fn a_leave_that_would_take_the_cluster_below_r_is_refused_with_what_to_do() {
    let cluster = Cluster::start(3, &[]);
    let at = cluster.address(0).to_string();
    let (code, _, why) = orrery(&["leave", "n3", "--connect", &at]);
    assert_eq!(code, Some(1));
    let wanted = "only 2 members would stay, and each key is on 3: add a member first";
    assert!(why.contains(wanted), "{why}");
    has_members(&cluster, 0, &["n1", "n2", "n3"]);
}

#[test]
fn of_two_members_the_one_that_stays_is_told_why_nothing_happens_and_how_to_go_on() {
    let mut cluster = Cluster::start(2, &[]);
    fill(&cluster, 0, 500);
    cluster.nodes[1].kill();
    let at = cluster.address(0).to_string();
    let (code, _, why) = orrery(&["put", "a", "b", "--connect", &at]);
    assert_eq!(code, Some(1));
    assert!(why.starts_with("error: TIMEOUT "), "{why}");
    let args = ["evict", "n2", "--connect", &at].map(String::from);
    let mut evict = Process::start("evict", &args);
    evict.logs("1 of 2 members seem alive, and a majority has to decide");
    evict.logs("orrery evict n2 --accept-loss goes on without what only they held");
    assert!(!evict.has_ended());
    let told = ask(&cluster, 0, &["evict", "n2", "--accept-loss"]);
    assert!(told.contains("its members: n1"), "{told}");
    assert!(told.contains("What only n2 held is lost"), "{told}");
    assert!(told.contains("Never start n2 again"), "{told}");
    // Whoever waited sees it too.
    assert_eq!(evict.wait().code(), Some(0));
    has_members(&cluster, 0, &["n1"]);
    has_all(&mut cluster.connect(0), 500);
    let (code, _, why) = orrery(&["put", "a", "b", "--connect", &at]);
    assert_eq!(code, Some(0), "{why}");
}

#[test]
fn a_leave_while_a_join_is_under_way_comes_after_it() {
    let mut cluster = Cluster::start(5, &["--evict-after", "0"]);
    fill(&cluster, 0, 500);
    // Of some slots two of three owners are silent: the join does not end.
    cluster.nodes[3].signal(Signal::STOP);
    cluster.nodes[4].signal(Signal::STOP);
    let mut joiner = cluster.joiner(5, 0);
    assert_eq!(serves(&mut joiner), "n6");
    let at = cluster.address(1).to_string();
    let args = ["leave", "n1", "--connect", &at].map(String::from);
    let mut leave = Process::start("leave", &args);
    leave.logs("another change is under way: n1 leaves after it");
    cluster.nodes[3].signal(Signal::CONT);
    cluster.nodes[4].signal(Signal::CONT);
    assert_eq!(leave.wait().code(), Some(0));
    assert_eq!(cluster.nodes[0].wait().code(), Some(0));
    has_members(&cluster, 1, &["n2", "n3", "n4", "n5", "n6"]);
    has_all(&mut cluster.connect(5), 500);
}
