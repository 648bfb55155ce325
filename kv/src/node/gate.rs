//! The gate: what a machine does leaves the node only when the journal holds what it rests on.

use std::{mem, sync::Arc};

use super::{
    locks::{Mutex, atomic::Ordering},
    outbox::Outbox,
    ports::{Ports, Position},
    state::{Guarded, Node},
    step::Step,
};
use crate::core::{
    detector::DetectorInput,
    ring::Ring,
    shard::Input,
    time::{Micros, Timestamp},
    topology::TopologyInput,
};

impl<P: Ports> Node<P> {
    /// The journal's durable part grew: sends what waited for it.
    pub fn durable(&self) {
        let upto = self.ports.durable();
        let ready: Vec<Outbox> = {
            let mut gate = self.gate.lock();
            let (ready, waiting) =
                mem::take(&mut *gate).into_iter().partition(|(at, _)| *at <= upto);
            *gate = waiting;
            let ready: Vec<(Position, Outbox)> = ready;
            ready.into_iter().map(|(_, outbox)| outbox).collect()
        };
        for mut outbox in ready {
            self.flush(&mut outbox);
        }
    }

    /// Sends all that is in an outbox. No lock of a machine may be held.
    pub fn flush(&self, outbox: &mut Outbox) {
        for ring in mem::take(&mut outbox.rings) {
            self.publish(&ring);
        }
        let synced = mem::take(&mut outbox.synced);
        let gone = outbox.gone.take();
        if !synced.is_empty() || gone.is_some() {
            let mut batch = self.batch();
            let inputs =
                synced.into_iter().map(|(shard, epoch)| TopologyInput::Synced(shard, epoch));
            batch.topology.extend(inputs);
            batch.topology.extend(gone.map(TopologyInput::Gone));
            self.run_and_flush(&mut batch);
        }
        if let Some((era, epoch)) = outbox.confirmed.take() {
            self.confirm(era, epoch);
        }
        if !outbox.is_empty() {
            self.ports.send(outbox);
        }
    }

    /// Hands a ring to the shards, one by one, each under its lock.
    fn publish(&self, ring: &Arc<Ring>) {
        self.ports.adopted(ring);
        let mut batch = self.batch();
        for inputs in &mut batch.shards {
            inputs.push(Input::Ring(ring.clone()));
        }
        batch.detector.push(DetectorInput::Ring(ring.clone()));
        self.run_and_flush(&mut batch);
        self.epoch.fetch_max(ring.epoch().0, Ordering::AcqRel);
    }

    /// Runs `act` on a machine under its lock, and gates what it did.
    pub(super) fn step<T, N>(
        &self,
        name: N,
        (now, uptime): (Timestamp, Micros),
        machine: &Mutex<Guarded<T>>,
        outbox: &mut Outbox,
        act: impl FnOnce(&mut T, &mut Step<'_, P, N>),
    ) {
        let mut guarded = machine.lock();
        let Guarded { machine, highest } = &mut *guarded;
        // With nothing to wait for, effects go straight into the caller's outbox.
        let mut own = Outbox::default();
        let is_open = *highest <= self.ports.durable();
        let effects = if is_open { &mut *outbox } else { &mut own };
        let ports = &self.ports;
        let before = *highest;
        let marks = effects.marks();
        act(machine, &mut Step { ports, name, now, uptime, outbox: effects, highest });
        let highest = *highest;
        if is_open && highest > before {
            own = outbox.split_off(marks);
        }
        drop(guarded);
        if !own.is_empty() {
            self.pass(highest, own, outbox);
        }
    }

    /// Lets effects through to the caller's outbox when the journal is far enough; else keeps them.
    fn pass(&self, highest: Position, mut effects: Outbox, outbox: &mut Outbox) {
        // The gate's lock is held over the look at the journal: whoever moves it on drains after us.
        let mut gate = self.gate.lock();
        if highest > self.ports.durable() {
            gate.push((highest, effects));
            return;
        }
        outbox.messages.append(&mut effects.messages);
        outbox.replies.append(&mut effects.replies);
        outbox.rings.append(&mut effects.rings);
        outbox.synced.append(&mut effects.synced);
        outbox.gone = effects.gone.or(outbox.gone.take());
        outbox.confirmed = effects.confirmed.or(outbox.confirmed.take());
    }
}
