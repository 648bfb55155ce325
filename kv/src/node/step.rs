//! What a machine of a node does its work with.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    eras::Era,
    outbox::Outbox,
    ports::{Machine, Ports, Position},
};
use crate::core::{
    detector::Advise,
    env::{Clients, Clock, Entry, Journal, Network, Note, Progress, Publish, Reply, Timer, Trace},
    message::Message,
    ring::Ring,
    time::{Micros, Timestamp},
    types::{Epoch, NodeId, RequestId},
};

/// The environment of one step: effects go to the outbox, entries and timers straight to the world.
pub(super) struct Step<'a, P> {
    pub(super) ports: &'a P,
    pub(super) name: Machine,
    pub(super) now: Timestamp,
    pub(super) uptime: Micros,
    pub(super) outbox: &'a mut Outbox,
    pub(super) highest: &'a mut Position,
}

impl<P: Ports> Clock for Step<'_, P> {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn uptime(&self) -> Micros {
        self.uptime
    }

    fn set_timer(&mut self, timer: Timer, after: Micros) {
        self.ports.set_timer(self.name, timer, after);
    }
}

impl<P> Network for Step<'_, P> {
    fn send(&mut self, to: NodeId, message: Message) {
        self.outbox.messages.push((to, message));
    }
}

impl<P: Ports> Journal for Step<'_, P> {
    fn persist(&mut self, entry: Entry) {
        *self.highest = self.ports.append(entry);
    }
}

impl<P> Clients for Step<'_, P> {
    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.outbox.replies.push((request, reply));
    }
}

impl<P: Ports> Trace for Step<'_, P> {
    fn note(&mut self, note: Note) {
        self.ports.note(note);
    }
}

impl<P> Progress for Step<'_, P> {
    fn synced(&mut self, epoch: Epoch) {
        if let Machine::Shard(shard) = self.name {
            self.outbox.synced.push((shard, epoch));
        }
    }
}

impl<P> Advise for Step<'_, P> {
    fn gone(&mut self, members: BTreeSet<NodeId>) {
        self.outbox.gone = Some(members);
    }
}

impl<P> Publish for Step<'_, P> {
    fn publish(&mut self, ring: Arc<Ring>) {
        self.outbox.rings.push(ring);
    }

    fn confirmed(&mut self, era: u64, epoch: Epoch) {
        self.outbox.confirmed = Some((Era(era), epoch));
    }
}
