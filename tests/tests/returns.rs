//! Processes that come back, or come late: to a cluster that grew, over a network that was broken, to a node
//! that is about to go.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use kv::{
    core::{
        message::{Body, Message, TopologyBody},
        ring::{RING_SIZE, Ring},
        types::{Epoch, NodeId},
    },
    wire::{self, Greeting, Hello, Join, Purpose, Refusal, Welcome},
};
use redis::Commands as _;
use tests::{
    cluster::{Cluster, local, ports_in_a_row, stream},
    process::{PATIENCE, Process, eventually},
    rings::{ask, fill, has_all, has_members, serves},
};

/// What processes that are none tell clients.
const CLIENT: &str = "127.0.0.1:1";

/// Writes frames.
fn write(mut to: &TcpStream, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    to.write_all(&bytes).unwrap();
}

fn greet(to: &TcpStream, purpose: Purpose) {
    write(to, |bytes| wire::encode(&Greeting::new(purpose), bytes));
}

fn welcome(to: &TcpStream, welcome: &Welcome) {
    write(to, |bytes| wire::encode(welcome, bytes));
}

/// The bytes of the next frame.
fn frame(mut from: &TcpStream) -> Vec<u8> {
    let mut header = [0; 4];
    from.read_exact(&mut header).unwrap();
    let mut content = vec![0; u32::from_le_bytes(header) as usize];
    from.read_exact(&mut content).unwrap();
    content
}

/// What somebody connects for.
fn purpose(from: &TcpStream) -> Purpose {
    wire::decode_greeting(&frame(from)).unwrap().purpose
}

/// What a greeting is answered with.
fn answer(from: &TcpStream) -> Welcome {
    wire::decode(&frame(from)).unwrap()
}

/// Asks a member for a place, as a process at this address would: the answer.
fn ask_for_a_place(member: SocketAddr, address: &str, instance: u64) -> Welcome {
    let link = stream(member);
    let address = address.to_string();
    greet(&link, Purpose::Join(Join { address, client: CLIENT.into(), instance }));
    let heard = answer(&link);
    assert!(matches!(heard, Welcome::Accepted(_)), "{heard:?}");
    answer(&link)
}

/// The next connection.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = eventually("a connection", || match listener.accept() {
        Ok(accepted) => Some(accepted),
        Err(why) if why.kind() == ErrorKind::WouldBlock => None,
        Err(why) => panic!("{why}"),
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Listens where somebody listened before.
fn listen_again(address: &str) -> TcpListener {
    eventually("the address is free", || TcpListener::bind(address).ok())
}

#[test]
fn the_only_first_member_of_a_cluster_that_grew_joins_anew_when_it_is_started_again() {
    let mut cluster = Cluster::start(1, &[]);
    let mut others: Vec<Process> = (1..3).map(|number| cluster.joiner(number, 0)).collect();
    others.iter_mut().for_each(|process| drop(serves(process)));
    has_members(&cluster, 0, &["n1", "n2", "n3"]);
    fill(&cluster, 0, 1_000);
    cluster.nodes[0].kill();
    let mut again = cluster.process(0);
    // Who asks it for a place while it knows nothing comes into the cluster, not into a ring of two strangers.
    let mut late = cluster.joiner(3, 0);
    let mut ids = [serves(&mut again), serves(&mut late)];
    ids.sort_unstable();
    assert_eq!(ids, ["n4", "n5"], "it did not serve as n1");
    let log = again.log();
    assert!(log.contains("n1 is alone in its first ring"), "{log}");
    assert!(!log.contains("n1 serves clients"), "{log}");
    for node in 0..4 {
        has_members(&cluster, node, &["n2", "n3", "n4", "n5"]);
        has_all(&mut cluster.connect(node), 1_000);
    }
}

#[test]
fn an_address_that_a_member_cannot_reach_now_is_refused_for_now_and_one_of_its_own_for_good() {
    let cluster = Cluster::start(1, &[]);
    let member = cluster.peer_address(0);
    let address = local(ports_in_a_row(1)).to_string();
    let Welcome::Refused(refusal) = ask_for_a_place(member, &address, 7) else {
        panic!("nobody is there");
    };
    assert!(matches!(&refusal, Refusal::Unreachable(why) if why.contains(&address)), "{refusal:?}");
    assert!(!refusal.is_final());
    let Welcome::Refused(refusal) = ask_for_a_place(member, &member.to_string(), 7) else {
        panic!("the member is there itself");
    };
    assert!(matches!(refusal, Refusal::Address(_)) && refusal.is_final(), "{refusal:?}");
    let _here = listen_again(&address);
    let Welcome::Member(ring) = ask_for_a_place(member, &address, 7) else {
        panic!("it can be reached");
    };
    assert!(ring.members().values().any(|member| member.address == address));
}

#[test]
fn a_process_that_a_member_cannot_reach_asks_on_until_somebody_refuses_it_for_good() {
    let member = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = ports_in_a_row(1);
    let (client, peer) = (local(port).to_string(), local(port + 10_000).to_string());
    let through = member.local_addr().unwrap().to_string();
    let args = ["serve", "--client", &client, "--peer", &peer, "--join", &through];
    let mut process = Process::start("joiner", &args.map(String::from));
    let refuse = |refusal| {
        let link = accept(&member);
        assert!(matches!(purpose(&link), Purpose::Join(join) if join.address == peer));
        welcome(&link, &Welcome::Refused(refusal));
    };
    refuse(Refusal::Unreachable("not from here".into()));
    process.logs("not from here; trying on");
    refuse(Refusal::Address("never".into()));
    process.logs("refuses: never");
    assert_eq!(process.wait().code(), Some(1));
}

#[test]
fn who_joins_asks_all_at_the_same_time_and_waits_for_none_that_is_paused() {
    let members = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = ports_in_a_row(1);
    let (client, peer) = (local(port).to_string(), local(port + 10_000).to_string());
    let all = members.each_ref().map(|member| member.local_addr().unwrap().to_string()).join(",");
    let args = ["serve", "--client", &client, "--peer", &peer, "--join", &all];
    let mut process = Process::start("joiner", &args.map(String::from));
    // The first one does not say a word.
    let paused = accept(&members[0]);
    assert!(matches!(purpose(&paused), Purpose::Join(_)));
    let link = accept(&members[1]);
    assert!(matches!(purpose(&link), Purpose::Join(_)));
    paused.set_nonblocking(true).unwrap();
    let more = (&paused).read(&mut [0; 64]);
    let is_asked = more.as_ref().is_err_and(|why| why.kind() == ErrorKind::WouldBlock);
    assert!(is_asked, "it had given the first one up before: {more:?}");
    welcome(&link, &Welcome::Refused(Refusal::Full("there is no place".into())));
    assert_eq!(process.wait().code(), Some(1));
    assert!(process.log().contains("there is no place"), "{}", process.log());
}

/// Says what a member answers to anybody.
fn ask_for_the_ring(link: &TcpStream) {
    let message = Message { epoch: Epoch(0), body: TopologyBody::RingRequest.into() };
    write(link, |bytes| wire::encode_messages([&message], bytes));
}

#[test]
fn one_who_is_no_member_and_could_not_be_reached_is_answered_when_it_speaks_again() {
    const INSTANCE: u64 = 7;
    let cluster = Cluster::start(2, &[]);
    let addresses: Vec<String> = (0..2).map(|n| cluster.peer_address(n).to_string()).collect();
    let first = Ring::form(&addresses, 3, RING_SIZE).unwrap();
    let address = local(ports_in_a_row(1)).to_string();
    let listener = listen_again(&address);
    // What it says goes over this link all the while.
    let link = stream(cluster.peer_address(0));
    let hello = Hello {
        cluster: first.cluster(),
        from: NodeId(9),
        to: NodeId(1),
        instance: INSTANCE,
        address: address.clone(),
        client: CLIENT.into(),
    };
    greet(&link, Purpose::Link(hello));
    assert!(matches!(answer(&link), Welcome::Accepted(_)));
    let is_answered = |listener: &TcpListener| {
        ask_for_the_ring(&link);
        let answers = accept(listener);
        assert!(matches!(purpose(&answers), Purpose::Link(_)));
        welcome(&answers, &Welcome::Accepted(INSTANCE));
        answers.set_read_timeout(Some(PATIENCE / 100)).unwrap();
        // What waited for the connection may be old, and is dropped.
        eventually("an answer", || {
            ask_for_the_ring(&link);
            answers.peek(&mut [0]).ok()
        });
        answers.set_read_timeout(Some(PATIENCE)).unwrap();
        let messages = wire::decode_messages(&frame(&answers)).unwrap();
        assert!(
            messages
                .iter()
                .any(|message| matches!(message.body, Body::Topology(TopologyBody::Ring(_))))
        );
    };
    is_answered(&listener);
    drop(listener);
    cluster.nodes[0].logs("is no member and cannot be reached: it is left alone");
    is_answered(&listen_again(&address));
}

#[test]
fn nobody_is_taken_into_the_ring_of_a_node_that_is_about_to_join_another_cluster() {
    let alone = Cluster::start(1, &[]);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    ask(&alone, 0, &["join", &elsewhere.local_addr().unwrap().to_string(), "--no-wait"]);
    let asked = accept(&elsewhere);
    let own = alone.peer_address(0).to_string();
    assert!(matches!(purpose(&asked), Purpose::Join(join) if join.address == own));
    welcome(&asked, &Welcome::Accepted(1));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let late = || ask_for_a_place(alone.peer_address(0), &address, 7);
    assert_eq!(late(), Welcome::Wait);
    // There is no place for it, and so it stays.
    welcome(&asked, &Welcome::Refused(Refusal::Full("there is no place".into())));
    alone.nodes[0].logs("there is no place");
    let () = alone.connect(0).set("a", "b").unwrap();
    eventually("a place", || matches!(late(), Welcome::Member(_)).then_some(()));
}
