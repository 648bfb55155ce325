//! Every model is explored to its end and holds, has as many states as it once had, and what must be
//! possible in it is. And every path that a model shows is one that the simulated nodes take too, but for
//! those of ring changes: a script has no steps that decide rings and let nodes learn of them.

use kv::core::env::Reply;
use model::{
    path::ModelPath,
    replay,
    report::{Explored, Options, explore},
    world::{ClusterModel, Outcome},
};
use sim::{
    run,
    scenario::Scenario,
    store::{self, Answer, Done, of_failure},
};

fn all() -> Vec<Explored> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options { threads, ..Options::default() };
    let explored = |model: ClusterModel| explore(model, &options, |_, _, _| {});
    model::all().into_iter().map(explored).collect()
}

/// Whether the simulation ended an operation as the model did.
fn is_same(modelled: &Outcome, simulated: &Done) -> bool {
    let Outcome::Answered { reply, .. } = modelled else {
        return simulated.outcome == store::Outcome::Unknown("node crashed");
    };
    match (reply, &simulated.outcome) {
        (Reply::Written(_), store::Outcome::Ok(Answer::Written(_))) => true,
        (Reply::Found(found), store::Outcome::Ok(Answer::Found(record))) => {
            let value = |record: &Option<kv::core::record::Record>| {
                record.as_ref().map(|record| record.value.clone())
            };
            value(found) == value(record)
        }
        (Reply::Failed(failure), outcome) => of_failure(*failure) == *outcome,
        (Reply::Written(_) | Reply::Found(_), _) => false,
    }
}

/// True when there was something to replay.
fn replays(explored: &Explored, path: &ModelPath) -> bool {
    let name = format!("{}: {}", explored.setup.name, path.property);
    let Some(written) = replay::scenario(&explored.setup, &path.actions) else {
        assert!(!explored.setup.rings.is_empty(), "{name}: it has one ring for ever");
        return false;
    };
    let scenario = Scenario::parse(&written.text()).unwrap_or_else(|why| panic!("{name}: {why}"));
    let verdict = run::run(&scenario, true);
    assert_eq!(verdict.violation, None, "{name}");
    for (client, modelled) in (0..).zip(&path.last.clients) {
        let of_client = verdict.history.iter().filter(|done| done.client == client);
        let same = modelled.outcomes.iter().zip(of_client).all(|(one, other)| is_same(one, other));
        assert!(same, "{name}: {modelled:?}, but {:?}", verdict.history);
    }
    true
}

/// One test, so that the models have all cores one after the other.
#[test]
fn every_model_holds_to_its_end_and_its_paths_are_taken_by_the_simulation_too() {
    let mut paths = 0;
    for explored in all() {
        let name = explored.setup.name;
        let violated: Vec<&str> = explored.violated.iter().map(|path| path.property).collect();
        assert!(violated.is_empty(), "{name}: {violated:?} violated");
        assert!(explored.is_complete, "{name}: an unfinished search proves nothing");
        assert_eq!(explored.impossible, Vec::<&str>::new(), "{name}: never seen");
        assert_eq!(explored.states, explored.setup.states, "{name}: states");
        paths += explored.seen.iter().filter(|path| replays(&explored, path)).count();
    }
    assert!(paths > 15, "{paths} paths were replayed");
}
