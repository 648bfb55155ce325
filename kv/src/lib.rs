//! Orrery: a leaderless, replicated key-value store with tunable consistency.
//!
//! The core ([`mod@core`]) is plain values and plain functions: it takes an input and
//! an environment ([`core::env`]), and knows no socket, file, task or date. A [`node`] puts the core behind
//! locks. The worlds that run it are production (the `server` feature), a seeded
//! simulation, lock interleavings and a model checker. `ARCHITECTURE.md` is the map.
//!
//! Three nodes in one process, with a queue for a network:
//!
//! ```
//! use std::{cell::RefCell, collections::VecDeque, rc::Rc, sync::Arc};
//!
//! use kv::{
//!     core::{
//!         env::{Entry, Note, Reply, Request},
//!         message::Message,
//!         quorum::Level,
//!         ring::{RING_SIZE, Ring},
//!         time::{Micros, Timestamp},
//!         types::{Key, Limits, NodeId, RequestId, Value},
//!     },
//!     node::{Alarm, Node, Outbox, Ports, Position, config::NodeConfig, recover::Recovered},
//! };
//!
//! #[derive(Default)]
//! struct World {
//!     messages: RefCell<VecDeque<(NodeId, NodeId, Message)>>,
//!     replies: RefCell<Vec<Reply>>,
//! }
//!
//! /// What a node is plugged into: its clocks stand still, and its journal is always durable.
//! struct Plug(NodeId, Rc<World>);
//!
//! impl Ports for Plug {
//!     fn now(&self) -> Timestamp { Timestamp::from_micros(1) }
//!     fn uptime(&self) -> Micros { Micros(1) }
//!     fn set_timer(&self, _: Alarm, _: Micros) {}
//!     fn append(&self, _: Entry) -> Position { Position(0) }
//!     fn durable(&self) -> Position { Position(0) }
//!     fn note(&self, _: Note) {}
//!     fn send(&self, outbox: &mut Outbox) {
//!         let Plug(me, world) = self;
//!         let sent = outbox.messages.drain(..).map(|(to, message)| (*me, to, message));
//!         world.messages.borrow_mut().extend(sent);
//!         world.replies.borrow_mut().extend(outbox.replies.drain(..).map(|(_, reply)| reply));
//!     }
//! }
//!
//! let world = Rc::new(World::default());
//! let ring = Arc::new(Ring::form(&["a:1", "b:1", "c:1"].map(String::from), 3, RING_SIZE)?);
//! let config = NodeConfig { max_clock_drift: Micros(0), ..NodeConfig::default() };
//! let nodes = [1, 2, 3].map(NodeId).map(|id| {
//!     let plug = Plug(id, world.clone());
//!     Node::start(id, &config, ring.clone(), Recovered::default(), plug)
//! });
//!
//! // Asks a node, delivers until nobody says anything more, and takes the reply.
//! let ask = |node: &Node<Plug>, request: Request| {
//!     let mut batch = node.batch();
//!     node.request(&mut batch, RequestId(1), request);
//!     node.run_and_flush(&mut batch);
//!     loop {
//!         let Some((from, to, message)) = world.messages.borrow_mut().pop_front() else { break };
//!         let node = nodes.iter().find(|node| node.id() == to).expect("a member");
//!         node.message(&mut batch, from, message);
//!         node.run_and_flush(&mut batch);
//!     }
//!     world.replies.borrow_mut().pop()
//! };
//!
//! let (limits, level) = (Limits::default(), Level::Quorum);
//! let (key, value) = (Key::new(b"planet", &limits)?, Value::new(b"Jupiter", &limits)?);
//! let put = Request::Put { key: key.clone(), value: Some(value.clone()), level };
//! assert!(matches!(ask(&nodes[0], put), Some(Reply::Written(_))));
//!
//! let found = ask(&nodes[2], Request::Get { key, level, at_least: None });
//! let Some(Reply::Found(Some(record))) = found else { panic!("{found:?}") };
//! assert_eq!(record.value, Some(value));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "server")]
#[allow(clippy::disallowed_types)]
pub mod cli;
pub mod core;
pub mod journal;
#[cfg(feature = "server")]
#[allow(clippy::disallowed_types)]
pub mod log;
pub mod node;
pub mod resp;
#[cfg(feature = "server")]
#[allow(clippy::disallowed_types)]
pub mod server;
pub mod wire;

#[cfg(all(test, loom))]
#[allow(clippy::disallowed_types)]
mod interleavings;
