fn orrery(args: &[&str]) -> (Option<i32>, String, String) {
    let done = Command::new(binary()).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn the_command_line_says_with_its_exit_code_how_it_went() {
    let cluster = Cluster::start(1, &[]);
    let at = cluster.address(0).to_string();
    let run = |words: &[&str]| {
        let (code, out, _) = orrery(&[words, &["--connect", &at]].concat());
        (code, out.trim().to_string())
    };
    assert_eq!(run(&["put", "a", "b", "--level", "all"]), (Some(0), "OK".into()));
    assert_eq!(run(&["get", "a"]), (Some(0), "b".into()));
    assert_eq!(run(&["get", "a", "--json"]), (Some(0), r#"{"key":"a","value":"b"}"#.into()));
    assert_eq!(run(&["get", "none"]), (Some(1), String::new()));
    assert_eq!(run(&["del", "a"]), (Some(0), "deleted".into()));
    assert_eq!(run(&["del", "a"]), (Some(1), "absent".into()));
    assert_eq!(run(&["get", &"k".repeat(51)]).0, Some(1));
    let (code, status) = run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, &status["node"], &status["records"]), (Some(0), &"n1".into(), &1.into()));
    assert_eq!(orrery(&["get"]).0, Some(2));
    assert_eq!(orrery(&["get", "a", "--level", "two"]).0, Some(2));
    assert_eq!(orrery(&["serve", "--unknown"]).0, Some(2));
    let nobody = format!("127.0.0.1:{}", free_ports(1)[0]);
    let (code, _, why) = orrery(&["get", "a", "--connect", &nobody]);
    assert_eq!(code, Some(1));
    assert!(why.contains("is a node there?"), "{why}");
}

#[test]
fn a_peer_address_that_is_no_member_is_refused() {
    let args = ["serve", "--peer", "127.0.0.1:1", "--initial-cluster", "127.0.0.1:2"];
    let (code, _, why) = orrery(&args);
    assert_eq!(code, Some(1));
    assert!(why.contains("--peer 127.0.0.1:1 is not one of --initial-cluster"), "{why}");
}

/// A first port for `dev`: the next ones, and those 10000 above, are free most likely.
fn dev_port() -> u16 {
    eventually("free ports in a row", || {
        let port = free_ports(1)[0] % 20_000 + 20_000;
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        (0..3).all(|n| free(port + n) && free(port + 10_000 + n)).then_some(port)
    })
}

fn start_dev(port: u16) -> Process {
    let args = ["dev", "--nodes", "3", "--port", &port.to_string()].map(String::from);
    let dev = Process::start("dev", &args);
    dev.line("3 nodes");
    dev
}

fn nobody_listens(port: u16) {
    for port in port..port + 3 {
        eventually("the end of all nodes", || {
            TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
        });
    }
}

#[test]
fn dev_runs_a_cluster_and_ctrl_c_ends_all_of_it() {
    let port = dev_port();
    let mut dev = start_dev(port);
    let at = |node: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port + node));
    let () = connect(at(0)).set("a", "b").unwrap();
    assert_eq!(connect(at(2)).get::<_, String>("a").unwrap(), "b");
    let (code, _, why) = orrery(&["dev", "--port", &port.to_string()]);
    assert_eq!(code, Some(1));
    assert!(why.contains("is taken"), "{why}");
    dev.signal(Signal::INT);
    assert_eq!(dev.wait().code(), Some(0));
    nobody_listens(port);
}

#[test]
fn dev_that_is_killed_leaves_no_node_behind() {
    let port = dev_port();
    let mut dev = start_dev(port);
    dev.kill();
    nobody_listens(port);
}
