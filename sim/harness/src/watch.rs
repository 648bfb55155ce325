//! What looks at each step of a run, and says at once what it violates.

use crate::{log::Log, system::System, tally::Tally, violation::Violation, world::host::Hosts};

/// A system of which each step is looked at.
pub trait Watched: System {
    /// What looks: `()` where nothing is to be looked at.
    type Watch: Watch<Self>;
    /// The property that a node's own journal violates that lost what was safe.
    const DURABILITY: &str = "durability";
}

/// What a watch sees.
pub struct Scene<'a, S: System> {
    /// Microseconds since the run began.
    pub at_us: u64,
    /// The nodes' settings.
    pub setup: &'a S::Setup,
    /// The nodes and their journals.
    pub hosts: &'a Hosts<S>,
    /// To count what should happen now and then.
    pub tally: &'a mut Tally,
    /// To tell a story more than the log has.
    pub log: &'a mut Log<S>,
}

/// Looks at each step.
pub trait Watch<S: System>: Sized {
    /// Begins, before any node has started; what they will start with may violate something already.
    fn new(setup: &S::Setup, birth: &S::Birth) -> (Self, Option<Violation>);

    /// A node has started, on what its journal kept.
    ///
    /// # Errors
    ///
    /// What is violated by that.
    fn started(&mut self, scene: &mut Scene<'_, S>, node: u32) -> Result<(), Violation> {
        let _ = (scene, node);
        Ok(())
    }

    /// A node took a step, and has appended to its journal from there on.
    ///
    /// # Errors
    ///
    /// What is violated by that.
    fn stepped(
        &mut self,
        scene: &mut Scene<'_, S>,
        node: u32,
        from: usize,
    ) -> Result<(), Violation> {
        let _ = (scene, node, from);
        Ok(())
    }

    /// The entries of a node's journal from here to there have become durable.
    ///
    /// # Errors
    ///
    /// What is violated by that.
    fn synced(
        &mut self,
        scene: &mut Scene<'_, S>,
        node: u32,
        from: usize,
        upto: usize,
    ) -> Result<(), Violation> {
        let _ = (scene, node, from, upto);
        Ok(())
    }
}

impl<S: System> Watch<S> for () {
    fn new(_: &S::Setup, _: &S::Birth) -> (Self, Option<Violation>) {
        ((), None)
    }
}
