//! The clients of a run: each does its operations one after the other.

use super::{Phase, Run};
use crate::{
    history::{Done, Outcome, TIMEOUT},
    log::{Event, Happened},
    operator::Operator as _,
    property::Judged,
    scenario::Action as _,
    system::DoneOf,
    tally::{Tally, Topic},
    world::Wake,
};

/// The client that asks the nodes when the cluster has converged.
pub const AUDITOR: u32 = u32::MAX;

impl<S: Judged> Run<'_, S> {
    pub(super) fn schedule(&mut self, client: usize) {
        let next = self.clients.get(client).and_then(|left| left.front());
        if let Some(operation) = next.map(|place| &self.scenario.operations[*place]) {
            self.world.wake(self.world.at() + operation.after_us, Wake::Client(client));
        }
    }

    pub(super) fn go_on(&mut self, client: usize) {
        if self.phase != Phase::Load {
            return;
        }
        if let Some(place) = self.clients[client].pop_front() {
            let operation = &self.scenario.operations[place];
            let node = self.diverted[client].take().unwrap_or(operation.node);
            self.invoke(operation.client, node, operation.action.clone());
        }
    }

    pub(super) fn invoke(&mut self, client: u32, node: u32, action: S::Action) {
        let place = self.history.len();
        let at = self.world.at();
        self.world.record(&Event::Invoked(place, client, node, &action));
        self.moment += 1;
        self.operator.asked(&mut self.world, node, &action);
        let ask = self.world.hosts.node(node).map(|runs| {
            let memory = self.memories.get_mut(client as usize);
            S::ask(memory, place as u64, &action, runs, &mut self.world.tally)
        });
        self.history.push(Done {
            client,
            node,
            action,
            invoked: self.moment,
            invoked_us: at,
            returned: None,
            returned_us: None,
            outcome: Outcome::Unknown("not answered yet"),
        });
        self.waiting.push(place);
        match ask {
            Some(ask) => {
                self.world.ask(node, place as u64, ask);
                let patience = S::patience_us(&self.scenario.cluster);
                self.world.wake(at + patience, Wake::GiveUp(place));
            }
            None => self.end(place, Outcome::Failed("node down")),
        }
    }

    pub(super) fn take_answers(&mut self) {
        for (ticket, reply) in std::mem::take(&mut self.world.answers) {
            let place = usize::try_from(ticket).expect("a place in the history");
            let is_late = !self.waiting.contains(&place);
            if !is_late {
                self.world.record(&Event::Answered(place, &reply));
            }
            let done = &self.history[place];
            let (memory, node) =
                (self.memories.get(done.client as usize), self.world.hosts.node(done.node));
            let outcome = S::outcome(memory, done, reply, node);
            match is_late {
                true => S::came_too_late(&outcome, &mut self.world.tally),
                false => self.end(place, outcome),
            }
        }
    }

    pub(super) fn give_up(&mut self, place: usize) {
        if self.waiting.contains(&place) {
            self.end(place, Outcome::Unknown("no answer"));
        }
    }

    /// An operation is over for its client.
    pub(super) fn end(&mut self, place: usize, outcome: Outcome<S::Answer>) {
        let at = self.world.at();
        if let Outcome::Failed(why) | Outcome::Unknown(why) = &outcome {
            self.world.record(&Event::Unanswered(place, why));
        }
        self.world.log.tell(at, || Happened::Ended(place));
        self.waiting.retain(|waiting| *waiting != place);
        self.moment += 1;
        let done = &mut self.history[place];
        done.returned = Some(self.moment);
        done.returned_us = Some(at);
        done.outcome = outcome;
        count::<S>(&mut self.world.tally, done);
        if let Some(memory) = self.memories.get_mut(done.client as usize) {
            S::ended(memory, place as u64, done);
        }
        match done.client {
            AUDITOR => self.audited(place),
            client => self.schedule(client as usize),
        }
    }
}

fn count<S: Judged>(tally: &mut Tally, done: &DoneOf<S>) {
    let name = match done.outcome {
        Outcome::Ok(_) => format!("{} ok", done.action.name()),
        Outcome::Unknown(TIMEOUT) => format!("{} {TIMEOUT}", done.action.name()),
        Outcome::Failed(why) | Outcome::Unknown(why) => return tally.add(Topic::Operation, why),
    };
    tally.add(Topic::Operation, name);
}
