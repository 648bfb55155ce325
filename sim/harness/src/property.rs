//! What must hold of a run, judged when it is over.

use strum::VariantArray;

use crate::{
    operator::Operated,
    system::{DoneOf, ScenarioOf},
    tally::Tally,
    violation::Violation,
    world::World,
};

/// A system whose runs are judged.
pub trait Judged: Operated {
    /// What the properties look at: plain values, so that each can be tested by hand.
    type Evidence;
    /// The properties, an enum without fields. All are judged, in their order.
    type Property: Property<Self::Evidence>;
    /// What a node has of a key in the end, for the story of a violation.
    type Held: Clone;

    /// What a run that is over shows.
    fn evidence(
        scenario: &ScenarioOf<Self>,
        world: &World<Self>,
        operator: &Self::Operator,
        history: &[DoneOf<Self>],
    ) -> Self::Evidence;

    /// What each node that runs has of a key.
    fn held(world: &World<Self>, operator: &Self::Operator, key: &str) -> Vec<(u32, Self::Held)> {
        let _ = (world, operator, key);
        Vec::new()
    }
}

/// The properties of a system.
pub trait Property<E>: VariantArray + Copy + 'static {
    /// Judges the evidence. What it meets on the way may be counted.
    ///
    /// # Errors
    ///
    /// What violates it.
    fn judge(self, evidence: &E, tally: &mut Tally) -> Result<(), Violation>;
}

/// Judges all properties: the first violation, with the names of the others.
pub fn judge<E, P: Property<E>>(evidence: &E, tally: &mut Tally) -> Option<Violation> {
    let mut violated: Vec<Violation> =
        P::VARIANTS.iter().filter_map(|property| property.judge(evidence, tally).err()).collect();
    let also = violated.iter().skip(1).map(|other| other.property).collect();
    violated.truncate(1);
    violated.pop().map(|first| Violation { also, ..first })
}
