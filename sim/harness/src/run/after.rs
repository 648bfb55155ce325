//! What comes after the load: all faults are healed, the cluster converges, and then has to serve.

use super::{Phase, Run, clients::AUDITOR};
use crate::{
    history::Outcome, operator::Operator as _, property::Judged, violation::Violation, world::Wake,
};

/// How often the cluster is looked at while it converges, in microseconds.
const LOOK_EVERY_US: u64 = 250_000;
/// The property that a cluster violates that has converged and does not serve.
const LIVENESS: &str = "liveness";

impl<S: Judged> Run<'_, S> {
    pub(super) fn heal(&mut self) {
        self.enter(Phase::Converge, "heal");
        for place in 0..self.active_faults.len() {
            self.fault_ends(place);
        }
        self.world.heal();
        self.world.wake(self.world.at() + LOOK_EVERY_US, Wake::Phase);
    }

    /// When the phase after healing must be over. Each operation of the audit gets as long, and so does
    /// what it wrote.
    fn deadline(&self) -> u64 {
        let since = match self.phase {
            Phase::Ready | Phase::Load | Phase::Converge => self.scenario.heal_at_ms * 1_000,
            Phase::Serve | Phase::Settle | Phase::Over => self.audit_since,
        };
        since + self.scenario.converge_within_ms * 1_000
    }

    pub(super) fn look_for_convergence(&mut self) {
        let unsettled = self.operator.unsettled(&self.world);
        let unsettled = match self.waiting.len() {
            0 => unsettled,
            waiting => Some(format!("{waiting} operations were not answered")),
        };
        match unsettled {
            None => {
                self.world.check_everything();
                match self.phase {
                    Phase::Settle => self.enter(Phase::Over, "over"),
                    Phase::Ready | Phase::Load | Phase::Converge | Phase::Serve | Phase::Over => {
                        self.begin_serving();
                    }
                }
            }
            Some(_) if self.world.at() < self.deadline() => {
                self.world.wake(self.world.at() + LOOK_EVERY_US, Wake::Phase);
            }
            Some(what) => {
                let within = self.scenario.converge_within_ms;
                let what = format!("{within} ms after all faults were healed, {what}");
                self.fail(Violation::new(S::CONVERGENCE, what));
            }
        }
    }

    /// The auditor asks what the operators want asked.
    fn begin_serving(&mut self) {
        let healed_at = self.scenario.heal_at_ms * 1_000;
        self.converged_us = Some(self.world.at().saturating_sub(healed_at));
        self.enter(Phase::Serve, "serve");
        self.audit_since = self.world.at();
        self.audit.extend(self.operator.audit(&self.world, &self.history));
        self.go_on_serving();
    }

    pub(super) fn go_on_serving(&mut self) {
        // A change that was being decided when all seemed over may still take a node away.
        self.audit.retain(|(node, _)| self.operator.may_be_audited(*node));
        match self.audit.front().cloned() {
            Some((node, action)) => self.invoke(AUDITOR, node, action),
            // What the auditor wrote is to be everywhere too.
            None => {
                self.enter(Phase::Settle, "settle");
                self.world.wake(self.world.at(), Wake::Phase);
            }
        }
    }

    /// The auditor goes on, or tries again until the time is over.
    pub(super) fn audited(&mut self, place: usize) {
        let done = &self.history[place];
        match &done.outcome {
            Outcome::Ok(_) => {
                self.audit.pop_front();
                self.audit_since = self.world.at();
                self.world.wake(self.world.at() + 1, Wake::Phase);
            }
            Outcome::Failed(why) | Outcome::Unknown(why) => {
                if self.world.at() >= self.deadline() {
                    let (node, action) = (done.node, &done.action);
                    let what = format!("after healing n{node} does not serve {action:?}: {why}");
                    self.fail(Violation::new(LIVENESS, what));
                    return;
                }
                if let Some((_, action)) = self.audit.front_mut() {
                    S::again(action);
                }
                self.world.wake(self.world.at() + LOOK_EVERY_US, Wake::Phase);
            }
        }
    }
}
