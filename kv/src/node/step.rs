//! What a machine of a node does its work with.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    eras::Era,
    outbox::Outbox,
    ports::{Alarm, Ports, Position},
};
use crate::core::{
    detector::Advise,
    env::{
        Clients, Clock, DetectorTimer, Entry, Journal, Network, Note, Progress, Publish, Reply,
        ShardTimer, Timers, TopologyTimer, Trace,
    },
    message::Message,
    ring::Ring,
    time::{Micros, Timestamp},
    types::{Epoch, NodeId, RequestId},
};

/// The step of a shard, by its number.
pub(super) struct OfShard(pub(super) u16);
/// The step of the topology.
pub(super) struct OfTopology;
/// The step of the detector.
pub(super) struct OfDetector;

/// The environment of one step: effects go to the outbox, entries and timers straight to the world.
pub(super) struct Step<'a, P, N> {
    pub(super) ports: &'a P,
    pub(super) name: N,
    pub(super) now: Timestamp,
    pub(super) uptime: Micros,
    pub(super) outbox: &'a mut Outbox,
    pub(super) highest: &'a mut Position,
}

impl<P: Ports, N> Clock for Step<'_, P, N> {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn uptime(&self) -> Micros {
        self.uptime
    }
}

impl<P: Ports> Timers<ShardTimer> for Step<'_, P, OfShard> {
    fn set_timer(&mut self, timer: ShardTimer, after: Micros) {
        self.ports.set_timer(Alarm::Shard(self.name.0, timer), after);
    }
}

impl<P: Ports> Timers<TopologyTimer> for Step<'_, P, OfTopology> {
    fn set_timer(&mut self, timer: TopologyTimer, after: Micros) {
        self.ports.set_timer(Alarm::Topology(timer), after);
    }
}

impl<P: Ports> Timers<DetectorTimer> for Step<'_, P, OfDetector> {
    fn set_timer(&mut self, DetectorTimer: DetectorTimer, after: Micros) {
        self.ports.set_timer(Alarm::Detector, after);
    }
}

impl<P, N> Network for Step<'_, P, N> {
    fn send(&mut self, to: NodeId, message: Message) {
        self.outbox.messages.push((to, message));
    }
}

impl<P: Ports, N> Journal for Step<'_, P, N> {
    fn persist(&mut self, entry: Entry) {
        *self.highest = self.ports.append(entry);
    }
}

impl<P> Clients for Step<'_, P, OfShard> {
    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.outbox.replies.push((request, reply));
    }
}

impl<P: Ports, N> Trace for Step<'_, P, N> {
    fn note(&mut self, note: Note) {
        self.ports.note(note);
    }
}

impl<P> Progress for Step<'_, P, OfShard> {
    fn synced(&mut self, epoch: Epoch) {
        self.outbox.synced.push((self.name.0, epoch));
    }
}

impl<P> Advise for Step<'_, P, OfDetector> {
    fn gone(&mut self, members: BTreeSet<NodeId>) {
        self.outbox.gone = Some(members);
    }
}

impl<P> Publish for Step<'_, P, OfTopology> {
    fn publish(&mut self, ring: Arc<Ring>) {
        self.outbox.rings.push(ring);
    }

    fn confirmed(&mut self, era: u64, epoch: Epoch) {
        self.outbox.confirmed = Some((Era(era), epoch));
    }
}
