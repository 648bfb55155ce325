//! Where clients and peers are told to connect, which may be elsewhere than where a node listens.

use std::net::{SocketAddr, ToSocketAddrs as _};

use redis::Commands as _;
use serde_json::Value;
use tests::{
    cluster::{Cluster, connect, local, ports_in_a_row},
    process::{Process, eventually, orrery},
    rings::{ask, fill, has_all, has_members, ring, serves},
};

/// What a ring says of where clients reach its members.
fn clients(ring: &Value) -> Vec<Option<String>> {
    let members = ring["members"].as_array().expect("members");
    members.iter().map(|member| member["client"].as_str().map(String::from)).collect()
}

/// Waits until a node's ring says where clients reach all of them.
fn has_clients(node: u16, cluster: &Cluster, wanted: &[String]) {
    let mut found = Vec::new();
    eventually(&format!("clients at {wanted:?}"), || {
        found = clients(&ring(node, cluster)?);
        let all: Option<Vec<String>> = found.iter().cloned().collect();
        (all? == wanted).then_some(())
    });
}

#[test]
fn the_ring_says_where_clients_reach_first_members_and_those_that_join() {
    let cluster = Cluster::start(3, &[]);
    fill(&cluster, 0, 500);
    let at = |node| cluster.address(node).to_string();
    let first: Vec<String> = (0..3).map(at).collect();
    for node in 0..3 {
        has_clients(node, &cluster, &first);
    }
    // One change was enough for all of them, and it moved nothing.
    let now = ring(0, &cluster).unwrap();
    assert_eq!((&now["epoch"], &now["joint"]), (&2.into(), &false.into()), "{now}");
    let mut joiner = cluster.joiner(3, 1);
    assert_eq!(serves(&mut joiner), "n4");
    has_members(&cluster, 0, &["n1", "n2", "n3", "n4"]);
    let all: Vec<String> = (0..4).map(at).collect();
    has_clients(0, &cluster, &all);
    let table = ask(&cluster, 2, &["ring"]);
    assert!(all.iter().all(|client| table.contains(client)), "{table}");
    let info = ask(&cluster, 0, &["status"]);
    assert!(info.contains(&format!("client={}", all[3])), "{info}");
    for node in 0..4 {
        has_all(&mut cluster.connect(node), 500);
    }
}

#[test]
fn a_node_that_listens_everywhere_tells_others_where_it_is_reached() {
    let port = ports_in_a_row(2);
    let (client, peer) = (format!("0.0.0.0:{port}"), format!("0.0.0.0:{}", port + 10_000));
    for (args, wanted) in [
        (["--client", &client, "--peer", "127.0.0.1:1"], "add --advertise-client HOST:PORT"),
        (["--client", "[::]:7001", "--peer", "127.0.0.1:1"], "add --advertise-client HOST:PORT"),
        (["--client", "127.0.0.1:0", "--peer", &peer], "add --advertise-peer HOST:PORT"),
        (["--advertise-client", "0.0.0.0:1", "--peer", "127.0.0.1:1"], "not all of them"),
        (["--advertise-peer", "[::]:1", "--peer", "127.0.0.1:1"], "not all of them"),
        (["--advertise-client", "here", "--peer", "127.0.0.1:1"], "a host and a port are wanted"),
    ] {
        let (code, _, why) = orrery(&[&["serve"][..], &args].concat());
        assert_eq!(code, Some(2), "{args:?}: {why}");
        assert!(why.contains(wanted), "{args:?}: {why}");
    }
    let advertised = [local(port), local(port + 10_000)].map(|address| address.to_string());
    let args =
        ["serve", "--client", &client, "--peer", &peer, "--advertise-client", &advertised[0]];
    let args = [&args[..], &["--advertise-peer", &advertised[1]]].concat();
    let args: Vec<String> = args.into_iter().map(String::from).collect();
    let mut first = Process::start("first", &args);
    assert_eq!(serves(&mut first), "n1");
    // It listens at other addresses of the machine too.
    let () = connect(SocketAddr::from(([127, 0, 0, 2], port))).set("a", 1).unwrap();
    // A name is told as it is given, and the port that was free.
    let own = local(port + 10_001).to_string();
    let args = ["serve", "--client", "127.0.0.1:0", "--advertise-client", "localhost:0"];
    let refused = orrery(&[&args[..], &["--peer", &own, "--join", &advertised[1]]].concat());
    assert_eq!(refused.0, Some(2), "{refused:?}");
    let args = ["serve", "--client", "localhost:0", "--peer", &own, "--join", &advertised[1]];
    let mut second = Process::start("second", &args.map(String::from));
    let ready = second.line("ready ").expect("it serves");
    let second_port = ready.split_once(" peer=").unwrap().0.rsplit_once(':').unwrap().1.to_string();
    eventually("both say where clients reach them", || {
        let (_, text, _) = orrery(&["ring", "--json", "--connect", &advertised[0]]);
        let ring: Value = serde_json::from_str(&text).ok()?;
        let wanted = [Some(advertised[0].clone()), Some(format!("localhost:{second_port}"))];
        (clients(&ring) == wanted).then_some(())
    });
}

#[test]
fn a_process_that_comes_back_under_another_name_of_its_address_takes_the_place_of_its_earlier_life()
{
    let mut cluster = Cluster::start(3, &["--evict-after", "0"]);
    fill(&cluster, 0, 1_000);
    let peer = cluster.peer_address(2);
    let other = format!("localhost:{}", peer.port());
    assert!(other.to_socket_addrs().unwrap().any(|address| address == peer), "another name");
    cluster.nodes[2].kill();
    let client = cluster.address(2).to_string();
    let through = cluster.peer_address(0).to_string();
    let args = ["serve", "--client", &client, "--peer", &other, "--join", &through];
    let mut again = Process::start("again", &args.map(String::from));
    assert_eq!(serves(&mut again), "n4");
    has_members(&cluster, 0, &["n1", "n2", "n4"]);
    has_all(&mut cluster.connect(2), 1_000);
    // Nor does it take the place of the one that it asks.
    let own = format!("localhost:{}", cluster.peer_address(1).port());
    let free = ports_in_a_row(1);
    let (client, peer) = (local(free).to_string(), local(free + 10_000).to_string());
    let through = cluster.peer_address(1).to_string();
    let args = ["serve", "--client", &client, "--peer", &peer, "--advertise-peer", &own];
    let (code, _, why) = orrery(&[&args[..], &["--join", &through]].concat());
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("is the address of the member that it asked"), "{why}");
    has_members(&cluster, 0, &["n1", "n2", "n4"]);
}

#[test]
fn a_process_that_says_it_is_at_the_address_of_a_living_member_does_not_take_its_place() {
    let cluster = Cluster::start(2, &[]);
    fill(&cluster, 0, 100);
    has_clients(0, &cluster, &[0, 1].map(|node| cluster.address(node).to_string()));
    let epoch = ring(0, &cluster).unwrap()["epoch"].clone();
    let free = ports_in_a_row(1);
    let (client, peer) = (local(free).to_string(), local(free + 10_000).to_string());
    let (through, theirs) = (cluster.peer_address(0).to_string(), cluster.peer_address(1));
    for theirs in [theirs.to_string(), format!("localhost:{}", theirs.port())] {
        let args = ["serve", "--client", &client, "--peer", &peer, "--advertise-peer", &theirs];
        let args = [&args[..], &["--join", &through]].concat();
        let mut process =
            Process::start("another", &args.into_iter().map(String::from).collect::<Vec<_>>());
        process.logs("n2 is there");
        process.logs("--advertise-peer");
        let now = ring(0, &cluster).unwrap();
        assert_eq!((&now["epoch"], &now["joint"]), (&epoch, &false.into()), "{now}");
        assert!(!process.has_ended(), "the member may be about to end: it asks on");
        process.kill();
    }
    has_all(&mut cluster.connect(0), 100);
}

#[test]
fn a_list_of_first_members_has_no_process_twice_nor_one_port_for_two_things() {
    let port = ports_in_a_row(1);
    let (client, peer) = (local(port).to_string(), local(port + 10_000).to_string());
    let list = format!("{peer},localhost:{}", port + 10_000);
    let args = ["serve", "--client", &client, "--peer", &peer, "--initial-cluster", &list];
    let (code, _, why) = orrery(&args);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("which are one address"), "{why}");
    let (code, _, why) = orrery(&["serve", "--client", &client, "--peer", &client]);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("need a port each"), "{why}");
}
