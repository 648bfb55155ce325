//! A thread that is stopped with a request in its hands, and the others that go on after the pause.

use loom::thread;

use super::{PEER, Setup, explore, put};
use crate::{
    core::{
        env::{Failure, Reply},
        message::KeyRequest,
        quorum::Level,
        record::{Record, Version},
        time::Timestamp,
        types::{RequestId, Value},
    },
    node::locks::atomic::Ordering::AcqRel,
};

/// Longer than a request may take.
const PAUSE_US: u64 = 2_000_000;

#[test]
fn loom_a_request_of_before_a_pause_never_beats_what_came_after_it() {
    let setup = Setup::new(2, 1);
    explore("pause, a request and what came after", move || {
        let node = setup.node();
        let key = setup.key(0);
        let (asker, request, era) = (node.clone(), put(&key, Level::One), node.era());
        let asker = thread::spawn(move || {
            let mut batch = asker.batch();
            batch.set_era(era);
            asker.request(&mut batch, RequestId(1), request);
            asker.run_and_flush(&mut batch);
        });
        // The pause is over: what was acknowledged by others meanwhile arrives.
        node.ports().clock.fetch_add(PAUSE_US, AcqRel);
        let version = Version { timestamp: Timestamp::from_micros(PAUSE_US), node: PEER };
        let record = Record { version, value: Some(Value::trusted("of meanwhile")) };
        node.hear(
            1,
            KeyRequest::Write { op: setup.first_op(0), again: false, key: key.clone(), record },
        );
        asker.join().unwrap();
        assert!(node.era() > era, "the pause was noticed");
        let answers = node.log(|log| log.replies.clone());
        match answers.as_slice() {
            [(_, Reply::Failed(Failure::Paused))] => {}
            [(_, Reply::Written(old))] => assert!(*old < version, "{old} beats {version}"),
            other => panic!("{other:?}"),
        }
        let held = node.inspect_key(&key, |shard| shard.version(key.as_str()));
        assert_eq!(held, Some(version));
    });
}
