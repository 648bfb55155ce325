//! P3 and P4 hold across a change of the ring (P12). The rings are decided one after the other, each node
//! learns of them when it pleases, and coordinators are at any epoch: who is replaced still serves
//! clients by its old ring. [`cancelled`] is a change that is given up, and [`left`] one whose leaving member
//! drops nothing that an owner lacks.

use std::sync::Arc;

use kv::core::{
    env::Reply,
    message::{Body, KeyAnswer, ShardBody, SlotsAnswer, SlotsRequest},
    quorum::Level,
    record::Version,
    ring::{Change, Joiner, Ring},
    types::{Epoch, NodeId},
};

use crate::world::{
    Ask, Budget, ClusterModel, KEY, ModelState, Setup, broken, get, hands_over, put, ring_of,
};

/// Few slots: the one of the key, and some that stay empty.
const SLOTS: u16 = 4;

/// No change but that all who had to report did: the joint ring is followed by its final one.
const DONE: &[Change] = &[];

/// A ring of three members, and what these changes make of it, one after the other.
fn rings(changes: &[&[Change]]) -> Vec<Arc<Ring>> {
    let mut rings = vec![ring_of(3, SLOTS)];
    for changes in changes {
        let last = rings.last().expect("not empty");
        let changes = changes.iter().cloned().collect();
        let next = last.after(&changes, true).expect("there is something to change");
        assert!(last.may_be_followed_by(&next), "{last:?} {next:?}");
        rings.push(next);
    }
    rings.into_iter().map(Arc::new).collect()
}

fn join() -> Change {
    Change::Join(Joiner::new("node4:1", 4))
}

fn evict(node: u32) -> Change {
    Change::Evict(NodeId(node))
}

fn leave(node: u32) -> Change {
    Change::Leave(NodeId(node))
}

/// Of the messages, those that quorums rest on. What is offered and handed over by who gives a slot up is
/// [`left`]'s.
fn speaks(body: &Body) -> bool {
    match body {
        Body::Shard(ShardBody::KeyAnswer(KeyAnswer::Fenced { .. })) => false,
        Body::KeyRequest(_) | Body::Shard(ShardBody::KeyAnswer(_)) => true,
        body => pulls(body),
    }
}

/// Whether a message is one by which a new owner pulls.
fn pulls(body: &Body) -> bool {
    matches!(
        body,
        Body::Shard(
            ShardBody::SlotsRequest { request: SlotsRequest::Pull { .. }, .. }
                | ShardBody::SlotsAnswer { answer: SlotsAnswer::Pulled { .. }, .. }
        )
    )
}

fn base(setup: Setup) -> ClusterModel {
    seen(ClusterModel::new(Setup { speaks, ..setup }))
}

/// The first client writes, the second reads: on all rings.
fn seen(cluster: ClusterModel) -> ClusterModel {
    cluster
        .quorum()
        .sometimes("a write ends on a joint ring", |cluster, world| {
            written(world).any(|(_, epoch)| is_joint(cluster, epoch))
        })
        .sometimes("a write ends on the last ring", |cluster, world| {
            written(world).any(|(_, epoch)| epoch == last(cluster))
        })
        .sometimes("a read finds the value on the last ring", |cluster, world| {
            let is_it = |(reply, epoch): (&Reply, Epoch)| {
                epoch == last(cluster) && matches!(reply, Reply::Found(Some(_)))
            };
            world.answers(1).any(is_it)
        })
}

fn last(cluster: &ClusterModel) -> Epoch {
    cluster.rings().last().expect("a first ring at least").epoch()
}

fn is_joint(cluster: &ClusterModel, epoch: Epoch) -> bool {
    cluster.rings().iter().any(|ring| ring.epoch() == epoch && ring.is_joint())
}

/// The versions of the first client's writes, and on which rings they ended.
fn written(world: &ModelState) -> impl Iterator<Item = (Version, Epoch)> + '_ {
    world.answers(0).filter_map(|(reply, epoch)| match reply {
        Reply::Written(version) => Some((*version, epoch)),
        Reply::Found(_) | Reply::Failed(_) => None,
    })
}

fn plans(writer: u32, readers: [u32; 2]) -> Vec<Vec<Ask>> {
    let level = Level::Quorum;
    vec![vec![put(writer, "a", level)], readers.map(|node| get(node, level)).to_vec()]
}

/// ABC -> ABD: D is pulled for, C was taken for dead and is not.
fn abd(name: &'static str, about: &'static str, plans: Vec<Vec<Ask>>) -> Setup {
    let (clocks, rings) = (vec![1, 1, 1, 1], rings(&[&[join(), evict(3)], DONE]));
    Setup { name, about, clocks, plans, rings, ..Setup::default() }
}

/// ABC -> ABD: C writes by its old ring.
pub fn replaced() -> ClusterModel {
    let about = "a member is replaced by another, and goes on writing";
    base(Setup { states: 434_649, ..abd("ring-replaced", about, plans(3, [1, 4])) })
}

/// ABC -> ABD: C reads by its old ring.
pub fn stale() -> ClusterModel {
    let about = "a member is replaced by another, and goes on reading";
    base(Setup { states: 416_306, ..abd("ring-stale", about, plans(1, [3, 4])) })
}

/// ABC -> A: who stays pulls from those who go.
pub fn shrunk() -> ClusterModel {
    base(Setup {
        name: "ring-shrunk",
        about: "two of three members go",
        states: 40_820,
        clocks: vec![1, 1, 1],
        plans: plans(2, [1, 3]),
        rings: rings(&[&[evict(2), evict(3)], DONE]),
        ..Setup::default()
    })
}

/// ABC -> ABD, and C is dead.
pub fn dead() -> ClusterModel {
    base(Setup {
        name: "ring-dead",
        about: "a member that is dead is replaced by another",
        states: 175_711,
        clocks: vec![1, 1, 1, 1],
        plans: plans(2, [4, 1]),
        rings: rings(&[&[join(), evict(3)], DONE]),
        dead: vec![NodeId(3)],
        budget: Budget { pulls: 1, ..Budget::default() },
        ..Setup::default()
    })
}

/// ABC -> ABD -> D, the second change while the first is under way.
pub fn again() -> ClusterModel {
    base(Setup {
        name: "ring-again",
        about: "a joint ring is followed by another joint ring",
        states: 1_234_969,
        clocks: vec![1, 1, 1, 1],
        plans: vec![vec![put(2, "a", Level::Quorum)], vec![get(4, Level::Quorum)]],
        rings: rings(&[&[join(), evict(3)], &[evict(1), evict(2)], DONE]),
        ..Setup::default()
    })
}

/// ABC -> ABD, given up: ABC again. D writes, which was to be a member and is not.
///
/// What holds here rests on the joint quorums: each has a majority of ABC, whatever its epoch. Nobody pulls,
/// for no ring comes of it: D has what it is sent. Of the reads of one node only every other one asks D.
pub fn cancelled() -> ClusterModel {
    let setup = Setup {
        name: "ring-cancelled",
        about: "a member is to be replaced by another, and that is given up",
        states: 241_271,
        clocks: vec![1, 1, 1, 1],
        plans: plans(4, [1, 1]),
        rings: rings(&[&[join(), evict(3)], &[Change::Cancel(Epoch(2))]]),
        speaks: |body| speaks(body) && !pulls(body),
        ..Setup::default()
    };
    seen(ClusterModel::new(setup))
}

/// ABC -> ACD: B leaves, and hands over what nobody else may have, for one acknowledgement is all that its
/// write waits for. D does not ask it for what it wrote: it pulls from A and C.
pub fn left() -> ClusterModel {
    let level = Level::Quorum;
    let setup = Setup {
        name: "ring-leave",
        about: "a member leaves, and hands over what it alone has",
        states: 1_415_118,
        clocks: vec![1, 1, 1, 1],
        plans: vec![vec![put(2, "a", Level::One)], vec![get(4, level), get(1, level)]],
        rings: rings(&[&[join(), leave(2)], DONE]),
        speaks: |body| speaks(body) || hands_over(body),
        // It offers again what was lacking, and all once more on the last ring.
        budget: Budget { pulls: 2, ..Budget::default() },
        patient: Some(NodeId(2)),
        ..Setup::default()
    };
    seen(ClusterModel::new(setup))
        .always(broken::DROPPED, |_, world| world.broken != Some(broken::DROPPED))
        .always("an ok write at any level is on an owner of the newest ring", |cluster, world| {
            let newest = cluster.owned(world).max().flatten();
            written(world).all(|(version, _)| newest >= Some(version))
        })
        .sometimes("who left has dropped the record", |cluster, world| {
            let (who_left, last) = (&world.nodes[1].shard, last(cluster));
            let had_it = written(world).any(|(_, epoch)| epoch != last);
            had_it && who_left.epoch() == last && who_left.version(KEY).is_none()
        })
}

/// ABC -> ABD at LINEARIZABLE: two writes one after the other, and the clock of the second writer is
/// behind.
pub fn register() -> ClusterModel {
    let level = Level::Linearizable;
    let plans = vec![vec![put(3, "a", level), put(1, "b", level)]];
    let about = "LINEARIZABLE while a member is replaced by another";
    let setup = Setup { clocks: vec![1, 1, 2, 1], ..abd("ring-register", about, plans) };
    ClusterModel::new(Setup { states: 1_105_493, speaks, ..setup })
        .always("P13: a later LINEARIZABLE write has a larger version", |_, world| {
            let versions: Vec<Version> = written(world).map(|(version, _)| version).collect();
            versions.is_sorted_by(|one, later| one < later)
        })
        .sometimes("both end on the joint ring", |cluster, world| {
            written(world).filter(|(_, epoch)| is_joint(cluster, *epoch)).count() == 2
        })
        .sometimes("both end on the last ring", |cluster, world| {
            written(world).filter(|(_, epoch)| *epoch == last(cluster)).count() == 2
        })
}

/// ABC -> ABD at QUORUM: two writes one after the other, and the clock of the second writer is behind.
pub fn later() -> ClusterModel {
    let level = Level::Quorum;
    let plans = vec![vec![put(3, "a", level), put(1, "b", level)]];
    let about = "QUORUM: a later write wins while a member is replaced by another";
    let setup = Setup { clocks: vec![1, 1, 2, 1], ..abd("ring-later", about, plans) };
    ClusterModel::new(Setup { states: 240_323, speaks, ..setup })
        .quorum()
        .sometimes("the second write is issued again", |_, world| world.has_reissued())
        .sometimes("both end on the joint ring", |cluster, world| {
            written(world).filter(|(_, epoch)| is_joint(cluster, *epoch)).count() == 2
        })
        .sometimes("both end on the last ring", |cluster, world| {
            written(world).filter(|(_, epoch)| *epoch == last(cluster)).count() == 2
        })
}

/// ABC -> ACD: C, which D pulls from, crashes and starts again from its journal, and B writes by its old
/// ring. Nobody has to ask B for what it wrote.
pub fn crash() -> ClusterModel {
    let level = Level::Quorum;
    base(Setup {
        name: "ring-crash",
        about: "a member is replaced by another, and a third crashes meanwhile",
        states: 396_164,
        clocks: vec![1, 1, 1, 1],
        plans: vec![vec![put(2, "a", level)], vec![get(1, level)]],
        rings: rings(&[&[join(), evict(2)], DONE]),
        budget: Budget { crashes: 1, ..Budget::default() },
        frail: vec![NodeId(3)],
        ..Setup::default()
    })
}
