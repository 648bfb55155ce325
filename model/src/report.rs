//! Explores models, and says what came of it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::{
    path::ModelPath,
    shortest::{Until, shortest},
    world::{ClusterModel, Setup},
};

/// How often the progress is told.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What exploring a model showed.
pub struct Explored {
    /// What decides the model.
    pub setup: Setup,
    /// Distinct states.
    pub states: usize,
    /// How deep the states lie, about: several threads do not keep to the order of depth.
    pub depth: usize,
    /// How long it took.
    pub seconds: f64,
    /// Whether every state was seen.
    pub is_complete: bool,
    /// Properties that are violated, each with the shortest path there.
    pub violated: Vec<ModelPath>,
    /// What should be possible, and was seen, each with a path there.
    pub seen: Vec<ModelPath>,
    /// What should be possible, and was not seen.
    pub impossible: Vec<&'static str>,
}

impl Explored {
    /// Whether all states were seen, as many as are known, every property held, and all that must be
    /// possible was.
    pub fn holds(&self) -> bool {
        let is_whole = self.is_complete && self.states == self.setup.states;
        is_whole && self.violated.is_empty() && self.impossible.is_empty()
    }
}

/// How a model is explored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Threads: one at least.
    pub threads: usize,
    /// End at the first violation.
    pub stop_at_first: bool,
    /// The paths to what must be possible are the shortest, too. That takes as long again.
    pub shortest_examples: bool,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Looking at all states.
    Exploring,
    /// Looking for the shortest paths to what was found.
    Shortening,
}

/// Explores a model: to its end, or until a property is violated. Meanwhile tells how many distinct states
/// there are so far, and how deep they lie.
///
/// The path to a violation is the shortest, and the same whatever the threads. Where several properties are
/// violated and the first one ends it, they are those that the first such state violates.
pub fn explore(
    model: ClusterModel,
    options: &Options,
    progress: impl Fn(Stage, usize, usize),
) -> Explored {
    let started = Instant::now();
    let (setup, properties) = (model.setup.clone(), model.properties());
    // By default a search would end when each property has a discovery: here none ends it.
    let never = HasDiscoveries::AllOf(BTreeSet::from(["no property is called so"]));
    let until = if options.stop_at_first { HasDiscoveries::AnyFailures } else { never };
    let checker = model.checker().threads(options.threads).finish_when(until).spawn_bfs();
    while !checker.is_done() {
        progress(Stage::Exploring, checker.unique_state_count(), checker.max_depth());
        std::thread::sleep(LOOK_EVERY.min(started.elapsed() / 8));
    }
    let checker = checker.join();
    let of = |expectation: Expectation, is_found: bool| -> Vec<&'static str> {
        let of_kind = properties.iter().filter(|p| p.expectation == expectation);
        let names = of_kind.map(|property| property.name);
        names.filter(|name| checker.discovery(name).is_some() == is_found).collect()
    };
    let (violated, possible) = (of(Expectation::Always, true), of(Expectation::Sometimes, true));
    let is_cut_short = options.stop_at_first && !violated.is_empty();
    let (wanted, until) = match (is_cut_short, options.shortest_examples) {
        // Which of them the threads met first is chance: the nearest one is wanted.
        (true, _) => ([violated, of(Expectation::Always, false)].concat(), Until::Any),
        (false, true) => ([violated, possible.clone()].concat(), Until::All),
        (false, false) => (violated, Until::All),
    };
    let shorter = |states, depth| progress(Stage::Shortening, states, depth);
    let mut paths = match wanted.is_empty() {
        true => Vec::new(),
        false => shortest(checker.model(), &wanted, until, options.threads, shorter),
    };
    // Examples that are not wanted short are stateright's.
    for name in &possible {
        if !wanted.contains(name)
            && let Some(path) = checker.discovery(name)
        {
            let last = path.last_state().clone();
            paths.push(ModelPath { property: name, actions: path.into_actions(), last });
        }
    }
    // In the order of the model's properties.
    paths.sort_by_key(|path| properties.iter().position(|p| p.name == path.property));
    let (seen, violated) = paths.into_iter().partition(|path| possible.contains(&path.property));
    Explored {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        seconds: started.elapsed().as_secs_f64(),
        is_complete: checker.is_done() && !is_cut_short,
        violated,
        seen,
        impossible: of(Expectation::Sometimes, false),
        setup,
    }
}
