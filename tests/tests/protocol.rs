//! The protocol of Redis at a real process: what clients, people and web pages send.

use std::{io::Write as _, net::Shutdown};

use kv::resp::reply;
use redis::{Commands as _, Connection, Value};
use tests::{
    cluster::{Cluster, read_all},
    process::eventually,
};

/// All that a node answers to some bytes, until one side closes.
fn answer(cluster: &Cluster, bytes: &[u8]) -> String {
    let stream = cluster.stream(0);
    let mut writer = &stream;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A node that closes before it took everything ends this.
            let _ = writer.write_all(bytes);
            let _ = writer.shutdown(Shutdown::Write);
        });
        String::from_utf8_lossy(&read_all(&stream)).into_owned()
    })
}

fn info(connection: &mut Connection, sections: &[&str]) -> String {
    redis::cmd("INFO").arg(sections).query(connection).unwrap()
}

/// The value of a line of INFO.
fn told(info: &str, name: &str) -> Option<String> {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(ToString::to_string)
}

#[test]
fn nothing_of_a_http_request_is_done_whatever_its_method_and_however_it_is_cut() {
    let cluster = Cluster::start(3, &[]);
    let body = "SET page-1 x\r\nRING EVICT n2 n3\r\n*3\r\n$3\r\nSET\r\n$6\r\npage-2\r\n$1\r\nx\r\n";
    let methods = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI",
        "SET", "DEL", "INFO", "post",
    ];
    let mut sent = 0;
    for method in methods {
        let request = format!(
            "{method} /page-3 HTTP/1.1\r\nSET page-4 x\r\nAccept: */*\r\nHost: 127.0.0.1:7001\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(answer(&cluster, request.as_bytes()), "", "an answer to {method}");
        sent += 1;
    }
    let whole = format!("POST / HTTP/1.1\r\nHost: a\r\n\r\n{body}");
    for cut in 1..whole.len() {
        let stream = cluster.stream(0);
        stream.set_nodelay(true).unwrap();
        // The second piece may come after the node has closed.
        let _ = (&stream).write_all(&whole.as_bytes()[..cut]);
        let _ = (&stream).write_all(&whole.as_bytes()[cut..]);
        assert_eq!(read_all(&stream), b"", "an answer, cut at {cut}");
        sent += 1;
    }
    // As Redis: these two are refused as words, in arrays too. What was asked before is answered.
    for (bytes, before) in [
        ("PING\r\nHost: a\r\nSET page-5 x\r\n", "+PONG\r\n"),
        ("*1\r\n$4\r\nPOST\r\nSET page-5 x\r\n", ""),
        ("GET /\r\nhost: a\r\nSET page-5 x\r\n", "$-1\r\n"),
    ] {
        assert_eq!(answer(&cluster, bytes.as_bytes()), before);
        sent += 1;
    }
    let mut connection = cluster.connect(0);
    let info = info(&mut connection, &[]);
    assert_eq!(told(&info, "http_connections_closed"), Some(sent.to_string()));
    assert_eq!(told(&info, "epoch").as_deref(), Some("1"), "the ring was changed");
    cluster.nodes[0].logs("a client connection that speaks HTTP is closed");
    let keys = ["page-1", "page-2", "/page-3", "page-4", "page-5"];
    assert_eq!(connection.exists::<_, usize>(&keys).unwrap(), 0, "a page wrote");
}

#[test]
fn inline_commands_take_quotes_as_redis_does() {
    let cluster = Cluster::start(1, &[]);
    for (line, expected) in [
        (r#"SET "a" b"#, "+OK\r\n"),
        ("GET a", "$1\r\nb\r\n"),
        (r#"SET "a b" 'it\'s'"#, "+OK\r\n"),
        (r#"GET "\x61 b""#, "$4\r\nit's\r\n"),
        (r#"ECHO "\"\n\r\t\b\a\\""#, "$7\r\n\"\n\r\t\x08\x07\\\r\n"),
        ("SET '' \"\"", "+OK\r\n"),
        ("GET ''", "$0\r\n\r\n"),
        (r#"ECHO a"b c""#, "$4\r\nab c\r\n"),
        ("SET \"a v\r\nPING", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        ("SET 'a' 'v\r\nPING", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        ("ECHO \"a\"b\r\nPING", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        assert_eq!(answer(&cluster, format!("{line}\r\n").as_bytes()), expected, "{line}");
    }
    let mut connection = cluster.connect(0);
    assert_eq!(redis::cmd("DBSIZE").query::<usize>(&mut connection).unwrap(), 3);
    assert_eq!(connection.exists::<_, usize>(&["\"a\"", "\"a"]).unwrap(), 0);
}

/// Found with the clients of Python, Node.js and Rust: MULTI was refused, what followed was done, and the
/// client reported that nothing was.
#[test]
fn nothing_between_multi_and_exec_is_done_and_the_client_is_told_so() {
    let cluster = Cluster::start(1, &[]);
    let mut connection = cluster.connect(0);
    let mut pipeline = redis::pipe();
    let error = pipeline.atomic().set("a", "1").set("b", "2").query::<()>(&mut connection);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("there are no transactions here"), "{error}");
    assert_eq!(connection.exists::<_, usize>(&["a", "b"]).unwrap(), 0, "a write was done");

    let refused = "-ERR there are no transactions here: this command is not done, and nothing is until \
                   EXEC or DISCARD; send it without MULTI\r\n";
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    let watched = "-ERR there are no transactions here: WATCH watches nothing\r\n";
    for (sent, expected) in [
        (
            "MULTI|SET a 1|MSET a 1 b 2|DEL a|EXEC",
            &["+OK\r\n", refused, refused, refused, aborted][..],
        ),
        (
            "MULTI|RING EVICT n1|PING|EXEC|PING",
            &["+OK\r\n", refused, refused, aborted, "+PONG\r\n"],
        ),
        (
            "MULTI|SET a 1|DISCARD|EXEC",
            &["+OK\r\n", refused, "+OK\r\n", "-ERR EXEC without MULTI\r\n"],
        ),
        ("MULTI|EXEC", &["+OK\r\n", "*0\r\n"]),
        ("MULTI|MULTI|EXEC", &["+OK\r\n", "-ERR MULTI calls can not be nested\r\n", "*0\r\n"]),
        (
            "MULTI|WATCH a|EXEC",
            &["+OK\r\n", "-ERR WATCH inside MULTI is not allowed\r\n", "*0\r\n"],
        ),
        ("EXEC|DISCARD", &["-ERR EXEC without MULTI\r\n", "-ERR DISCARD without MULTI\r\n"]),
        ("WATCH a|UNWATCH", &[watched, "+OK\r\n"]),
        ("MULTI|SET a 1|RESET|SET c 1", &["+OK\r\n", refused, "+RESET\r\n", "+OK\r\n"]),
        ("MULTI|SET a 1|QUIT|SET a 1", &["+OK\r\n", refused, "+OK\r\n"]),
        (
            "MULTI|NOPE|EXEC|DEL c",
            &["+OK\r\n", "-ERR unknown command 'NOPE'\r\n", aborted, ":1\r\n"],
        ),
        (
            "MULTI|SET a|EXEC",
            &["+OK\r\n", "-ERR wrong number of arguments for 'set' command\r\n", aborted],
        ),
    ] {
        let lines = format!("{}\r\n", sent.replace('|', "\r\n"));
        assert_eq!(answer(&cluster, lines.as_bytes()), expected.concat(), "{sent}");
    }
    assert_eq!(redis::cmd("DBSIZE").query::<usize>(&mut connection).unwrap(), 0);
}

#[test]
fn commands_of_many_arguments_are_done_and_those_of_too_many_leave_the_connection_as_it_is() {
    let cluster = Cluster::start(3, &[]);
    let mut connection = cluster.connect(0);
    for count in [2_048, 20_000] {
        let pairs: Vec<(String, String)> =
            (0..count).map(|n| (format!("k{n}"), format!("{n:0200}"))).collect();
        let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
        let () = connection.mset(&pairs).unwrap();
        let found: Vec<String> = connection.mget(&keys).unwrap();
        assert!(found.iter().eq(pairs.iter().map(|(_, value)| value)), "{count} values");
        assert_eq!(connection.exists::<_, usize>(&keys).unwrap(), count);
        assert_eq!(connection.del::<_, usize>(&keys).unwrap(), count);
        assert_eq!(connection.exists::<_, usize>(&keys).unwrap(), 0);
    }
    let many = [b"*1048577\r\n".to_vec(), b"$1\r\na\r\n".repeat(1_048_577)].concat();
    let mut long = Vec::new();
    reply::command(&mut long, &["SET", "a", &"v".repeat(100_000)]);
    for (command, why) in [
        (many, "a command has at most 1048576 arguments, and this one has 1048577"),
        (long, "an argument has at most 65536 bytes, and one of these has 100000"),
    ] {
        let sent = [command.as_slice(), b"PING\r\n"].concat();
        let expected = format!("-ERR {why}; nothing was done\r\n+PONG\r\n");
        assert_eq!(answer(&cluster, &sent), expected);
    }
    assert_eq!(connection.exists::<_, usize>("a").unwrap(), 0);
}

/// A command of a hundred thousand keys is sent in waves: at once they were too many for the shards, and
/// other clients would be told BUSY.
#[test]
fn a_large_command_leaves_room_for_others() {
    let cluster = Cluster::start(3, &[]);
    let keys = (0..100_000).map(|n| format!("k{}", n % 1_000));
    let words: Vec<String> = ["EXISTS".to_string()].into_iter().chain(keys).collect();
    let mut large = Vec::new();
    reply::command(&mut large, &words);
    let (stream, mut other) = (cluster.stream(0), cluster.connect(0));
    (&stream).write_all(&large.repeat(4)).unwrap();
    let () = other.set("a", "b").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&stream), b":0\r\n".repeat(4));
    let stats = info(&mut other, &["stats"]);
    assert_eq!(told(&stats, "requests_busy").as_deref(), Some("0"));
}

#[test]
fn info_tells_the_sections_that_it_is_asked_for() {
    let cluster = Cluster::start(2, &[]);
    let mut connection = cluster.connect(0);
    let () = connection.mset(&[("a", "1"), ("b", "2")]).unwrap();
    let headings = |info: &str| -> Vec<String> {
        info.lines().filter_map(|line| line.strip_prefix("# ")).map(ToString::to_string).collect()
    };
    let all = info(&mut connection, &[]);
    for word in ["all", "DEFAULT", "everything"] {
        assert_eq!(headings(&info(&mut connection, &[word])), headings(&all), "{word}");
    }
    assert_eq!(headings(&info(&mut connection, &["server", "KEYSPACE"])), ["Server", "Keyspace"]);
    assert_eq!(info(&mut connection, &["nonsense"]), "");
    let replication = info(&mut connection, &["REPLICATION"]);
    assert_eq!(replication, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n");
    // What tools of Redis look for, and would not go on without.
    for (name, value) in [
        ("redis_version", "7.0.0"),
        ("orrery_version", env!("CARGO_PKG_VERSION")),
        ("redis_mode", "standalone"),
        ("loading", "0"),
        ("blocked_clients", "0"),
        ("cluster_enabled", "0"),
        ("maxclients", "10000"),
        ("db0", "keys=2,expires=0,avg_ttl=0"),
    ] {
        assert_eq!(told(&all, name).as_deref(), Some(value), "{name}");
    }
    let number = |info: &str, name| told(info, name).unwrap().parse::<u64>().unwrap();
    assert!(number(&all, "used_memory") > 1_000_000);
    assert_eq!(number(&all, "used_memory"), number(&all, "used_memory_rss"));
    // The MSET, and the five INFO before: the one that asks is not done yet.
    let commands = |connection: &mut Connection| {
        number(&info(connection, &["stats"]), "total_commands_processed")
    };
    let before = commands(&mut connection);
    assert_eq!(commands(&mut connection), before + 1);
    eventually("a rate", || {
        let pings = (0..100).all(|_| redis::cmd("PING").query::<String>(&mut connection).is_ok());
        let rate = number(&info(&mut connection, &["stats"]), "instantaneous_ops_per_sec");
        (pings && rate > 0).then_some(())
    });
}

#[test]
fn clients_are_told_which_arguments_are_keys_and_what_commands_do() {
    let cluster = Cluster::start(1, &[]);
    let mut connection = cluster.connect(0);
    let all: Vec<Vec<Value>> = redis::cmd("COMMAND").query(&mut connection).unwrap();
    let count: usize = redis::cmd("COMMAND").arg("COUNT").query(&mut connection).unwrap();
    let names: Vec<String> = redis::cmd("COMMAND").arg("LIST").query(&mut connection).unwrap();
    assert_eq!((all.len(), names.len()), (count, count));
    let places = |name: &str| -> (i64, i64, i64, i64) {
        let is_it = |entry: &&Vec<Value>| entry[0] == Value::BulkString(name.into());
        let entry = all.iter().find(is_it).unwrap();
        let number = |at: usize| redis::from_redis_value::<i64>(entry[at].clone()).unwrap();
        (number(1), number(3), number(4), number(5))
    };
    assert_eq!(places("get"), (2, 1, 1, 1));
    assert_eq!(places("mset"), (-3, 1, -1, 2));
    assert_eq!(places("mget"), (-2, 1, -1, 1));
    assert_eq!(places("ring"), (-1, 0, 0, 0));
    let mut docs = redis::cmd("COMMAND");
    let docs: Vec<(String, Vec<Value>)> =
        docs.arg("DOCS").arg(&["mset", "nope"]).query(&mut connection).unwrap();
    assert_eq!((docs.len(), docs[0].0.as_str()), (1, "mset"));
    let keys: Vec<String> = redis::cmd("COMMAND")
        .arg(&["GETKEYS", "MSET", "a", "1", "b", "2"])
        .query(&mut connection)
        .unwrap();
    assert_eq!(keys, ["a", "b"]);
    let hello = answer(&cluster, b"HELLO 3\r\n");
    assert!(
        hello.starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n")
    );
}
