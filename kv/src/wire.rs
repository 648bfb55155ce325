//! What goes over the connection between two nodes: a handshake, then frames of messages.
//!
//! A frame is a length (four bytes, little-endian) and so many bytes. Contents are postcard, of which only
//! what we would have encoded is taken ([`exact`]).

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::core::{
    exact,
    message::{Body, Message},
    ring::{ChangeError, ClusterId, Ring},
    types::{NodeId, is_address},
};

/// The version of all of this. Nodes of different versions do not talk.
pub const PROTOCOL: u16 = 7;
/// The longest frame, in bytes. A ring of 200 members fits, with room to spare.
pub const MAX_FRAME: usize = 1024 * 1024;
/// The longest frame of a handshake, in bytes: a stranger makes us hold no more.
pub const MAX_GREETING: usize = 1_024;
/// The longest address of a peer, in bytes. Host names have at most 253.
pub const MAX_ADDRESS: usize = 300;
/// A frame is closed when it has so many bytes, and the next message begins another.
const FULL_FRAME: usize = 64 * 1024;
/// The first bytes of a connection.
const MAGIC: [u8; 4] = *b"ORRY";

/// The first frame, from the one that connects. What comes after the version is another matter in
/// another version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    magic: [u8; 4],
    /// The sender's [`PROTOCOL`].
    pub protocol: u16,
    /// What the connection is for.
    pub purpose: Purpose,
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Messages from one node to another.
    Link(Hello),
    /// A process wants to be a member.
    Join(Join),
}

impl Greeting {
    /// A greeting of this version.
    pub fn new(purpose: Purpose) -> Self {
        Self { magic: MAGIC, protocol: PROTOCOL, purpose }
    }
}

/// Who wants to send messages to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster that the sender is a member of.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// Whom the sender thinks it talks to.
    pub to: NodeId,
    /// Tells the sender's process from any other.
    pub instance: u64,
    /// Where the sender's peers reach it: answers go there.
    pub address: String,
    /// Where clients reach it.
    pub client: String,
}

/// Who wants to be a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Where its peers will reach it.
    pub address: String,
    /// Where clients will reach it.
    pub client: String,
    /// Tells it from any other process. Not zero.
    pub instance: u64,
}

/// The answer to a greeting. After it only messages follow, from the one that greeted with a hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Go on. Tells the process that answers from any other.
    Accepted(u64),
    /// The connection is closed.
    Refused(Refusal),
    /// The one that wants to join is a member of this ring.
    Member(Arc<Ring>),
    /// It is not decided yet: ask again.
    Wait,
}

/// Why a greeting is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Not our first bytes: no node of Orrery.
    NotOrrery,
    /// Another version of the protocol: this one is spoken here.
    Protocol(u16),
    /// Another cluster: this one is here.
    Cluster(ClusterId),
    /// The sender or the receiver is not who the other thinks.
    Identity,
    /// The sender was known as another process. What that one held in memory is lost.
    Restarted,
    /// There is no place for another member.
    Full(String),
    /// The address of the one that wants to join can be no member's, for this reason.
    Address(String),
    /// The one that was asked is no member itself.
    NotAMember,
    /// The one that was asked cannot connect to the one that wants to join, for this reason.
    Unreachable(String),
    /// The join of this process was given up.
    GivenUp,
}

impl Refusal {
    /// Whether no other member would answer otherwise to one that wants to join, nor the same one later. Whom
    /// a member cannot reach another one may reach: networks heal by and by.
    pub fn is_final(&self) -> bool {
        match self {
            Refusal::Protocol(_)
            | Refusal::Cluster(_)
            | Refusal::Identity
            | Refusal::Restarted
            | Refusal::Full(_)
            | Refusal::Address(_)
            | Refusal::GivenUp => true,
            Refusal::NotOrrery | Refusal::NotAMember | Refusal::Unreachable(_) => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotOrrery => f.write_str("it does not speak Orrery's peer protocol"),
            Refusal::Protocol(ours) => {
                write!(
                    f,
                    "it speaks another version of the peer protocol than {ours}; run one version"
                )
            }
            Refusal::Cluster(ours) => write!(
                f,
                "they belong to different clusters (the one that refuses: {ours}); \
                 --initial-cluster and --replication must be the same on each node that starts a \
                 cluster; to add a node to one that runs, use --join"
            ),
            Refusal::Identity => f.write_str(
                "its id, ours or its address is not the one that the ring gives; \
                 --initial-cluster must be the same on each node, or the ring has changed meanwhile",
            ),
            Refusal::Restarted => f.write_str(
                "it is a restarted process under its old identity: what it had acknowledged was in \
                 memory and is lost, and counting on it would break promises; it joins anew, as \
                 another member",
            ),
            Refusal::Full(why) | Refusal::Address(why) | Refusal::Unreachable(why) => {
                f.write_str(why)
            }
            Refusal::GivenUp => ChangeError::GivenUp.fmt(f),
            Refusal::NotAMember => f.write_str("it is no member of a ring itself; ask a member"),
        }
    }
}

/// Why bytes are refused.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A frame over its limit.
    #[error("a frame of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// What it declares.
        length: usize,
        /// What it may have here.
        limit: usize,
    },
    /// Not what was expected.
    #[error("malformed: {0}")]
    Malformed(#[from] postcard::Error),
}

/// Adds a frame with one value.
pub fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let start = begin(out);
    append(value, out);
    end(start, out);
}

/// Adds as many frames as the messages take.
pub fn encode_messages<'a>(messages: impl IntoIterator<Item = &'a Message>, out: &mut Vec<u8>) {
    let mut messages = messages.into_iter().peekable();
    while messages.peek().is_some() {
        let start = begin(out);
        while out.len() - start < FULL_FRAME
            && let Some(message) = messages.next()
        {
            append(message, out);
        }
        end(start, out);
    }
}

fn begin(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len()
}

fn append<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let taken = std::mem::take(out);
    *out = postcard::to_extend(value, taken).expect("plain data has an encoding");
}

fn end(start: usize, out: &mut [u8]) {
    let length = u32::try_from(out.len() - start).expect("frames are closed early");
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}

/// The first frame of a buffer, and how many bytes it takes. None: it is not complete.
pub fn frame(buffer: &[u8]) -> Result<Option<(&[u8], usize)>, WireError> {
    frame_within(buffer, MAX_FRAME)
}

/// As [`frame`], with another limit than [`MAX_FRAME`].
pub fn frame_within(buffer: &[u8], limit: usize) -> Result<Option<(&[u8], usize)>, WireError> {
    let Some(header) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > limit {
        return Err(WireError::TooLong { length, limit });
    }
    Ok(buffer.get(4..4 + length).map(|frame| (frame, 4 + length)))
}

/// The one value of a frame.
pub fn decode<T: Serialize + DeserializeOwned>(frame: &[u8]) -> Result<T, WireError> {
    Ok(exact::decode(frame)?)
}

/// The greeting in a frame. Looks at the first bytes and at the version before anything else.
pub fn decode_greeting(frame: &[u8]) -> Result<Greeting, Refusal> {
    let not_ours = |_| Refusal::NotOrrery;
    let (magic, rest): ([u8; 4], _) = exact::take(frame).map_err(not_ours)?;
    if magic != MAGIC {
        return Err(Refusal::NotOrrery);
    }
    let (protocol, rest): (u16, _) = exact::take(rest).map_err(not_ours)?;
    if protocol != PROTOCOL {
        return Err(Refusal::Protocol(PROTOCOL));
    }
    let purpose: Purpose = exact::decode(rest).map_err(not_ours)?;
    let (Purpose::Link(Hello { address, client, .. })
    | Purpose::Join(Join { address, client, .. })) = &purpose;
    if address.len() > MAX_ADDRESS || client.len() > MAX_ADDRESS {
        let why = format!("an address has at most {MAX_ADDRESS} bytes");
        return Err(Refusal::Address(why));
    }
    // Clients are told it.
    if !is_address(client) {
        return Err(Refusal::Address(format!("{client:?} is no address for clients")));
    }
    Ok(Greeting { magic, protocol, purpose })
}

/// The messages of a frame.
pub fn decode_messages(mut frame: &[u8]) -> Result<Vec<Message>, WireError> {
    let mut messages = Vec::new();
    while !frame.is_empty() {
        let (message, rest) = exact::take_shortest::<Message>(frame)?;
        if has_ring(&message.body) {
            exact::check(&message, &frame[..frame.len() - rest.len()])?;
        }
        messages.push(message);
        frame = rest;
    }
    Ok(messages)
}

/// Whether there is a map in a message: that of a ring's members. Such messages are rare.
fn has_ring(body: &Body) -> bool {
    match body {
        Body::Topology(body) => body.has_ring(),
        Body::KeyRequest(_) | Body::Shard(_) | Body::Gossip(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::{
        message::{KeyRequest, Paxos, TopologyBody},
        types::{Ballot, Epoch, Key, OpId},
    };

    fn message(sequence: u64) -> Message {
        let read = KeyRequest::Read { op: OpId { shard: 1, sequence }, key: Key::trusted("k") };
        Message { epoch: Epoch(3), body: read.into() }
    }

    #[test]
    fn messages_survive_their_frames() {
        let sent: Vec<Message> = (0..20_000).map(message).collect();
        let mut bytes = Vec::new();
        encode_messages(&sent, &mut bytes);
        let (mut rest, mut found, mut frames) = (&bytes[..], Vec::new(), 0);
        while let Some((content, used)) = frame(rest).unwrap() {
            found.extend(decode_messages(content).unwrap());
            rest = &rest[used..];
            frames += 1;
        }
        assert_eq!((found, rest.len()), (sent, 0));
        assert!(frames > 1, "a long batch is cut into frames");
    }

    #[test]
    fn greetings_that_are_not_ours_are_refused() {
        let address = "h1:1".to_string();
        let (from, to) = (NodeId(1), NodeId(2));
        let hello = Hello {
            cluster: ClusterId(1),
            from,
            to,
            instance: 3,
            address: address.clone(),
            client: "c:1".into(),
        };
        let join = Join { address, client: "c:1".into(), instance: 3 };
        for purpose in [Purpose::Link(hello), Purpose::Join(join)] {
            let greeting = Greeting::new(purpose);
            let mut bytes = Vec::new();
            encode(&greeting, &mut bytes);
            let (content, _) = frame(&bytes).unwrap().unwrap();
            assert_eq!(decode_greeting(content), Ok(greeting.clone()));
            let other = Greeting { protocol: PROTOCOL + 1, ..greeting };
            let bytes = postcard::to_stdvec(&other).unwrap();
            assert_eq!(decode_greeting(&bytes), Err(Refusal::Protocol(PROTOCOL)));
        }
        assert_eq!(decode_greeting(b"GET / HTTP/1.1"), Err(Refusal::NotOrrery));
        let long = || "h".repeat(MAX_ADDRESS + 1);
        for (address, client) in
            [(long(), "c:1".into()), ("h:1".into(), long()), ("h:1".into(), "c".into())]
        {
            let join = Join { address, client, instance: 3 };
            let bytes = postcard::to_stdvec(&Greeting::new(Purpose::Join(join))).unwrap();
            assert!(matches!(decode_greeting(&bytes), Err(Refusal::Address(_))));
        }
    }

    /// The content of the frame that something is encoded as.
    fn content(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        let (content, _) = frame(&bytes).unwrap().unwrap();
        content.to_vec()
    }

    type IsTaken = fn(&[u8]) -> bool;

    /// Each kind of frame, with what says whether it is taken.
    fn frames() -> Vec<(&'static str, Vec<u8>, IsTaken)> {
        let greeting = |frame: &[u8]| decode_greeting(frame).is_ok();
        let welcome = |frame: &[u8]| decode::<Welcome>(frame).is_ok();
        let messages = |frame: &[u8]| decode_messages(frame).is_ok();
        let (address, ring) = ("h1:1".to_string(), ring());
        let hello = Purpose::Link(Hello {
            cluster: ring.cluster(),
            from: NodeId(1),
            to: NodeId(2),
            instance: 300,
            address: address.clone(),
            client: "c1:2".into(),
        });
        let join = Purpose::Join(Join { address, client: "c1:2".into(), instance: 300 });
        let greeted = |purpose| content(|out| encode(&Greeting::new(purpose), out));
        let answered = |answer: Welcome| content(|out| encode(&answer, out));
        let said = |sent: &[Message]| content(|out| encode_messages(sent, out));
        let told = |body| said(&[Message { epoch: Epoch(3), body }]);
        let ballot = Ballot { round: 1, node: NodeId(2) };
        vec![
            ("a hello", greeted(hello), greeting),
            ("a wish to join", greeted(join), greeting),
            ("accepted", answered(Welcome::Accepted(300)), welcome),
            ("refused", answered(Welcome::Refused(Refusal::Full("why".into()))), welcome),
            ("a member's ring", answered(Welcome::Member(ring.clone())), welcome),
            ("wait", answered(Welcome::Wait), welcome),
            ("one message", said(&[message(300)]), messages),
            ("some messages", said(&[message(1), message(300)]), messages),
            ("a ring", told(TopologyBody::Ring(ring.clone()).into()), messages),
            ("a proposal", told(Paxos::Accept { ballot, ring }.into()), messages),
            ("gossip", told(Body::Gossip(vec![1, 2, 3])), messages),
        ]
    }

    fn ring() -> Arc<Ring> {
        let addresses: Vec<String> = (1..=3).map(|node| format!("h{node}:1")).collect();
        Arc::new(Ring::form(&addresses, 3, 64).unwrap())
    }

    #[test]
    fn a_frame_of_any_kind_is_taken_only_as_we_encode_it() {
        for (name, bytes, is_taken) in frames() {
            assert!(is_taken(&bytes), "{name}");
            // A number of one byte, made two. Within text that is none.
            for place in 0..bytes.len() {
                let mut longer = bytes.clone();
                longer[place] |= 0x80;
                longer.insert(place + 1, 0);
                assert!(!is_taken(&longer), "{name}: longer than need be at {place}");
            }
            for tail in 0..=u8::MAX {
                let longer = [&bytes[..], &[tail]].concat();
                assert!(!is_taken(&longer), "{name}: {tail} behind it");
            }
        }
    }

    #[test]
    fn a_ring_with_its_members_in_another_order_is_refused() {
        let body = TopologyBody::Ring(ring()).into();
        let bytes = content(|out| encode_messages(&[Message { epoch: Epoch(3), body }], out));
        let at = |needle: &[u8]| bytes.windows(needle.len()).position(|bytes| bytes == needle);
        // Members are their ids, then their addresses, and all are equally long.
        let [one, two, three] = [b"\x01\x04h1:1", b"\x02\x04h2:1", b"\x03\x04h3:1"];
        let [one, two, three] = [at(one), at(two), at(three)].map(|at| at.expect("a member"));
        assert_eq!(two - one, three - two);
        let (first, second) = (&bytes[one..two], &bytes[two..three]);
        let swapped = [&bytes[..one], second, first, &bytes[three..]].concat();
        let lenient: Message = postcard::from_bytes(&swapped).expect("postcard takes it");
        assert_eq!(lenient, decode_messages(&bytes).unwrap()[0]);
        decode_messages(&swapped).expect_err("it would have been encoded otherwise");
    }

    proptest! {
        #![proptest_config(crate::core::properties::usual())]

        #[test]
        fn any_bytes_are_messages_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = frame(&bytes);
            let _ = decode_messages(&bytes);
            let _ = decode_greeting(&bytes);
        }
    }
}
