//! Explores models, and says what came of it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::world::{Action, Cluster, Setup, World};

/// How often the progress is told.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A way through a model.
pub struct Way {
    /// What it shows.
    pub property: &'static str,
    /// Its steps.
    pub actions: Vec<Action>,
    /// Where it ends.
    pub last: World,
}

/// What exploring a model showed.
pub struct Explored {
    /// What decides the model.
    pub setup: Setup,
    /// Distinct states.
    pub states: usize,
    /// The longest way from the start.
    pub depth: usize,
    /// How long it took.
    pub seconds: f64,
    /// Whether every state was seen.
    pub is_complete: bool,
    /// Promises that fell, each with a way there.
    pub fell: Vec<Way>,
    /// What should be possible, and was seen, each with a way there.
    pub seen: Vec<Way>,
    /// What should be possible, and was not seen.
    pub impossible: Vec<&'static str>,
}

impl Explored {
    /// Whether all states were seen, as many as are known, every promise held, and all that must be
    /// possible was.
    pub fn holds(&self) -> bool {
        let is_whole = self.is_complete && self.states == self.setup.states;
        is_whole && self.fell.is_empty() && self.impossible.is_empty()
    }
}

/// Explores a model: to its end, or until a promise falls. Meanwhile tells how many distinct states there
/// are so far, and how deep they lie.
pub fn explore(
    model: Cluster,
    threads: usize,
    stop_at_first: bool,
    progress: impl Fn(usize, usize),
) -> Explored {
    let started = Instant::now();
    let (setup, properties) = (model.setup.clone(), model.properties());
    // By default a search would end when each property has a discovery: here none ends it.
    let never = HasDiscoveries::AllOf(BTreeSet::from(["no property is called so"]));
    let until = if stop_at_first { HasDiscoveries::AnyFailures } else { never };
    let checker = model.checker().threads(threads).finish_when(until).spawn_bfs();
    while !checker.is_done() {
        progress(checker.unique_state_count(), checker.max_depth());
        std::thread::sleep(LOOK_EVERY.min(started.elapsed() / 8));
    }
    let checker = checker.join();
    let of = |expectation: Expectation| {
        let of_kind = properties.iter().filter(move |p| p.expectation == expectation);
        of_kind.map(|property| property.name)
    };
    let way = |property| {
        let path = checker.discovery(property)?;
        let last = path.last_state().clone();
        Some(Way { property, actions: path.into_actions(), last })
    };
    let fell: Vec<Way> = of(Expectation::Always).filter_map(way).collect();
    let seen: Vec<Way> = of(Expectation::Sometimes).filter_map(way).collect();
    let impossible =
        of(Expectation::Sometimes).filter(|name| checker.discovery(name).is_none()).collect();
    Explored {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        seconds: started.elapsed().as_secs_f64(),
        is_complete: checker.is_done() && (fell.is_empty() || !stop_at_first),
        fell,
        seen,
        impossible,
        setup,
    }
}
