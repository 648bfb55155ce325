//! The fuzz corpora, replayed without a fuzzer, and what is near to our own encodings.

use std::{fs, path::Path};

use kv::{
    core::{
        message::{
            Body, Compared, KeyAnswer, KeyRequest, Message, Paxos, Range, ShardBody, SlotsAnswer,
            SlotsRequest, TopologyBody,
        },
        record::{Record, Version},
        ring::{RING_SIZE, Ring},
        time::{Micros, Timestamp},
        types::{Ballot, Epoch, Key, NodeId, OpId, Slot, Value},
    },
    wire::{self, Greeting, Hello, Join, Purpose},
};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

#[test]
fn every_file_of_every_corpus_passes_its_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, body) in tests::fuzz::TARGETS {
        let folder = corpora.join(name);
        let mut files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            println!("{}", file.display());
            body(&fs::read(&file).unwrap());
        }
    }
}

/// What a fuzzer would try for a moment, in every run the same.
#[test]
fn journals_are_recovered_or_refused_however_they_are_damaged() {
    let mut random = ChaCha8Rng::seed_from_u64(14);
    for _ in 0..6_000 {
        let mut data = vec![0; random.random_range(1..400)];
        random.fill_bytes(&mut data);
        // Where it fails, this is the corpus' next file.
        let shown = std::panic::catch_unwind(|| tests::fuzz::journal(&data));
        assert!(shown.is_ok(), "{data:?}");
    }
}

/// The content of the one frame that something is encoded as.
fn content(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    let (content, used) = wire::frame(&bytes).unwrap().expect("a frame");
    assert_eq!(used, bytes.len());
    content.to_vec()
}

fn ring() -> Ring {
    let addresses: Vec<String> = (1..=3).map(|node| format!("node{node}:17001")).collect();
    Ring::form(&addresses, 3, 8).unwrap()
}

fn messages() -> Vec<Message> {
    let op = OpId { shard: 3, sequence: 300 };
    let version = Version { timestamp: Timestamp::from_micros(1_000_000), node: NodeId(2) };
    let record = |text: Option<&str>| Record { version, value: text.map(Value::trusted) };
    let key = || Key::trusted("é{tag}");
    let ballot = Ballot { round: 1, node: NodeId(2) };
    let range =
        Range { slot: Slot(1), after: None, upto: Some(key()), versions: vec![(key(), version)] };
    let compared = Compared {
        slot: Slot(1),
        after: None,
        upto: Some(key()),
        is_last: false,
        records: vec![(key(), record(Some("newer")))],
        want: vec![Key::trusted("")],
    };
    let digests = vec![(Slot(1), u64::MAX), (Slot(2), 0)];
    let ask = |request| ShardBody::SlotsRequest { shard: 0, request }.into();
    let answer = |answer| ShardBody::SlotsAnswer { shard: 0, answer }.into();
    let bodies: [Body; 19] = [
        KeyRequest::Write { op, again: false, key: key(), record: record(Some("value")) }.into(),
        KeyRequest::Write { op, again: true, key: key(), record: record(None) }.into(),
        KeyAnswer::Written { op, again: false, newer: Some(version) }.into(),
        KeyAnswer::Written { op, again: true, newer: None }.into(),
        KeyRequest::Read { op, key: key() }.into(),
        KeyAnswer::Found { op, record: Some(record(None)) }.into(),
        KeyAnswer::Fenced { op }.into(),
        ask(SlotsRequest::Digests { shards: 8, pass: 1, digests }),
        answer(SlotsAnswer::Differ { pass: 1, part: 7, parts: 8, slots: vec![(Slot(1), 300)] }),
        ask(SlotsRequest::Versions { pass: 1, ranges: vec![range] }),
        answer(SlotsAnswer::Newer { pass: 1, parts: vec![compared] }),
        ShardBody::Delta { slot: Slot(RING_SIZE - 1), records: vec![(key(), record(Some("")))] }
            .into(),
        ShardBody::Probe { shard: 0, sent: Micros(1) }.into(),
        ShardBody::ProbeReply { shard: 0, sent: Micros(1), now: version.timestamp }.into(),
        Paxos::Refused { ballot, promised: ballot }.into(),
        TopologyBody::RingRequest.into(),
        TopologyBody::Ring(ring().into()).into(),
        TopologyBody::IsNewest { era: 1 }.into(),
        TopologyBody::Newest { era: u64::MAX }.into(),
    ];
    bodies.into_iter().map(|body| Message { epoch: Epoch(1), body }).collect()
}

/// What nodes say, and what is near to it, by the names of the files from which a fuzzer starts.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let address = "h1:7000".to_string();
    let (cluster, from, to) = (ring().cluster(), NodeId(1), NodeId(2));
    let hello = Hello { cluster, from, to, instance: 3, address, client: "c:1".into() };
    let hello = content(|out| wire::encode(&Greeting::new(Purpose::Link(hello)), out));
    let said =
        |body| content(|out| wire::encode_messages(&[Message { epoch: Epoch(1), body }], out));
    let (op, key) = (OpId { shard: 2, sequence: 1 }, Key::trusted("a"));
    let read = said(KeyRequest::Read { op, key: key.clone() }.into());
    let latest = Version { timestamp: Timestamp(u64::MAX), node: NodeId(1) };
    let record = Record { version: latest, value: Some(Value::trusted("v")) };
    let write = said(KeyRequest::Write { op, again: false, key, record }.into());
    // A number of one byte, made two: after the magic bytes the version of the protocol, and an epoch.
    let longer =
        |bytes: &[u8], at: usize| [&bytes[..at], &[bytes[at] | 0x80, 0], &bytes[at + 1..]].concat();
    vec![
        ("hello-longer-than-need-be", longer(&hello, 4)),
        ("hello-with-a-tail", [&hello[..], &[0]].concat()),
        ("hello", hello),
        ("read-longer-than-need-be", longer(&read, 0)),
        ("read", read),
        ("write-latest", write),
        ("ring", content(|out| wire::encode(&ring(), out))),
        ("all-messages", content(|out| wire::encode_messages(&messages(), out))),
    ]
}

/// `RENEW_SEEDS=1` writes them anew, after a change of the protocol.
#[test]
fn a_fuzzer_of_the_peers_protocol_starts_from_what_is_said_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/wire");
    for (name, bytes) in seeds() {
        let file = folder.join(name);
        if std::env::var_os("RENEW_SEEDS").is_some() {
            fs::write(&file, &bytes).unwrap();
        }
        assert_eq!(fs::read(&file).unwrap(), bytes, "{name} is old: run this with RENEW_SEEDS=1");
    }
}

#[test]
fn what_peers_say_is_decoded_or_refused_whatever_byte_is_wrong() {
    let address = "node1:17001".to_string();
    let (cluster, from, to) = (ring().cluster(), NodeId(1), NodeId(2));
    let hello =
        Hello { cluster, from, to, instance: 3, address: address.clone(), client: "c:1".into() };
    let hello = Greeting::new(Purpose::Link(hello));
    let join = Greeting::new(Purpose::Join(Join { address, client: "c:1".into(), instance: 3 }));
    let messages = messages();
    let encodings = [
        content(|out| wire::encode(&hello, out)),
        content(|out| wire::encode(&ring(), out)),
        content(|out| wire::encode_messages(&messages, out)),
        content(|out| wire::encode(&join, out)),
    ];
    assert_eq!(wire::decode_greeting(&encodings[0]).unwrap(), hello);
    assert_eq!(wire::decode_greeting(&encodings[3]).unwrap(), join);
    assert_eq!(wire::decode::<Ring>(&encodings[1]).unwrap(), ring());
    assert_eq!(wire::decode_messages(&encodings[2]).unwrap(), messages);
    for bytes in encodings {
        for place in 0..bytes.len() {
            tests::fuzz::wire(&bytes[..place]);
            let mut changed = bytes.clone();
            for byte in 0..=u8::MAX {
                changed[place] = byte;
                tests::fuzz::wire(&changed);
            }
        }
    }
}

#[test]
fn what_clients_say_is_a_command_or_an_error_whatever_byte_is_wrong() {
    let mut bytes = vec![7];
    kv::resp::reply::command(&mut bytes, &["SET", "key", "value"]);
    kv::resp::reply::command(&mut bytes, &["CONSISTENCY", "READ", "one"]);
    bytes.extend_from_slice(b"get key\r\n");
    for place in 0..bytes.len() {
        tests::fuzz::resp(&bytes[..place]);
        let mut changed = bytes.clone();
        for byte in 0..=u8::MAX {
            changed[place] = byte;
            tests::fuzz::resp(&changed);
        }
    }
}
