//! The part of a run in which a script decides what happens.

use super::{Phase, Run};
use crate::{
    log::Event,
    property::Judged,
    scenario::{Operation, script::ScriptStep},
    violation::Violation,
    world::{Ending, Wake},
};

impl<S: Judged> Run<'_, S> {
    /// The next step of the script; after the last one all goes its usual way.
    pub(super) fn script(&mut self, at: usize) {
        let Some(step) = self.scenario.script.get(at) else {
            self.enter(Phase::Load, "the script is over");
            self.world.end_script();
            return;
        };
        self.world.record(&Event::Script(at, step));
        match step {
            ScriptStep::Ask(place) => {
                let Operation { client, node, action, .. } = &self.scenario.operations[*place];
                self.invoke(*client, *node, action.clone());
            }
            ScriptStep::Crash(node) => {
                self.crash(*node, Ending::Power);
                self.world.restart(*node);
            }
            ScriptStep::Deliver(_)
            | ScriptStep::Lose(_)
            | ScriptStep::Double(_)
            | ScriptStep::Fire(..) => {
                if let Err(why) = self.world.script_step(step) {
                    self.fail(Violation::new("script", format!("step {at} does not fit: {why}")));
                }
            }
        }
        self.world.wake(self.world.at() + 1, Wake::Script(at + 1));
    }
}
