//! A register that a majority keeps, with a mistake: a read answers without a write-back, so that a later read
//! of other nodes may find less. Source: Attiya, Bar-Noy and Dolev, "Sharing Memory Robustly in Message-Passing
//! Systems" (1995). Without arguments it finds a seed that shows it; a seed replays that one; `mended` runs the
//! same nodes with the write-back.
use std::{collections::BTreeMap, env::args, io};

use harness::prelude::*;

/// When a value was put, and through which node.
pub(crate) type Value = (u64, u32);

#[derive(Clone, Debug, Hash)]
pub(crate) enum Message {
    Write(u64, Value),
    Written(u64, Value),
    Read(u64),
    Found(u64, Value),
}

/// A node, with the write-back or without.
pub(crate) struct Node<const MENDED: bool> {
    me: u32,
    nodes: u32,
    held: Value,
    /// Who answered the read, or the write (true), of each operation, and with which value.
    asked: BTreeMap<(u64, bool), BTreeMap<u32, Value>>,
    /// What may be said once so many entries of the journal are durable.
    held_back: Vec<(u64, u32, Message)>,
}

impl<const MENDED: bool> Node<MENDED> {
    fn ask_all(&mut self, ticket: u64, message: Message, io: &Io<Register<Self>>) {
        let is_write = matches!(message, Message::Write(..));
        self.asked.insert((ticket, is_write), BTreeMap::new());
        (1..=self.nodes).for_each(|node| io.send(node, message.clone()));
    }

    /// A node answered: the newest value, once a majority did.
    fn count(&mut self, of: (u64, bool), from: u32, value: Value) -> Option<Value> {
        let answers = self.asked.get_mut(&of)?;
        answers.insert(from, value);
        let is_majority = answers.len() > self.nodes as usize / 2;
        is_majority.then(|| self.asked.remove(&of)?.into_values().max()).flatten()
    }
}

impl<const MENDED: bool> Protocol for Node<MENDED> {
    type Message = Message;
    type Value = Value;

    fn start(me: u32, nodes: u32, kept: Vec<Value>) -> Self {
        let held = kept.into_iter().max().unwrap_or_default();
        Self { me, nodes, held, asked: BTreeMap::new(), held_back: Vec::new() }
    }

    fn ask(&mut self, ticket: u64, action: Action, io: &Io<Register<Self>>) {
        let put = Message::Write(ticket, (io.now_us(), self.me));
        match action {
            Action::Put => self.ask_all(ticket, put, io),
            Action::Get => self.ask_all(ticket, Message::Read(ticket), io),
        }
    }

    fn message(&mut self, from: u32, message: Message, io: &Io<Register<Self>>) {
        match message {
            Message::Write(ticket, value) => {
                self.held = self.held.max(value);
                self.held_back.push((io.append(value), from, Message::Written(ticket, value)));
            }
            Message::Read(ticket) => io.send(from, Message::Found(ticket, self.held)),
            Message::Written(ticket, value) => {
                let written = self.count((ticket, true), from, value);
                written.into_iter().for_each(|value| io.answer(ticket, value));
            }
            Message::Found(ticket, value) => match self.count((ticket, false), from, value) {
                Some(newest) if MENDED => {
                    self.ask_all(ticket, Message::Write(ticket, newest), io);
                }
                newest => newest.into_iter().for_each(|newest| io.answer(ticket, newest)),
            },
        }
    }

    fn durable(&mut self, upto: u64, io: &Io<Register<Self>>) {
        let durable = self.held_back.extract_if(.., |(after, _, _)| *after <= upto);
        durable.for_each(|(_, to, message)| io.send(to, message));
    }
}

fn main() -> io::Result<()> {
    let argument = args().nth(1).unwrap_or_default();
    let seeds = argument.parse().map_or(0..5_000, |seed: u64| seed..seed + 1);
    let scenario = |seed| register::scenario(seed, 5);
    let replay = "cargo run -p harness --example register --";
    match argument.as_str() {
        "mended" => search::<Register<Node<true>>>(seeds, scenario, replay).map(drop),
        _ => search::<Register<Node<false>>>(seeds, scenario, replay).map(drop),
    }
}
