//! What the trials share: the program, processes that end with the trial, and a client.

// Each trial uses a part of it, and a program that measures real processes has real time.
#![allow(dead_code, clippy::disallowed_types, clippy::disallowed_methods)]

use std::{
    error::Error,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long anything may take before a trial gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The `orrery` program: that of the variable ORRERY_BIN; else that beside the trial, which cargo builds if it is
/// not there or older than its source.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ORRERY_BIN") {
        return Ok(path.into());
    }
    let example = std::env::current_exe()?;
    let folder = example.parent().and_then(|examples| examples.parent()).ok_or("no folder")?;
    let is_release = folder.ends_with("release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "-p", "kv", "--bin", "orrery", "--target-dir"])
        .arg(folder.parent().ok_or("no folder")?)
        .args(is_release.then_some("--release"))
        .status()?;
    match built.success() {
        true => Ok(folder.join("orrery")),
        false => Err("cargo build -p kv --bin orrery failed".into()),
    }
}

/// Whether a program that is not ours is there; else what to do.
pub fn needs(program: &str, package: &str) -> Result<()> {
    match Command::new(program).arg("--version").output() {
        Ok(_) => Ok(()),
        Err(why) => Err(format!(
            "{program} cannot be run: {why}; it is in Debian's package {package} (apt install {package})"
        )
        .into()),
    }
}

/// Does something, and again where it fails: a node that stood still, on a machine that is busy, closes its clients'
/// connections.
pub fn again<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    const TRIES: usize = 5;
    for _ in 1..TRIES {
        if let Ok(done) = work() {
            return Ok(done);
        }
        sleep(Duration::from_millis(200));
    }
    work()
}

/// Ports that are free now.
pub fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// A process that is ended with the trial.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something holds, but not for ever.
pub fn until(what: &str, mut look: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !look() {
        if Instant::now() > end {
            return Err(format!("not within {} s: {what}", PATIENCE.as_secs()).into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until a server answers requests about data: one that starts may have to wait for others.
pub fn until_it_serves(name: &str, port: u16) -> Result<()> {
    until(&format!("{name} serves at port {port}"), || {
        let answer = Client::connect(port).and_then(|mut client| client.ask(&["GET", "a"]));
        answer.is_ok_and(|(kind, _)| matches!(kind, '$' | '_'))
    })
}

/// A connection of the Redis protocol.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends commands in one piece.
    pub fn send(&mut self, commands: &[Vec<String>]) -> Result<()> {
        let mut out = Vec::new();
        commands.iter().for_each(|words| kv::resp::reply::command(&mut out, words));
        Ok(self.0.get_mut().write_all(&out)?)
    }

    /// The next answer: what it begins with, and its text. Nothing begins with `_`.
    pub fn answer(&mut self) -> Result<(char, String)> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err("the node closed the connection".into());
        }
        let kind = line.chars().next().unwrap_or(' ');
        let rest = line[1..].trim_end().to_string();
        match (kind, rest.parse::<i64>()) {
            ('$', Ok(length)) if length >= 0 => {
                let mut bytes = vec![0; usize::try_from(length)? + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok((kind, String::from_utf8(bytes)?))
            }
            ('$', Ok(_)) => Ok(('_', String::new())),
            _ => Ok((kind, rest)),
        }
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, words: &[&str]) -> Result<(char, String)> {
        self.send(&[words.iter().map(ToString::to_string).collect()])?;
        self.answer()
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
