//! The queues to peers and to sessions, and their wake-ups.

use std::{future::poll_fn, sync::Arc};

use loom::{future::block_on, thread};

use super::{Session, explore};
use crate::{
    core::{
        env::{Failure, Reply},
        ring::Ring,
        types::{NodeId, RequestId},
    },
    node::{
        delivery::{Directory, SessionRequest, Sessions},
        queue::Queue,
    },
};

/// Takes what is there, or waits. False when it was told to end.
fn take<T>(queue: &Queue<T>, into: &mut Vec<T>) -> bool {
    let mut taken = Vec::new();
    let open = block_on(poll_fn(|cx| queue.poll_take(cx, &mut taken)));
    into.append(&mut taken);
    open
}

#[test]
fn loom_a_taker_gets_all_that_is_pushed_in_its_order() {
    explore("queue, one pushes and one takes", || {
        let queue = Arc::new(Queue::new(8));
        let pusher = queue.clone();
        let pusher = thread::spawn(move || (1..4).for_each(|item| pusher.push_all([item])));
        let mut taken = Vec::new();
        while taken.len() < 3 {
            assert!(take(&queue, &mut taken));
        }
        pusher.join().unwrap();
        assert_eq!(taken, [1, 2, 3]);
    });
}

#[test]
fn loom_what_two_threads_push_is_taken_once() {
    explore("queue, two push and one takes", || {
        let queue = Arc::new(Queue::new(8));
        let pushers = [[1, 2], [11, 12]].map(|items| {
            let queue = queue.clone();
            thread::spawn(move || queue.push_all(items))
        });
        let mut taken = Vec::new();
        while taken.len() < 4 {
            assert!(take(&queue, &mut taken));
        }
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        assert!([[1, 2, 11, 12], [11, 12, 1, 2]].contains(&taken.try_into().unwrap()));
    });
}

#[test]
fn loom_a_full_queue_counts_what_it_drops_and_still_wakes() {
    explore("queue, full", || {
        let queue = Arc::new(Queue::new(1));
        let pushers = [[1, 2], [11, 12]].map(|items| {
            let queue = queue.clone();
            thread::spawn(move || queue.push_all(items))
        });
        let mut taken = Vec::new();
        assert!(take(&queue, &mut taken));
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        queue.push_all([21]);
        assert!(take(&queue, &mut taken));
        assert_eq!(taken.len() as u64 + queue.dropped(), 5);
    });
}

#[test]
fn loom_what_is_pushed_after_a_queue_was_cleared_arrives() {
    explore("queue, cleared", || {
        let queue = Arc::new(Queue::new(8));
        let pusher = queue.clone();
        let pusher = thread::spawn(move || [1, 2].into_iter().for_each(|i| pusher.push_all([i])));
        // As a link does that comes up: what waited is old.
        queue.clear();
        queue.push_all([3]);
        let mut taken = Vec::new();
        while !taken.contains(&3) {
            assert!(take(&queue, &mut taken));
        }
        pusher.join().unwrap();
        queue.push_all([4]);
        assert!(take(&queue, &mut taken));
        taken.retain(|item| *item != 3);
        let expected: [&[i32]; 3] = [&[1, 2, 4], &[2, 4], &[4]];
        assert!(expected.contains(&taken.as_slice()), "{taken:?}");
    });
}

#[test]
fn loom_a_taker_is_told_once_to_end_and_takes_what_comes_later() {
    explore("queue, closed", || {
        let queue = Arc::new(Queue::new(8));
        let (pusher, closer) = (queue.clone(), queue.clone());
        let pusher = thread::spawn(move || pusher.push_all([1, 2]));
        let closer = thread::spawn(move || closer.close());
        let (mut taken, mut told) = (Vec::new(), 0);
        while taken.len() < 2 || told == 0 {
            told += usize::from(!take(&queue, &mut taken));
        }
        pusher.join().unwrap();
        closer.join().unwrap();
        queue.close();
        queue.push_all([3]);
        assert!(take(&queue, &mut taken));
        assert_eq!((taken, told), (vec![1, 2, 3], 1));
    });
}

const REPLY: Reply = Reply::Failed(Failure::Busy);

fn answer(session: u32, sequence: u32) -> (RequestId, Reply) {
    (SessionRequest { session, sequence }.id(), REPLY)
}

#[test]
fn loom_answers_of_two_threads_reach_their_sessions_once() {
    explore("sessions, two answer", || {
        let sessions = Arc::new(Sessions::default());
        let (first, of_first) = sessions.open(8);
        let (second, of_second) = sessions.open(8);
        let (one, other) = (sessions.clone(), sessions.clone());
        let answers = vec![answer(first, 1), answer(second, 1)];
        let one = thread::spawn(move || one.answer(answers));
        let other = thread::spawn(move || other.answer(vec![answer(first, 11)]));
        let mut taken = [Vec::new(), Vec::new()];
        assert!(take(&of_first, &mut taken[0]));
        one.join().unwrap();
        other.join().unwrap();
        while taken[0].len() < 2 {
            assert!(take(&of_first, &mut taken[0]));
        }
        assert!(take(&of_second, &mut taken[1]));
        let mut sequences = taken.map(|of| of.iter().map(|(at, _)| *at).collect::<Vec<_>>());
        sequences.iter_mut().for_each(|of| of.sort_unstable());
        assert_eq!(sequences, [vec![1, 11], vec![1]]);
    });
}

#[test]
fn loom_a_late_answer_of_a_closed_session_reaches_no_other() {
    explore("sessions, closed and opened", || {
        let sessions = Arc::new(Sessions::default());
        let (first, _) = sessions.open(8);
        let (answerer, closer) = (sessions.clone(), sessions.clone());
        let answerer = thread::spawn(move || {
            answerer.answer(vec![answer(first, 1), answer(first + 1, 2)]);
        });
        let closer = thread::spawn(move || closer.close(first));
        let (second, answers) = sessions.open(8);
        answerer.join().unwrap();
        closer.join().unwrap();
        sessions.answer(vec![answer(second, 3)]);
        let mut taken = Vec::new();
        assert!(take(&answers, &mut taken));
        let sequences: Vec<u32> = taken.iter().map(|(sequence, _)| *sequence).collect();
        assert!([[2, 3].as_slice(), &[3]].contains(&sequences.as_slice()), "{sequences:?}");
        assert_eq!(sessions.counts(), (1, 2));
    });
}

#[test]
fn loom_a_session_that_opens_while_all_are_asked_to_end_is_asked_too() {
    explore("sessions, opened while they drain", || {
        let sessions = Arc::new(Sessions::default());
        let drainer = sessions.clone();
        let drainer = thread::spawn(move || drainer.drain());
        let (number, answers) = sessions.open(8);
        let mut session = Session { number, answers, got: Vec::new(), ends: false };
        sessions.answer(vec![answer(number, 1)]);
        while !session.ends || session.got.is_empty() {
            session.wait();
        }
        drainer.join().unwrap();
    });
}

#[test]
fn loom_a_new_peer_is_given_to_the_one_who_sends_to_it() {
    explore("peers, one of a ring and a stranger", || {
        let addresses = ["h1:1", "h2:1"].map(String::from);
        let ring = Ring::form(&addresses, 1, 4).unwrap();
        let directory = Arc::new(Directory::new(NodeId(1), 8));
        let (adopter, meeter) = (directory.clone(), directory.clone());
        let adopter = thread::spawn(move || adopter.adopt(&ring));
        let meeter = thread::spawn(move || assert!(meeter.meet(NodeId(3), "h3:1")));
        let mut given = Vec::new();
        while given.len() < 2 {
            given.extend(block_on(poll_fn(|cx| directory.poll_new(cx))));
        }
        adopter.join().unwrap();
        meeter.join().unwrap();
        let mut ids: Vec<u32> = given.iter().map(|(id, _)| id.0).collect();
        ids.sort_unstable();
        assert_eq!(ids, [2, 3]);
    });
}

#[test]
fn loom_a_peer_that_joins_while_it_is_forgotten_is_sent_to() {
    explore("peers, forgotten and adopted", || {
        let addresses = ["h1:1", "h2:1"].map(String::from);
        let ring = Ring::form(&addresses, 1, 4).unwrap();
        let directory = Arc::new(Directory::new(NodeId(1), 8));
        assert!(directory.meet(NodeId(2), "h2:1"));
        let given = block_on(poll_fn(|cx| directory.poll_new(cx)));
        let adopter = directory.clone();
        let adopter = thread::spawn(move || adopter.adopt(&ring));
        if directory.forget(given[0].0, &given[0].1) {
            let again = block_on(poll_fn(|cx| directory.poll_new(cx)));
            assert_eq!(again[0].0, NodeId(2));
        }
        adopter.join().unwrap();
        assert_eq!(directory.peers()[&NodeId(2)].address, "h2:1");
    });
}
