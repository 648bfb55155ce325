//! Every model is explored to its end and holds, has as many states as it once had, and what must be
//! possible in it is. And every path that a model shows is one that the simulated nodes take too, but for
//! those of ring changes: a script has no steps that decide rings and let nodes learn of them.

use harness::scenario::script::ScriptStep;
use kv::core::{
    env::Reply,
    message::{Body, KeyAnswer, ShardBody},
    quorum::Level,
    record::Record,
    types::NodeId,
};
use model::{
    path::ModelPath,
    replay,
    report::{Explored, Options, explore},
    shortest::{Until, shortest},
    world::{Budget, ClusterModel, Envelope, Hashed, Outcome, Setup, get, put},
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
            let value =
                |record: &Option<Record>| record.as_ref().map(|record| record.value.clone());
            value(found) == value(record)
        }
        (Reply::Failed(failure), outcome) => of_failure(*failure) == *outcome,
        (Reply::Written(_) | Reply::Found(_), _) => false,
    }
}

/// The path is taken by the simulation, and ends alike. Nothing to take where the rings change.
fn is_replayed(setup: &Setup, path: &ModelPath) -> bool {
    let name = format!("{}: {}", setup.name, path.property);
    let Some(written) = replay::scenario(setup, &path.actions) else {
        assert!(!setup.rings.is_empty(), "{name}: it has one ring for ever");
        return false;
    };
    let scenario = Scenario::parse(&written.text()).unwrap_or_else(|why| panic!("{name}: {why}"));
    let verdict = run::run(&scenario, true);
    assert_eq!(verdict.violation, None, "{name}");
    for (client, modelled) in (0..).zip(&path.last.clients) {
        let of_client = verdict.history.iter().filter(|done| done.client == client);
        let same = modelled.outcomes.iter().zip(of_client).all(|(one, other)| is_same(one, other));
        assert!(same, "{name}: {modelled:?}, but {:?}\n{:#?}", verdict.history, path.actions);
    }
    true
}

/// Whether a read found this value.
fn holds(reply: &Reply, value: &str) -> bool {
    matches!(reply, Reply::Found(Some(Record { value: Some(held), .. })) if held.as_str() == value)
}

/// An answer to a read, with the first value.
fn is_old_answer(body: &Body) -> bool {
    let Body::Shard(ShardBody::KeyAnswer(KeyAnswer::Found { record, .. })) = body else {
        return false;
    };
    holds(&Reply::Found(record.clone()), "a")
}

/// n1 is asked twice and answers twice, with what it held then: the second answer comes first. The simulation
/// must be told which of the two, because they have the same name.
#[test]
fn of_two_answers_with_one_name_the_simulation_takes_the_one_that_the_path_takes() {
    const LATER_FIRST: &str = "the later answer is read, and the earlier one waits";
    let setup = Setup {
        name: "two answers",
        clocks: vec![1, 1, 1],
        plans: vec![
            vec![put(1, "a", Level::One), get(2, Level::Quorum)],
            vec![put(1, "b", Level::One)],
        ],
        budget: Budget { hedges: 1, doubles: 1, ..Budget::default() },
        // What n2 reads is n1's.
        dead: vec![NodeId(3)],
        ..Setup::default()
    };
    let model = ClusterModel::new(setup).without_forgetting().sometimes(LATER_FIRST, |_, world| {
        let is_old = |envelope: &Hashed<Envelope>| is_old_answer(&envelope.message.body);
        world.replies(0).nth(1).is_some_and(|reply| holds(reply, "b"))
            && world.network.iter().any(is_old)
    });
    let paths = shortest(&model, &[LATER_FIRST], Until::All, 2, |_, _| {});
    let [path] = &paths[..] else { panic!("{} paths", paths.len()) };
    let written = replay::scenario(&model.setup, &path.actions).expect("one ring for ever");
    let is_later = |step: &ScriptStep| matches!(step, ScriptStep::Deliver(wire) if wire.after == 1);
    assert!(written.script.iter().any(is_later), "{:#?}", written.script);
    assert!(is_replayed(&model.setup, path));
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
        paths += explored.seen.iter().filter(|path| is_replayed(&explored.setup, path)).count();
    }
    assert!(paths > 15, "{paths} paths were replayed");
}
