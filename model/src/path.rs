//! Paths through models.

use crate::world::{Action, ModelState};

/// A path through a model.
pub struct ModelPath {
    /// What it shows.
    pub property: &'static str,
    /// Its steps.
    pub actions: Vec<Action>,
    /// Where it ends.
    pub last: ModelState,
}
