//! The gate: no effect leaves before what it rests on is durable ([`super::Log::check`] looks at each),
//! and none stays behind.

use loom::thread;

use super::{EVERYTHING, Setup, explore, get, put};
use crate::core::{
    message::{Body, KeyRequest, TopologyBody},
    quorum::Level,
    types::Epoch,
};

#[test]
fn loom_a_reply_leaves_with_the_journal_or_after_it_but_leaves() {
    let setup = Setup::new(1, 1);
    explore("gate, a write and its journal", move || {
        let node = setup.slow_node();
        let (writer, request) = (node.clone(), put(&setup.key(0), Level::One));
        let writer = thread::spawn(move || writer.ask(1, request));
        node.journal_reaches_all();
        // The last move of the journal meets the write wherever it is, and nothing follows it.
        node.journal_reaches(EVERYTHING);
        writer.join().unwrap();
        assert_eq!(node.answered(), [1]);
    });
}

#[test]
fn loom_a_read_never_shows_a_write_that_a_crash_takes_back() {
    let setup = Setup::new(1, 1);
    explore("gate, a read behind a write", move || {
        let (node, key) = (setup.slow_node(), setup.key(0));
        let (writer, request) = (node.clone(), put(&key, Level::One));
        let writer = thread::spawn(move || writer.ask(1, request));
        let mover = node.clone();
        let mover = thread::spawn(move || mover.journal_reaches(EVERYTHING));
        node.ask(2, get(&key, Level::One));
        writer.join().unwrap();
        mover.join().unwrap();
        assert_eq!(node.answered(), [1, 2]);
    });
}

#[test]
fn loom_two_threads_that_drain_the_gate_leave_nothing_behind_and_send_nothing_twice() {
    let setup = Setup::new(1, 1);
    explore("gate, two drain it", move || {
        let (node, key) = (setup.slow_node(), setup.key(0));
        node.ask(1, put(&key, Level::One));
        let mover = node.clone();
        // Up to what the first write appended, and beyond everything.
        let mover = thread::spawn(move || mover.journal_reaches(3));
        let other = node.clone();
        let other = thread::spawn(move || other.journal_reaches(EVERYTHING));
        node.ask(2, put(&key, Level::One));
        mover.join().unwrap();
        other.join().unwrap();
        assert_eq!(node.answered(), [1, 2]);
    });
}

#[test]
fn loom_an_owner_acknowledges_only_what_its_journal_holds() {
    let (from, to) = (Setup::new(2, 1), Setup::new(2, 1));
    explore("gate, a delivery and its journal", move || {
        let node = to.slow_node();
        // What a peer's coordinator sends.
        let peer = from.node();
        peer.ask(1, put(&from.key(0), Level::One));
        let write = peer.log(|log| log.messages[0].1.body.clone());
        let deliverer = node.clone();
        let deliverer = thread::spawn(move || deliverer.hear(1, write));
        let reader = node.clone();
        let read = KeyRequest::Read { op: to.first_op(0), key: to.key(0) };
        let reader = thread::spawn(move || reader.hear(1, read));
        node.journal_reaches(EVERYTHING);
        deliverer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(node.log(|log| log.messages.len()), 2, "an acknowledgement and what was found");
    });
}

/// A ring that is installed while its journal is slow, and a peer that says something meanwhile.
fn a_ring_and_its_journal(name: &str, setup: Setup, said: Body) {
    explore(name, move || {
        let node = setup.slow_node();
        let (installer, ring) = (node.clone(), setup.next_ring());
        let installer = thread::spawn(move || installer.install(ring));
        let mover = node.clone();
        let mover = thread::spawn(move || mover.journal_reaches(EVERYTHING));
        node.hear(1, said.clone());
        installer.join().unwrap();
        mover.join().unwrap();
        assert_eq!(node.oldest_epoch(), Epoch(2));
        assert_eq!(node.log(|log| log.messages.len()), 1);
    });
}

#[test]
fn loom_a_shard_answers_at_a_new_epoch_only_once_its_ring_is_durable() {
    let setup = Setup::new(2, 1);
    let read = KeyRequest::Read { op: setup.first_op(0), key: setup.key(0) };
    a_ring_and_its_journal("gate, a ring and a read", setup, read.into());
}

#[test]
fn loom_the_topology_shows_a_ring_only_once_it_is_durable() {
    let setup = Setup::new(2, 1);
    a_ring_and_its_journal(
        "gate, a ring and who asks for it",
        setup,
        TopologyBody::RingRequest.into(),
    );
}
