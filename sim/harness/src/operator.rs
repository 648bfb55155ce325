//! The operators of a run: they ask nodes for changes, start further processes, and say what is unsettled.

use crate::{
    fault::FaultKind,
    system::{DoneOf, ScenarioOf, System},
    watch::Watched,
    world::World,
};

/// A system that has operators.
pub trait Operated: Watched {
    /// The operators: [`Idle`] where nobody asks for anything.
    type Operator: Operator<Self>;
    /// The property that a cluster violates that does not converge in time.
    const CONVERGENCE: &str = "convergence";
}

/// The operators.
pub trait Operator<S: Watched>: Sized {
    /// The operators of a scenario.
    fn new(scenario: &ScenarioOf<S>) -> Self;

    /// What the first nodes start with.
    fn birth(&self) -> S::Birth;

    /// When to look first, in microseconds of the run. None: there is nothing to do.
    fn first_look(&self) -> Option<u64> {
        None
    }

    /// Looks at the cluster, and does what is due; is told whether a partition is on. Returns the nodes that die
    /// for good now. To be asked again, it uses [`World::wake_operator`].
    fn look(&mut self, world: &mut World<S>, is_parted: bool) -> Vec<u32> {
        let _ = (world, is_parted);
        Vec::new()
    }

    /// A node died for good, and its disk is lost.
    fn died(&mut self, world: &mut World<S>, node: u32) {
        let _ = (world, node);
    }

    /// A node found when it started that its journal is damaged. It is about to die for good. These entries can be
    /// read: another node may begin with them.
    fn damaged(&mut self, world: &mut World<S>, node: u32, readable: Vec<S::Entry>) {
        let _ = (world, node, readable);
    }

    /// A client is about to ask a node.
    fn asked(&mut self, world: &mut World<S>, node: u32, action: &S::Action) {
        let _ = (world, node, action);
    }

    /// A fault began.
    fn fault_began(&mut self, world: &mut World<S>, kind: &FaultKind) {
        let _ = (world, kind);
    }

    /// The run went on to another phase.
    fn phase_began(&mut self) {}

    /// Why the cluster has not converged, if it has not. Asked again and again once faults are healed.
    fn unsettled(&mut self, world: &World<S>) -> Option<String> {
        let _ = world;
        None
    }

    /// What the auditor asks of which nodes once the cluster has converged: all of it has to be answered.
    fn audit(&self, world: &World<S>, history: &[DoneOf<S>]) -> Vec<(u32, S::Action)> {
        let _ = (world, history);
        Vec::new()
    }

    /// Whether the auditor may ask a node still.
    fn may_be_audited(&self, node: u32) -> bool {
        let _ = node;
        true
    }

    /// The run is over, and these faults had flapped.
    fn over(&mut self, world: &mut World<S>, flapped: &[&FaultKind]) {
        let _ = (world, flapped);
    }
}

/// Nobody asks for anything, and whatever runs has converged.
pub struct Idle;

impl<S: Watched> Operator<S> for Idle
where
    <S as System>::Birth: Default,
{
    fn new(_: &ScenarioOf<S>) -> Self {
        Idle
    }

    fn birth(&self) -> S::Birth {
        S::Birth::default()
    }
}
