//! The publication of a ring, against requests in flight.

use loom::thread;

use super::{Setup, TestNode, explore, next, put};
use crate::core::{
    env::Note,
    message::{Body, KeyAnswer, KeyRequest, ShardBody},
    quorum::Level,
    shard::Shard,
    types::{Epoch, OpId},
};

/// The epochs of the messages of a kind, in their order.
fn epochs(node: &TestNode, is_it: impl Fn(&Body) -> bool) -> Vec<u64> {
    let sent = |log: &super::Log| -> Vec<u64> {
        log.messages
            .iter()
            .filter(|(_, said)| is_it(&said.body))
            .map(|(_, said)| said.epoch.0)
            .collect()
    };
    node.log(sent)
}

fn is_write(body: &Body) -> bool {
    matches!(body, Body::KeyRequest(KeyRequest::Write { .. }))
}

#[test]
fn loom_an_answer_of_the_old_epoch_is_never_counted_on_the_new_ring() {
    let setup = Setup::new(2, 1);
    explore("ring, a request and an old answer", move || {
        let (node, op) = (setup.node(), setup.first_op(0));
        let (asker, request) = (node.clone(), put(&setup.key(0), Level::All));
        let asker = thread::spawn(move || asker.ask(1, request));
        let (installer, ring) = (node.clone(), setup.next_ring());
        let installer = thread::spawn(move || installer.install(ring));
        node.hear(1, KeyAnswer::Written { op, again: false, newer: None });
        asker.join().unwrap();
        installer.join().unwrap();
        let rounds = epochs(&node, is_write);
        let restarted = node.log(|log| log.notes.contains(&Note::Restarted));
        match node.answered().as_slice() {
            [1] => assert!(rounds == [1] && !restarted, "answered on {rounds:?}"),
            [] => finish(&node, op, &rounds, restarted),
            more => panic!("{more:?}"),
        }
    });
}

/// A request that is not answered waits for a round that the other owner was asked for.
fn finish(node: &TestNode, op: OpId, rounds: &[u64], restarted: bool) {
    let mut rounds = rounds.to_vec();
    // Two threads flushed: the messages may leave in any order, and each has its shard's epoch.
    rounds.sort_unstable();
    assert_eq!(rounds, if restarted { vec![1, 2] } else { vec![2] });
    node.hear(2, KeyAnswer::Written { op, again: false, newer: None });
    assert_eq!(node.answered(), [1]);
}

#[test]
fn loom_epochs_never_go_backwards() {
    let setup = Setup::new(2, 2);
    explore("ring, two installed", move || {
        let node = setup.node();
        let second = setup.next_ring();
        let third = next(&second);
        let installers = [second, third].map(|ring| {
            let node = node.clone();
            thread::spawn(move || node.install(ring))
        });
        let before = node.inspect(1, Shard::epoch);
        let after = node.inspect(1, Shard::epoch);
        assert!(before <= after, "{before:?}, {after:?}");
        installers.into_iter().for_each(|installer| installer.join().unwrap());
        assert_eq!((node.ring().epoch(), node.oldest_epoch()), (Epoch(3), Epoch(3)));
    });
}

#[test]
fn loom_a_message_of_the_next_epoch_is_taken_at_that_epoch_or_not_at_all() {
    let (from, to) = (Setup::new(2, 1), Setup::new(2, 1));
    explore("ring, a message ahead of it", move || {
        let node = to.node();
        let peer = from.node();
        peer.install(from.next_ring());
        peer.ask(1, put(&from.key(0), Level::One));
        let write = peer.log(|log| log.messages[0].1.body.clone());
        let deliverer = node.clone();
        let deliverer = thread::spawn(move || deliverer.hear(2, write));
        let (installer, ring) = (node.clone(), to.next_ring());
        let installer = thread::spawn(move || installer.install(ring));
        node.ask(2, put(&to.key(0), Level::All));
        deliverer.join().unwrap();
        installer.join().unwrap();
        let acknowledged = epochs(&node, |body| {
            matches!(body, Body::Shard(ShardBody::KeyAnswer(KeyAnswer::Written { .. })))
        });
        let behind = node.log(|log| log.notes.contains(&Note::Behind));
        assert_eq!(acknowledged, if behind { vec![] } else { vec![2] });
        assert_eq!(node.oldest_epoch(), Epoch(2));
    });
}
