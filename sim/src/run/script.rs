//! The part of a run in which a script decides what happens.

use kv::core::types::NodeId;

use super::{Phase, Run};
use crate::{check::Violation, log::Event, queue::Wake, scenario::Operation, script::Step};

impl Run<'_> {
    /// The next step of the script; after the last one all goes its usual way.
    pub(super) fn script(&mut self, at: usize) {
        let Some(step) = self.scenario.script.get(at) else {
            self.enter(Phase::Load, "the script is over");
            self.cluster.end_script();
            return;
        };
        self.cluster.log.record(self.cluster.at(), &Event::Script(at, step));
        match step {
            Step::Ask(place) => {
                let Operation { client, node, action, .. } = &self.scenario.operations[*place];
                self.invoke(*client, NodeId(*node), action.clone(), *place);
            }
            Step::Crash(node) => {
                self.crash(NodeId(*node));
                self.cluster.restart(NodeId(*node));
            }
            Step::Deliver(_) | Step::Lose(_) | Step::Double(_) | Step::Fire(..) => {
                if let Err(why) = self.cluster.script_step(step) {
                    self.fail(Violation::new("script", format!("step {at} does not fit: {why}")));
                }
            }
        }
        self.cluster.wake(self.cluster.at() + 1, Wake::Script(at + 1));
    }
}
