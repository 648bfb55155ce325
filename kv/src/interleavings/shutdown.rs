//! A server that ends: each session is told, gets what it waits for, and is gone.

use std::{collections::BTreeMap, sync::Arc};

use loom::thread;

use super::{EVERYTHING, ME, Session, Setup, TestNode, explore, put};
use crate::core::{message::KeyAnswer, quorum::Level};

fn drain(node: &Arc<TestNode>) -> thread::JoinHandle<()> {
    let node = node.clone();
    thread::spawn(move || node.sessions().drain())
}

#[test]
fn loom_a_request_that_meets_the_end_is_answered() {
    let setup = Setup::new(1, 1).serving();
    explore("shutdown, a request", move || {
        let node = setup.slow_node();
        let drainer = drain(&node);
        let mover = node.clone();
        let mover = thread::spawn(move || mover.journal_reaches(EVERYTHING));
        let session = Session::open(&node);
        session.ask(&node, 1, put(&setup.key(0), Level::One));
        mover.join().unwrap();
        assert_eq!(session.serve(&node, 1), [1]);
        drainer.join().unwrap();
        assert_eq!(node.sessions().counts(), (0, 1));
    });
}

#[test]
fn loom_a_delivery_that_meets_the_end_answers_its_session() {
    let setup = Setup::new(2, 1).serving();
    explore("shutdown, a delivery", move || {
        let (node, op) = (setup.node(), setup.first_op(0));
        let session = Session::open(&node);
        session.ask(&node, 1, put(&setup.key(0), Level::All));
        let drainer = drain(&node);
        let deliverer = node.clone();
        let deliverer = thread::spawn(move || {
            deliverer.hear(1, KeyAnswer::Written { op, again: false, newer: None })
        });
        assert_eq!(session.serve(&node, 1), [1]);
        drainer.join().unwrap();
        deliverer.join().unwrap();
        // A late answer finds nobody.
        node.hear(1, KeyAnswer::Written { op, again: false, newer: None });
        assert_eq!(node.sessions().counts(), (0, 1));
    });
}

#[test]
fn loom_a_ring_change_that_meets_the_end_answers_what_waited_for_a_member_that_left() {
    let setup = Setup::new(2, 1).serving();
    let alone: BTreeMap<_, _> =
        setup.ring.members().clone().into_iter().filter(|(id, _)| *id == ME).collect();
    let alone = Arc::new(setup.ring.next(alone).expect("a good ring"));
    explore("shutdown, a ring change", move || {
        let node = setup.node();
        let session = Session::open(&node);
        session.ask(&node, 1, put(&setup.key(0), Level::All));
        let drainer = drain(&node);
        let (installer, ring) = (node.clone(), alone.clone());
        let installer = thread::spawn(move || installer.install(ring));
        assert_eq!(session.serve(&node, 1), [1]);
        drainer.join().unwrap();
        installer.join().unwrap();
        assert_eq!(node.sessions().counts(), (0, 1));
    });
}
