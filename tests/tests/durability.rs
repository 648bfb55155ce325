//! What was acknowledged outlives its processes, and what is damaged is never served.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use kv::journal::format::{BATCH_HEAD, PAGE, read_batch_head};
use redis::Commands as _;
use rustix::process::Signal;
use serde_json::Value;
use tests::{
    cluster::{Cluster, connect, local, ports_in_a_row},
    kills::{Written, missing, start_again, write_and_kill},
    process::{Process, eventually, orrery, refused},
    rings::{fill, has_all, has_members, ring, serves},
    rolling::{Trial, restart_all},
};

/// The segments of a member's journal.
fn segments(data: &Path) -> Vec<PathBuf> {
    let members = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let member = members.filter(|path| path.is_dir()).max().expect("it was a member");
    let files = fs::read_dir(member).unwrap().map(|entry| entry.unwrap().path());
    let is_segment =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("segment-");
    let mut segments: Vec<PathBuf> = files.filter(is_segment).collect();
    segments.sort();
    segments
}

#[test]
fn what_was_acknowledged_outlives_the_end_of_every_process() {
    let mut cluster = Cluster::start_with_data(3, &[]);
    let mut keys = Written::keys(6);
    for round in 0..4 {
        let count =
            write_and_kill(&mut cluster, &mut keys, Duration::from_millis(200 + 50 * round));
        assert!(count > 0, "nothing was written in round {round}");
        start_again(&mut cluster);
        assert_eq!(missing(&cluster, &keys), [""; 0], "in round {round}");
    }
    // They are who they were, and no slot moved.
    has_members(&cluster, 0, &["n1", "n2", "n3"]);
    assert_eq!(ring(0, &cluster).unwrap()["epoch"], 1);
    assert!(cluster.nodes[0].log().contains("n1 starts again, as the member that it was"));
}

#[test]
fn members_that_are_started_again_one_after_the_other_move_no_slot() {
    let mut cluster = Cluster::start_with_data(5, &[]);
    let trial = Trial { rounds: 5, writers: 3, records: 5_000, timeout_s: 120 };
    let mut failed = Vec::new();
    let outcome = restart_all(&mut cluster, trial, |round, _, why| {
        failed.extend(why.map(|why| format!("round {round}: {why}")));
    });
    assert_eq!((outcome.lost, outcome.wedged, outcome.moved), (0, 0, 0), "{failed:?}");
    assert!(outcome.acknowledged > 0);
    // A node that starts takes connections before it serves.
    let expected = ["BUSY", "LOADING", "TIMEOUT"];
    assert!(outcome.refused.keys().all(|code| expected.contains(&code.as_str())), "{outcome:?}");
}

#[test]
fn a_member_that_was_away_gets_what_it_missed() {
    let mut cluster = Cluster::start_with_data(3, &[]);
    fill(&cluster, 0, 500);
    cluster.nodes[2].signal(Signal::TERM);
    assert!(cluster.nodes[2].wait().success());
    fill(&cluster, 0, 1_500);
    let again = cluster.process(2);
    cluster.nodes[2] = again;
    assert_eq!(serves(&mut cluster.nodes[2]), "n3");
    has_all(&mut cluster.connect(2), 1_500);
    assert_eq!(ring(2, &cluster).unwrap()["epoch"], 1);
}

#[test]
fn a_node_alone_keeps_its_records_and_the_levels_of_durability_are_there() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("not/there/yet").display().to_string();
    let port = ports_in_a_row(1);
    let (client, peer) = (local(port).to_string(), local(port + 10_000).to_string());
    let args = ["serve", "--client", &client, "--peer", &peer, "--data", &data, "--durability"];
    for (round, level) in ["always", "interval", "none", "always"].into_iter().enumerate() {
        let args: Vec<String> =
            [&args[..], &[level]].concat().iter().map(ToString::to_string).collect();
        let mut node = Process::start("n1", &args);
        assert_eq!(serves(&mut node), "n1");
        let mut connection = connect(local(port));
        for before in 0..round {
            let found: String = connection.get(format!("round {before}")).unwrap();
            assert_eq!(found, "");
        }
        connection.set::<_, _, ()>(format!("round {round}"), "").unwrap();
        let info: String = redis::cmd("INFO").arg("persistence").query(&mut connection).unwrap();
        assert!(info.contains(&format!("\r\ndurability:{level}\r\n")), "{info}");
        node.signal(Signal::TERM);
        assert!(node.wait().success());
        assert!(node.log().contains("the journal is closed"));
    }
}

#[test]
fn folders_that_are_no_nodes_or_another_ones_are_refused_and_left_alone() {
    let mut cluster = Cluster::start_with_data(2, &[]);
    let (first, second) = (cluster.data(0), cluster.data(1));
    let port = ports_in_a_row(1);
    let (client, peer) = (local(port).to_string(), local(port + 10_000).to_string());
    let start = |data: &Path| {
        let data = data.display().to_string();
        refused(&["serve", "--client", &client, "--peer", &peer, "--data", &data])
    };
    let why = start(&first);
    assert!(why.contains("another process has the data folder"), "{why}");
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(start(&file).contains("cannot be made (--data)"));
    let why = start(other.path());
    assert!(why.contains("is not empty, and no node's: file is in it"), "{why}");
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1, "nothing was changed");
    // Swapped folders: each says whose it is.
    for node in &mut cluster.nodes {
        node.signal(Signal::TERM);
        assert!(node.wait().success());
    }
    let aside = other.path().join("aside");
    for (from, to) in [(&first, &aside), (&second, &first), (&aside, &second)] {
        fs::rename(from, to).unwrap();
    }
    let mut swapped = cluster.process(0);
    assert_eq!(swapped.wait().code(), Some(1));
    assert!(
        swapped.log().contains("the journal is of n2, whose address for peers is"),
        "{}",
        swapped.log()
    );
    for (from, to) in [(&first, &aside), (&second, &first), (&aside, &second)] {
        fs::rename(from, to).unwrap();
    }
    // A later version of the format.
    let newer = other.path().join("newer");
    let folder = newer.join("member-0001");
    fs::create_dir_all(&folder).unwrap();
    fs::write(newer.join("lock"), "").unwrap();
    let head = kv::journal::format::SegmentHead { version: 9, folder: 1, segment: 1 };
    fs::write(folder.join("segment-00000001"), kv::journal::format::segment_head(head)).unwrap();
    let why = start(&newer);
    assert!(why.contains("has version 9 of the format"), "{why}");
    cluster.nodes = (0..2).map(|node| cluster.process(node)).collect();
    cluster.nodes.iter_mut().for_each(|node| drop(serves(node)));
}

#[test]
fn a_folder_is_checked_offline_and_left_as_it_is() {
    let mut cluster = Cluster::start_with_data(1, &[]);
    fill(&cluster, 0, 3_000);
    cluster.nodes[0].kill();
    let data = cluster.data(0);
    let shown = data.display().to_string();
    let contents =
        || -> Vec<Vec<u8>> { segments(&data).iter().map(|path| fs::read(path).unwrap()).collect() };
    let before = contents();
    let (code, text, why) = orrery(&["check", &shown]);
    assert_eq!(code, Some(0), "{text}{why}");
    assert!(text.contains("  3000 records, 3000 of them with a value; "), "{text}");
    assert!(text.ends_with("whole: all that was acknowledged is there\n"), "{text}");
    let json =
        || -> Value { serde_json::from_str(&orrery(&["check", "--json", &shown]).1).unwrap() };
    let said = json();
    assert_eq!((&said["records"], &said["member"]), (&3_000.into(), &"n1".into()));
    assert_eq!((&said["is_whole"], &said["damage"]), (&true.into(), &Value::Array(Vec::new())));
    assert!(before == contents());
    damage(&data);
    let before = contents();
    let (code, text, _) = orrery(&["check", &shown]);
    assert_eq!(code, Some(1));
    assert!(text.contains("  damaged: segment-00000001: "), "{text}");
    assert_eq!(json()["is_whole"], false);
    assert!(before == contents());
    let empty = tempfile::tempdir().unwrap();
    let why = refused(&["check", &empty.path().display().to_string()]);
    assert!(why.contains("is no data folder of a node"), "{why}");
}

#[test]
fn a_folder_stays_short_however_often_its_keys_are_written() {
    let mut cluster = Cluster::start_with_data(1, &["--durability", "none"]);
    let mut connection = cluster.connect(0);
    let value = |round: u32| format!("{round:0200}");
    // Some 60 MB, of which 24 kB count in the end.
    let rounds = 250;
    for round in 1..=rounds {
        let mut pipe = redis::pipe();
        for n in 0..1_000 {
            pipe.set(format!("key {}", n % 100), value(round)).ignore();
        }
        pipe.query::<()>(&mut connection).unwrap();
    }
    let data = cluster.data(0);
    eventually("a short folder", || {
        let bytes: u64 = segments(&data).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        (bytes <= 6 * 4 * 1024 * 1024).then_some(())
    });
    cluster.nodes[0].signal(Signal::TERM);
    assert!(cluster.nodes[0].wait().success());
    start_again(&mut cluster);
    let mut connection = cluster.connect(0);
    for n in 0..100 {
        let found: String = connection.get(format!("key {n}")).unwrap();
        assert_eq!(found, value(rounds), "key {n}");
    }
}

/// Damages entries in the middle of a journal.
/// Overwrites bytes in the longest batch of those that were safe for sure: what is lost so is never a torn tail.
fn damage(data: &Path) {
    let mut found = Vec::new();
    for segment in segments(data) {
        let bytes = fs::read(&segment).unwrap();
        let heads = bytes.chunks(PAGE).filter_map(read_batch_head);
        found.extend(heads.map(|head| (head, segment.clone())));
    }
    let synced = found.iter().map(|(head, _)| head.synced).max().expect("a batch");
    let safe = found.into_iter().filter(|(head, _)| head.number <= synced);
    let (longest, segment) =
        safe.max_by_key(|(head, _)| head.length).expect("a batch that was safe");
    let mut bytes = fs::read(&segment).unwrap();
    let entries = longest.page as usize * PAGE + BATCH_HEAD;
    let middle = entries + usize::try_from(longest.length).unwrap() / 2;
    bytes[middle..middle + 10].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(&segment, bytes).unwrap();
}

#[test]
fn a_damaged_member_comes_back_as_another_one_and_serves_nothing_that_is_damaged() {
    let mut cluster = Cluster::start_with_data(3, &[]);
    fill(&cluster, 0, 3_000);
    cluster.nodes[2].kill();
    damage(&cluster.data(2));
    let again = cluster.process(2);
    cluster.nodes[2] = again;
    assert_eq!(serves(&mut cluster.nodes[2]), "n4");
    let log = cluster.nodes[2].log();
    assert!(
        log.contains("of what was acknowledged is damaged or missing: segment-00000001:"),
        "{log}"
    );
    assert!(log.contains("comes back as another member than n3"), "{log}");
    has_members(&cluster, 0, &["n1", "n2", "n4"]);
    has_all(&mut cluster.connect(2), 3_000);
    // And that one is who it is from then on.
    cluster.nodes[2].kill();
    let again = cluster.process(2);
    cluster.nodes[2] = again;
    assert_eq!(serves(&mut cluster.nodes[2]), "n4");
    has_all(&mut cluster.connect(2), 3_000);
}

#[test]
fn damage_of_the_only_copy_waits_for_the_operator() {
    let mut cluster = Cluster::start_with_data(1, &[]);
    fill(&cluster, 0, 3_000);
    cluster.nodes[0].kill();
    let data = cluster.data(0);
    damage(&data);
    let before: Vec<Vec<u8>> = segments(&data).iter().map(|path| fs::read(path).unwrap()).collect();
    let mut again = cluster.process(0);
    assert_eq!(again.wait().code(), Some(1));
    let log = again.log();
    assert!(log.contains("n1 is the only owner of 16384 of 16384 slots"), "{log}");
    assert!(log.contains("start with --accept-loss to go on with the "), "{log}");
    let after: Vec<Vec<u8>> = segments(&data).iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(before == after, "nothing was changed");
    let (client, peer) = (cluster.address(0).to_string(), cluster.peer_address(0).to_string());
    let data = data.display().to_string();
    let args = ["serve", "--client", &client, "--peer", &peer, "--data", &data, "--accept-loss"];
    let mut again = Process::start("n1", &args.map(String::from));
    assert_eq!(serves(&mut again), "n1");
    let mut connection = cluster.connect(0);
    let found: usize = redis::cmd("DBSIZE").query(&mut connection).unwrap();
    assert!((1..3_000).contains(&found), "{found} of 3000 can be read");
}
