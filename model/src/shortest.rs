//! The shortest paths to what a model shows: the same ones in every run, whatever the number of threads.
//!
//! stateright's own search says *whether* a property is violated. Its path there is any: each discovery
//! replaces the one before as long as another property is open, and several threads do not keep to the order
//! of depth. So the states are gone through once more, level by level, as far as the last path that is wanted.
//! Each level is expanded by all threads, and put together in the order of its states and their actions.

use std::{collections::HashSet, hash::Hasher as _};

use stateright::{Expectation, Model, Property};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    path::ModelPath,
    world::{Action, ClusterModel, ModelState},
};

/// States of a level that each thread expands before the results are put together.
const PART: usize = 512;

/// When a search is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Each of the properties was shown.
    All,
    /// A state shows any of them.
    Any,
}

/// A state that is known, and how it was reached: from which one, by which of its actions.
struct Origin {
    from: usize,
    turn: usize,
}

struct Search<'a> {
    model: &'a ClusterModel,
    threads: usize,
    known: HashSet<u64>,
    origins: Vec<Origin>,
}

/// A state, and its place among all that are known.
type Placed = (usize, ModelState);

/// A state that one of a level leads to: its hash, its origin, and itself.
type Successor = (u64, Origin, ModelState);

/// The shortest paths to states that show these properties of a model: to one that violates it, or is its
/// example. `progress` is told how many states there are so far, and how deep they lie.
pub fn shortest(
    model: &ClusterModel,
    names: &[&'static str],
    until: Until,
    threads: usize,
    progress: impl Fn(usize, usize),
) -> Vec<ModelPath> {
    let mut open: Vec<Property<ClusterModel>> = model.properties();
    open.retain(|property| names.contains(&property.name));
    let mut search =
        Search { model, threads: threads.max(1), known: HashSet::new(), origins: Vec::new() };
    let first = model.init_states().into_iter().map(|world| {
        let origin = Origin { from: usize::MAX, turn: 0 };
        (fingerprint(&world), origin, world)
    });
    let mut level = search.add(first);
    let (mut found, mut depth) = (Vec::new(), 1);
    while !level.is_empty() {
        for (place, world) in &level {
            let before = open.len();
            open.retain(|property| {
                let is_shown = shows(property, model, world);
                if is_shown {
                    found.push(search.path(property.name, *place));
                }
                !is_shown
            });
            if open.is_empty() || until == Until::Any && open.len() < before {
                return found;
            }
        }
        depth += 1;
        level = search.expand(&level, |states| progress(states, depth));
    }
    found
}

fn shows(property: &Property<ClusterModel>, model: &ClusterModel, world: &ModelState) -> bool {
    let holds = (property.condition)(model, world);
    match property.expectation {
        Expectation::Always => !holds,
        Expectation::Sometimes => holds,
        Expectation::Eventually => unreachable!("no model has such a property"),
    }
}

fn fingerprint(world: &ModelState) -> u64 {
    let mut hasher = Xxh3::new();
    std::hash::Hash::hash(world, &mut hasher);
    hasher.finish()
}

impl Search<'_> {
    /// All states that a level leads to and that were not known.
    fn expand(&mut self, level: &[Placed], progress: impl Fn(usize)) -> Vec<Placed> {
        let mut next = Vec::new();
        for parts in level.chunks(self.threads * PART) {
            let successors: Vec<Vec<Successor>> = std::thread::scope(|scope| {
                let search = &*self;
                let spawned: Vec<_> = parts
                    .chunks(PART)
                    .map(|part| scope.spawn(move || search.successors(part)))
                    .collect();
                spawned.into_iter().map(|part| part.join().expect("no step panics")).collect()
            });
            next.extend(self.add(successors.into_iter().flatten()));
            progress(self.known.len());
        }
        next
    }

    fn successors(&self, part: &[Placed]) -> Vec<Successor> {
        let (mut all, mut actions) = (Vec::new(), Vec::new());
        for (place, world) in part {
            self.model.actions(world, &mut actions);
            for (turn, action) in actions.drain(..).enumerate() {
                let Some(next) = self.model.next_state(world, action) else { continue };
                let hash = fingerprint(&next);
                if !self.known.contains(&hash) {
                    all.push((hash, Origin { from: *place, turn }, next));
                }
            }
        }
        all
    }

    /// Of states that are alike the first one counts.
    fn add(&mut self, successors: impl Iterator<Item = Successor>) -> Vec<Placed> {
        let mut added = Vec::new();
        for (hash, origin, world) in successors {
            if self.known.insert(hash) {
                added.push((self.origins.len(), world));
                self.origins.push(origin);
            }
        }
        added
    }

    fn path(&self, property: &'static str, place: usize) -> ModelPath {
        let mut turns = Vec::new();
        let mut at = place;
        while let Some(Origin { from, turn }) = self.origins.get(at)
            && *from != usize::MAX
        {
            turns.push(*turn);
            at = *from;
        }
        let mut last = self.model.init_states().swap_remove(at);
        let (mut actions, mut choice): (Vec<Action>, Vec<Action>) = (Vec::new(), Vec::new());
        for turn in turns.into_iter().rev() {
            self.model.actions(&last, &mut choice);
            let action = choice.swap_remove(turn);
            choice.clear();
            last = self.model.next_state(&last, action.clone()).expect("it was taken before");
            actions.push(action);
        }
        ModelPath { property, actions, last }
    }
}

#[cfg(test)]
mod tests {
    use kv::core::quorum::Level;

    use super::*;
    use crate::{
        put_get, register,
        report::{Options, explore},
    };

    const PLANTED: &str = "planted: no client is ever answered";

    fn planted(model: ClusterModel) -> ClusterModel {
        model.always(PLANTED, |_, world| {
            (0..world.clients.len()).all(|client| world.replies(client).next().is_none())
        })
    }

    /// The paths to what is violated, by 1, 2 and 3 threads.
    fn paths(
        model: impl Fn() -> ClusterModel,
        stop_at_first: bool,
    ) -> Vec<Vec<(&'static str, Vec<Action>)>> {
        let explored = |threads| {
            let options = Options { threads, stop_at_first, ..Options::default() };
            let explored = explore(model(), &options, |_, _, _| {});
            explored.violated.into_iter().map(|path| (path.property, path.actions)).collect()
        };
        [1, 2, 3].into_iter().map(explored).collect()
    }

    fn are_the_same(paths: &[Vec<(&'static str, Vec<Action>)>], lengths: &[(&str, usize)]) {
        for violated in paths {
            let found: Vec<_> = violated.iter().map(|(name, path)| (*name, path.len())).collect();
            assert_eq!(found, lengths);
            assert_eq!(violated, &paths[0], "another number of threads, another path");
        }
    }

    #[test]
    fn the_path_to_a_violation_is_the_shortest_one_whatever_the_threads() {
        // Somebody asks, another node is asked, and it answers: with one's own that is a majority.
        let explored_to_its_end = paths(|| planted(put_get::model(Level::Quorum)), false);
        are_the_same(&explored_to_its_end, &[(PLANTED, 3)]);
        let stopped = paths(|| planted(register::model()), true);
        are_the_same(&stopped, &[(PLANTED, 3)]);
        let at_one = paths(|| put_get::model(Level::One), false);
        // A put ends with the first acknowledgement, its own node's, and another node is read: two steps.
        are_the_same(&at_one, &[("P3: a read after an ok write finds it", 2)]);
    }

    #[test]
    fn every_state_is_gone_through_where_nothing_shows_the_property() {
        let model = put_get::model(Level::Quorum);
        let last = std::cell::Cell::new(0);
        let names = ["P3: a read after an ok write finds it"];
        let found = shortest(&model, &names, Until::All, 2, |states, _| last.set(states));
        assert!(found.is_empty());
        assert_eq!(last.get(), model.setup.states);
    }
}
