//! Several who want something of one ring at once.

use std::thread;

use tests::{
    cluster::Cluster,
    process::{eventually, orrery},
    rings::{fill, has_all, has_members, members, ring, serves},
};

#[test]
fn five_processes_join_through_the_only_member_at_once() {
    let cluster = Cluster::start(1, &["--replication", "3"]);
    fill(&cluster, 0, 2_000);
    let mut joiners: Vec<_> = (1..=5).map(|number| cluster.joiner(number, 0)).collect();
    let mut ids: Vec<String> = joiners.iter_mut().map(serves).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["n2", "n3", "n4", "n5", "n6"]);
    for node in 0..=5 {
        has_members(&cluster, node, &["n1", "n2", "n3", "n4", "n5", "n6"]);
        has_all(&mut cluster.connect(node), 2_000);
    }
}

#[test]
fn operators_that_contradict_each_other_are_each_told_what_came_of_it() {
    let cluster = Cluster::start(5, &[]);
    fill(&cluster, 0, 2_000);
    let asked: [(u16, &[&str]); 6] = [
        (0, &["leave", "n5"]),
        (1, &["evict", "n5"]),
        (2, &["leave", "n4"]),
        (0, &["cancel"]),
        (1, &["leave", "n5"]),
        (2, &["cancel"]),
    ];
    thread::scope(|scope| {
        for (node, words) in asked {
            let at = cluster.address(node).to_string();
            scope.spawn(move || {
                let (code, out, why) = orrery(&[words, &["--connect", &at]].concat());
                match code {
                    Some(0) => assert!(!out.is_empty(), "{words:?} says what it did"),
                    Some(1) => assert!(!why.is_empty(), "{words:?} says why not"),
                    other => panic!("{words:?} ended with {other:?}: {out}{why}"),
                }
            });
        }
    });
    // Whatever came of it, all who are members agree, and have everything.
    let agreed = eventually("one final ring on three members", || {
        let rings: Vec<_> = (0..3).filter_map(|node| ring(node, &cluster)).collect();
        let is_agreed = rings.len() == 3
            && rings
                .iter()
                .all(|ring| ring["joint"] == false && ring["epoch"] == rings[0]["epoch"]);
        is_agreed.then(|| rings[0].clone())
    });
    let ids: Vec<String> = members(&agreed).into_iter().map(|(id, _)| id).collect();
    assert!(ids.starts_with(&["n1".into(), "n2".into(), "n3".into()]), "{ids:?}");
    for node in 0..3 {
        has_all(&mut cluster.connect(node), 2_000);
    }
}
