//! What a cluster holds is taken into a folder, and written into any cluster.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use redis::{Commands as _, Connection};
use serde_json::Value;
use tests::{
    cluster::{Cluster, connect, local, ports_in_a_row},
    process::{Process, orrery, refused},
    rings::{fill, has_all, serves},
};

/// Runs a command about a cluster: what it printed.
fn done(cluster: &Cluster, args: &[&str]) -> String {
    let (code, text, why) = orrery(&with_node(cluster, args));
    assert_eq!(code, Some(0), "{text}{why}");
    text
}

fn with_node<'a>(cluster: &Cluster, args: &[&'a str]) -> Vec<&'a str> {
    let address: &'static str = cluster.address(0).to_string().leak();
    [args, &["--connect", address]].concat()
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    parts
}

fn values(connection: &mut Connection, keys: &[String]) -> BTreeMap<String, Option<String>> {
    let found: Vec<Option<String>> = connection.mget(keys).unwrap();
    keys.iter().cloned().zip(found).collect()
}

/// Records of all kinds: in many slots, in one large slot, empty, deleted.
fn write_all_kinds(cluster: &Cluster) -> Vec<String> {
    fill(cluster, 0, 1_500);
    let mut connection = cluster.connect(1);
    let tagged: Vec<String> = (0..700).map(|n| format!("{{tag}}{n}")).collect();
    for keys in tagged.chunks(100) {
        let pairs: Vec<_> = keys.iter().map(|key| (key, key.repeat(3))).collect();
        connection.mset::<_, _, ()>(&pairs).unwrap();
    }
    let odd = ["", "two\r\nlines", "\"quoted\" \\ \u{1f980}"];
    for key in odd {
        connection.set::<_, _, ()>(key, key).unwrap();
    }
    connection.del::<_, ()>(&["k7", "k8", "{tag}9"]).unwrap();
    let plain = (0..1_500).map(|n| format!("k{n}"));
    plain.chain(tagged).chain(odd.map(String::from)).collect()
}

#[test]
fn a_backup_is_restored_into_clusters_of_any_size_and_what_is_newer_stays() {
    let cluster = Cluster::start(3, &[]);
    let keys = write_all_kinds(&cluster);
    let before = values(&mut cluster.connect(2), &keys);
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().join("new/folder").display().to_string();
    let text = done(&cluster, &["backup", &shown]);
    assert!(text.ends_with("2203 records, 2200 of them with a value\n"), "{text}");
    assert_eq!(parts(Path::new(&shown)).len(), 64);
    for nodes in [1, 5] {
        let other = Cluster::start(nodes, &[]);
        for _ in 0..2 {
            let text = done(&other, &["restore", &shown, "--json"]);
            let json: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&json["records"], &json["values"]), (&2_203.into(), &2_200.into()));
            assert_eq!(values(&mut other.connect(nodes - 1), &keys), before);
        }
    }
    // Into the one that it is of, later.
    let mut connection = cluster.connect(0);
    connection.set::<_, _, ()>("k1", "newer").unwrap();
    connection.set::<_, _, ()>("k7", "again").unwrap();
    connection.del::<_, ()>("k2").unwrap();
    let later = values(&mut connection, &keys);
    done(&cluster, &["restore", &shown]);
    assert_eq!(values(&mut cluster.connect(1), &keys), later);
    assert_eq!(later["k1"].as_deref(), Some("newer"));
}

#[test]
fn a_backup_is_gone_on_with_and_one_that_is_whole_or_another_clusters_is_left_alone() {
    let (cluster, other) = (Cluster::start(1, &[]), Cluster::start(1, &[]));
    fill(&cluster, 0, 1_000);
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().display().to_string();
    let why = refused(&with_node(&cluster, &["restore", &shown]));
    assert!(why.contains("has no backup in it"), "{why}");
    done(&cluster, &["backup", &shown]);
    let whole = parts(folder.path());
    let contents = |path: &PathBuf| fs::read(path).unwrap();
    let before: Vec<Vec<u8>> = whole.iter().map(contents).collect();
    let why = refused(&with_node(&cluster, &["backup", &shown]));
    assert!(why.contains("has a whole backup already; give another folder"), "{why}");
    fs::rename(&whole[9], whole[9].with_extension("unfinished")).unwrap();
    fs::remove_file(&whole[40]).unwrap();
    let why = refused(&with_node(&other, &["restore", &shown]));
    assert!(why.contains("has 62 of the 64 parts of a backup: it was not finished"), "{why}");
    let why = refused(&with_node(&other, &["backup", &shown]));
    assert!(why.contains("has a part of a backup of the cluster"), "{why}");
    let text = done(&cluster, &["backup", &shown]);
    assert!(text.contains("; 62 of the 64 parts were there before"), "{text}");
    assert_eq!(parts(folder.path()), whole);
    assert!(whole.iter().map(contents).eq(before.iter().cloned()));
    // Nothing is written of one that is damaged, wherever it is.
    let mut bytes = contents(&whole[63]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&whole[63], bytes).unwrap();
    let why = refused(&with_node(&other, &["restore", &shown]));
    assert!(why.contains("slots-16128-16383.jsonl is damaged"), "{why}");
    fs::remove_file(&whole[3]).unwrap();
    let why = refused(&with_node(&cluster, &["backup", &shown]));
    assert!(why.contains("remove that file, and the part is taken anew"), "{why}");
    fs::write(&whole[3], &before[3]).unwrap();
    let count: usize = redis::cmd("DBSIZE").query(&mut other.connect(0)).unwrap();
    assert_eq!(count, 0);
    fs::write(&whole[63], &before[63]).unwrap();
    done(&other, &["restore", &shown]);
    has_all(&mut other.connect(0), 1_000);
}

#[test]
fn a_backup_does_without_as_many_members_as_a_majority_can() {
    let mut cluster = Cluster::start(3, &["--evict-after", "0"]);
    fill(&cluster, 0, 1_000);
    let folder = tempfile::tempdir().unwrap();
    let shown = |name: &str| folder.path().join(name).display().to_string();
    cluster.nodes[2].kill();
    let text = done(&cluster, &["backup", &shown("two")]);
    assert!(text.contains("1000 records"), "{text}");
    assert!(text.contains("n3 did not answer, the others were enough"), "{text}");
    cluster.nodes[1].kill();
    let why = refused(&with_node(&cluster, &["backup", &shown("one"), "--timeout", "1"]));
    assert!(why.contains("2 of 3 members could not be read"), "{why}");
    assert!(why.contains("and 1 may be silent"), "{why}");
}

#[test]
fn who_is_at_the_address_of_a_member_that_is_gone_is_not_taken_for_it() {
    let mut cluster = Cluster::start(3, &["--evict-after", "0"]);
    fill(&cluster, 0, 300);
    cluster.nodes[2].kill();
    let (client, peer) = (cluster.address(2).to_string(), ports_in_a_row(1) + 10_000);
    let args = ["serve", "--client", &client, "--peer", &local(peer).to_string()];
    let mut stranger = Process::start("stranger", &args.map(String::from));
    serves(&mut stranger);
    let mut connection = connect(cluster.address(2));
    connection.set::<_, _, ()>("k1", "foreign").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().display().to_string();
    let text = done(&cluster, &["backup", &shown]);
    assert!(text.contains("300 records"), "{text}");
    assert!(text.contains("n3 did not answer, the others were enough"), "{text}");
}

#[test]
fn a_restore_waits_for_a_majority_whatever_the_node_does_otherwise() {
    let mut cluster = Cluster::start(3, &["--default-write", "one", "--evict-after", "0"]);
    fill(&cluster, 0, 100);
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().display().to_string();
    done(&cluster, &["backup", &shown]);
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let why = refused(&with_node(&cluster, &["restore", &shown, "--timeout", "1"]));
    assert!(why.contains("TIMEOUT"), "{why}");
    done(&cluster, &["restore", &shown, "--level", "one"]);
}

#[test]
fn records_from_the_future_and_commands_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(1, &[]);
    let mut connection = cluster.connect(0);
    let mut ask = |words: &[&str]| -> String {
        let mut command = redis::cmd("RECORDS");
        command.arg(words);
        match command.query::<redis::Value>(&mut connection) {
            Ok(value) => format!("{value:?}"),
            Err(why) => why.to_string(),
        }
    };
    let ahead = u64::MAX.to_string();
    let why = ask(&["RESTORE", "k", &ahead, "n1", "v"]);
    assert!(why.contains("ahead of this node's clock"), "{why}");
    assert!(ask(&["RESTORE", "k", "-1", "n1", "v"]).contains("is no number"));
    assert!(ask(&["RESTORE", "k", "1", "n0", "v"]).contains("n0"));
    assert!(ask(&["LIST", "0", "16384", "9"]).contains("is no number from 0 to 16383"));
    assert!(ask(&["LIST", "9", "8", "9"]).contains("is no number from 9 to 16383"));
    assert!(ask(&["LIST", "0", "1", "0"]).contains("is no number from 1 to 256"));
    assert!(ask(&["LIST", "0", "16383", "256"]).ends_with("int(1)])"));
    assert_eq!(ask(&["RESTORE", "k", "5", "n9", "v"]), "ok");
    assert_eq!(ask(&["RESTORE", "k", "4", "n9"]), "ok");
    let all = ask(&["LIST", "0", "16383", "256"]);
    let of = |text: &str| format!("bulk-string('{text:?}')");
    let record = ["k", "5", "n9", "v"].map(of).join(", ");
    assert!(all.contains(&record), "{all}");
}
