//! The log, and whatever else a process says to people: never in the way of what it is there for.

mod lines;
mod seldom;

use std::{
    io::{self, IsTerminal as _},
    panic::PanicHookInfo,
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tracing_subscriber::{
    EnvFilter,
    fmt::{MakeWriter, format},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

pub use self::lines::{Lines, Lost};
use self::seldom::Seldom;

/// How long a process that ends waits for what it has said to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The standard error of this process. None: no thread could be started for it.
static STANDARD_ERROR: OnceLock<Option<Lines>> = OnceLock::new();

impl Lines {
    /// Lines of the standard output.
    pub fn to_standard_output() -> Result<Self> {
        Lines::to("output", io::stdout(), || {}).context("a thread cannot be started")
    }
}

/// Sends the log to the standard error: what ORRERY_LOG, or else RUST_LOG, asks for.
pub fn start() -> Result<Lines> {
    let filter = ["ORRERY_LOG", "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok());
    let filter = EnvFilter::try_new(filter.as_deref().unwrap_or("info"))
        .context("ORRERY_LOG (or RUST_LOG) is no filter; try info, or kv=debug")?;
    let seldom = Seldom::default();
    let rest = seldom.clone();
    let lines = Lines::to("log", io::stderr(), move || rest.tell());
    let lines = lines.context("a thread cannot be started")?;
    let to_people = tracing_subscriber::fmt::layer()
        .with_writer(ToLines(lines.clone()))
        .fmt_fields(format::debug_fn(seldom::write_field))
        // A file has no colours.
        .with_ansi(io::stderr().is_terminal());
    let _ = tracing_subscriber::registry().with(to_people).with(seldom).with(filter).try_init();
    let _ = STANDARD_ERROR.set(Some(lines.clone()));
    Ok(lines)
}

/// A line on the standard error, which is not waited for.
pub fn tell(line: &str) {
    let lines = STANDARD_ERROR.get_or_init(|| Lines::to("errors", io::stderr(), || {}).ok());
    if let Some(lines) = lines {
        lines.line(line.as_bytes());
    }
}

/// Waits a moment for the last lines: a process that ends is to be understood, and it is to end.
pub fn flush() {
    if let Some(Some(lines)) = STANDARD_ERROR.get() {
        lines.flush(LAST_WORDS);
    }
}

/// A broken invariant ends the process: it must not limp on. It does so too where nobody reads why.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        // Line by line: there is a longest one.
        last_words(info).lines().for_each(tell);
        flush();
        std::process::abort();
    }));
}

fn last_words(info: &PanicHookInfo<'_>) -> String {
    use std::backtrace::{Backtrace, BacktraceStatus};
    let trace = Backtrace::capture();
    let trace = match trace.status() {
        BacktraceStatus::Captured => format!("\n{trace}"),
        _ => String::new(),
    };
    format!("{info}{trace}")
}

/// Takes the lines of the log.
struct ToLines(Lines);

impl<'a> MakeWriter<'a> for ToLines {
    type Writer = ToLines;

    fn make_writer(&'a self) -> ToLines {
        ToLines(self.0.clone())
    }
}

impl io::Write for ToLines {
    /// Each line comes in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
