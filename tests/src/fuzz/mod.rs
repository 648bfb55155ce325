//! The bodies of the fuzz targets: what a target does with bytes, so that stable Rust can replay the
//! corpora.

mod journal;
mod memory;

use std::collections::BTreeMap;

use kv::{
    core::{
        record::{Record, Version},
        ring::{Ring, slot_of},
        store::Store,
        time::Timestamp,
        types::{Key, Limits, NodeId, Value},
    },
    resp::{
        command::Command,
        frame::{Parsed, Parser},
    },
    wire,
};

pub use self::journal::journal;

/// A target's body.
pub type Body = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Body); 4] =
    [("resp", resp), ("wire", wire), ("store", store), ("journal", journal)];

/// A client's bytes: cut in two anywhere, they give the same commands, and none panics.
pub fn resp(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else { return };
    let cut = usize::from(*cut).min(data.len());
    assert_eq!(commands(&[data]), commands(&[&data[..cut], &data[cut..]]), "a cut at {cut}");
}

fn commands(pieces: &[&[u8]]) -> Vec<String> {
    // So that a fuzzer reaches the bound.
    let (mut parser, mut buffer, mut found) = (Parser::new(4_096), Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.parse(&buffer) {
                Ok(Parsed::Command(used)) => {
                    let command = Command::parse(parser.args(&buffer), &Limits::default());
                    found.push(format!("{command:?}"));
                    buffer.drain(..used);
                }
                Ok(Parsed::Skipped(used, why)) => {
                    found.push(why.to_string());
                    buffer.drain(..used);
                }
                Ok(Parsed::Nothing(used)) => drop(buffer.drain(..used)),
                Ok(Parsed::Incomplete) => break,
                Err(error) => {
                    found.push(error.to_string());
                    return found;
                }
            }
        }
    }
    found
}

/// A peer's bytes: whatever is taken as a greeting, as messages or as a ring is what we would have encoded.
pub fn wire(data: &[u8]) {
    if let Ok(greeting) = wire::decode_greeting(data) {
        let mut bytes = Vec::new();
        wire::encode(&greeting, &mut bytes);
        assert_eq!(contents(&bytes), data);
    }
    if let Ok(messages) = wire::decode_messages(data) {
        let mut bytes = Vec::new();
        wire::encode_messages(&messages, &mut bytes);
        assert_eq!(contents(&bytes), data);
    }
    if let Ok(ring) = wire::decode::<Ring>(data) {
        let mut bytes = Vec::new();
        wire::encode(&ring, &mut bytes);
        assert_eq!(contents(&bytes), data);
        let last = ring.size() - 1;
        assert!(!ring.owners(kv::core::types::Slot(last)).all().is_empty());
    }
}

/// The contents of frames, together.
fn contents(mut frames: &[u8]) -> Vec<u8> {
    let mut contents = Vec::new();
    while let Some((content, used)) =
        wire::frame(frames).expect("we encode no frame that is too long")
    {
        contents.extend_from_slice(content);
        frames = &frames[used..];
    }
    contents
}

/// Operations on a store, four bytes each: it is a map of the newest records.
pub fn store(data: &[u8]) {
    const SIZE: u16 = 8;
    let mut store = Store::new(1);
    let mut model: BTreeMap<String, Record> = BTreeMap::new();
    for step in data.chunks_exact(4) {
        let key = "k".repeat(usize::from(step[0] % 40));
        let version = Version {
            timestamp: Timestamp(u64::from(step[1])),
            node: NodeId(u32::from(step[2] % 4)),
        };
        // A version names one write: the value is a function of it.
        let is_tombstone = step[1] % 5 == 0;
        let text = format!("{version}{}", "v".repeat(usize::from(step[1])));
        let value = (!is_tombstone).then(|| Value::trusted(&text));
        let record = Record { version, value };
        let wins = model.get(&key).is_none_or(|held| version > held.version);
        assert_eq!(store.merge(slot_of(&key, SIZE), &key, &record), wins);
        if wins {
            model.insert(key.clone(), record);
        }
        assert_eq!(store.get(&key).as_ref(), model.get(&key));
    }
    store.check();
    let all: Vec<(Key, Record)> =
        model.iter().map(|(key, record)| (Key::trusted(key), record.clone())).collect();
    assert_eq!(store.records(), all);
}
