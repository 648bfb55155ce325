//! The locks of the machines: nobody waits for ever, nothing is lost.

use loom::thread;

use super::{PEER, Setup, explore, get, put};
use crate::core::{
    env::Reply,
    message::{Body, KeyRequest, ShardBody, SlotsRequest, TopologyBody},
    quorum::Level,
    shard::Shard,
    types::Epoch,
};

#[test]
fn loom_two_shards_serve_two_threads_while_a_message_is_for_both() {
    let setup = Setup::new(2, 2);
    explore("locks, two shards", move || {
        let node = setup.node();
        let writers = [0, 1].map(|shard| {
            let (node, request) = (node.clone(), put(&setup.key(shard), Level::One));
            thread::spawn(move || node.ask(u64::from(shard), request))
        });
        let request = SlotsRequest::Digests { shards: 1, pass: 1, digests: Vec::new() };
        node.hear(1, ShardBody::SlotsRequest { shard: 0, request });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(node.answered(), [0, 1]);
        let held = [0, 1].map(|shard| node.inspect(shard, |shard| shard.counts().0));
        let is_write = |body: &Body| matches!(body, Body::KeyRequest(KeyRequest::Write { .. }));
        let sent = node.log(|log| {
            log.messages.iter().filter(|(to, said)| *to == PEER && is_write(&said.body)).count()
        });
        assert_eq!((held, sent), ([1, 1], 2));
    });
}

#[test]
fn loom_two_writes_and_a_read_of_one_key_have_an_order() {
    let setup = Setup::new(1, 1);
    explore("locks, one key", move || {
        let (node, key) = (setup.node(), setup.key(0));
        let writers = [0, 1].map(|id| {
            let (node, request) = (node.clone(), put(&key, Level::One));
            thread::spawn(move || node.ask(id, request))
        });
        node.ask(2, get(&key, Level::One));
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let (mut written, mut found) = (Vec::new(), None);
        node.log(|log| {
            for (_, reply) in &log.replies {
                match reply {
                    Reply::Written(version) => written.push(*version),
                    Reply::Found(record) => found = record.as_ref().map(|record| record.version),
                    Reply::Failed(why) => panic!("{why}"),
                }
            }
        });
        assert!(written.len() == 2 && written[0] != written[1], "{written:?}");
        assert!(found.is_none_or(|version| written.contains(&version)));
        assert_eq!(
            node.inspect_key(&key, |s| s.version(key.as_str())),
            written.iter().max().copied()
        );
    });
}

#[test]
fn loom_the_shards_and_the_topology_never_wait_for_each_other() {
    let setup = Setup::new(2, 1);
    explore("locks, a shard and the topology", move || {
        let node = setup.node();
        let (asker, request) = (node.clone(), put(&setup.key(0), Level::One));
        let asker = thread::spawn(move || asker.ask(1, request));
        let (installer, ring) = (node.clone(), setup.next_ring());
        let installer = thread::spawn(move || installer.install(ring));
        // A peer that asks for the ring, and one that looks at both.
        node.hear(1, TopologyBody::RingRequest);
        let seen = node.inspect(0, Shard::epoch);
        assert!(seen <= node.ring().epoch());
        asker.join().unwrap();
        installer.join().unwrap();
        assert_eq!((node.answered(), node.oldest_epoch()), (vec![1], Epoch(2)));
    });
}
