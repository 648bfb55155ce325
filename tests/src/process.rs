//! One real `orrery` process.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives up. Long: machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until something holds. Panics with `what` when it takes too long.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(PAUSE);
    }
}

/// As many open files as the system allows: a test may open a connection for each of many clients.
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be raised");
}

/// The `orrery` binary: that of the variable ORRERY_BIN, or built once by cargo.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("ORRERY_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "-p", "kv", "--bin", "orrery", "--message-format=json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the binary does not build");
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.expect("cargo names the executable")
}

/// The same arguments, but a node keeps nothing on disk where they do not say where. Tests of the default say it.
fn in_memory_unless_said(args: &[String]) -> Vec<String> {
    let says = |arg: &String| ["--data", "--in-memory"].contains(&arg.as_str());
    let is_said = args.first().is_none_or(|first| first != "serve") || args.iter().any(says);
    let more = (!is_said).then(|| "--in-memory".to_string());
    args.iter().cloned().chain(more).collect()
}

/// Runs `orrery` to its end: exit code, output, log.
pub fn orrery(args: &[&str]) -> (Option<i32>, String, String) {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let args = in_memory_unless_said(&args);
    let done = Command::new(binary()).args(args).stdin(Stdio::null()).output();
    let done = done.expect("orrery starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// Runs a command that exits with 1: why.
pub fn refused(args: &[&str]) -> String {
    let (code, _, why) = orrery(args);
    assert_eq!(code, Some(1), "{why}");
    why
}

/// A process of `orrery`. Killed when it is dropped; its log is shown when a test fails.
pub struct Process {
    name: String,
    child: Child,
    log: File,
    lines: mpsc::Receiver<String>,
    printed: Vec<String>,
}

impl Process {
    /// Starts `orrery` with these arguments.
    pub fn start(name: &str, args: &[String]) -> Self {
        let mut command = Command::new(binary());
        command.args(in_memory_unless_said(args));
        Self::run(name, command)
    }

    /// Starts `orrery` with at most so many open files.
    pub fn start_with_files(name: &str, files: u32, args: &[String]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &files.to_string()]);
        command.arg(binary()).args(in_memory_unless_said(args));
        Self::run(name, command)
    }

    /// Starts `orrery` with these arguments and this as its standard error: there is no log to look at.
    pub fn start_with_errors_to(name: &str, args: &[String], errors: Stdio) -> Self {
        let mut command = Command::new(binary());
        command.args(in_memory_unless_said(args));
        Self::run_to(name, command, tempfile::tempfile().expect("a temporary file"), errors)
    }

    fn run(name: &str, command: Command) -> Self {
        let log = tempfile::tempfile().expect("a temporary file");
        let errors = log.try_clone().expect("a file can be shared").into();
        Self::run_to(name, command, log, errors)
    }

    fn run_to(name: &str, mut command: Command, log: File, errors: Stdio) -> Self {
        let mut child = command
            .env("ORRERY_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("orrery starts");
        let output = child.stdout.take().expect("an output");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { name: name.to_string(), child, log, lines, printed: Vec::new() }
    }

    /// The id of the process.
    pub fn id(&self) -> Pid {
        let id = Pid::from_raw(i32::try_from(self.child.id()).expect("ids are small"));
        id.expect("an id is not 0")
    }

    /// All lines of its output so far.
    pub fn all_printed(&mut self) -> Vec<String> {
        self.printed.extend(self.lines.try_iter());
        self.printed.clone()
    }

    /// The first line of its output so far that begins so.
    pub fn printed(&mut self, beginning: &str) -> Option<String> {
        self.printed.extend(self.lines.try_iter());
        self.printed.iter().find(|line| line.starts_with(beginning)).cloned()
    }

    /// Waits for a line of its output that begins so. None: it ended without one.
    pub fn line(&mut self, beginning: &str) -> Option<String> {
        let what = format!("{} prints {beginning:?}", self.name);
        eventually(&what, || {
            // In this order: a process that has ended prints nothing more.
            let has_ended = self.has_ended();
            match self.printed(beginning) {
                Some(line) => Some(Some(line)),
                None => has_ended.then_some(None),
            }
        })
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is a child").is_some()
    }

    /// What it logged so far. Reads at a place: the file's position is the process's, and to move it
    /// would make the process write over its own log.
    pub fn log(&self) -> String {
        let (mut text, mut chunk) = (Vec::new(), [0; 64 * 1024]);
        loop {
            let read = self.log.read_at(&mut chunk, text.len() as u64).expect("a log can be read");
            if read == 0 {
                return String::from_utf8_lossy(&text).into_owned();
            }
            text.extend_from_slice(&chunk[..read]);
        }
    }

    /// Waits until its log has this text.
    pub fn logs(&self, text: &str) {
        let what = format!("{} logs {text:?}", self.name);
        eventually(&what, || self.log().contains(text).then_some(()));
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).expect("the process is there");
        if signal == Signal::STOP {
            // It stops some time later, and could answer until then.
            eventually("a stopped process", || self.is_stopped().then_some(()));
        }
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("the process is there");
        // The state follows the name, which is in parentheses.
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }

    /// Kills it at once.
    pub fn kill_without_waiting(&mut self) {
        let _ = self.child.kill();
    }

    /// Kills it at once, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, || self.child.try_wait().expect("it is a child"))
    }

    /// Its resident memory now, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most resident memory that it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process is there");
        let line = status.lines().find(|line| line.starts_with(name)).expect("it has memory");
        let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        kib * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.name, self.log());
        }
    }
}
