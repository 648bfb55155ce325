//! Lines for people, written by a thread of their own: whoever has something to say never waits for whoever reads
//! it, and never fails because nobody can. What does not fit into a bounded buffer, and what cannot be written, is
//! lost and counted; a line says how many were lost as soon as one can be written again.

use std::{
    io::{ErrorKind, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Lines that wait at most, and their bytes.
const MOST_LINES: usize = 4_096;
const MOST_BYTES: usize = 1024 * 1024;
/// The longest line; of a longer one the beginning is written.
const LONGEST_LINE: usize = 8 * 1024;
/// How often the writer looks whether there is something to say of its own.
const TICK: Duration = Duration::from_millis(200);
/// Between two tries to write to something that takes nothing now.
const RETRY: Duration = Duration::from_millis(20);

/// How many lines were lost.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<AtomicU64>);

impl Lost {
    /// So many so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, lines: u64) {
        self.0.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Takes lines for people. Clones share one writer.
#[derive(Clone, Debug)]
pub struct Lines {
    queue: SyncSender<Vec<u8>>,
    /// Bytes that are taken and not written yet.
    waiting: Arc<AtomicUsize>,
    lost: Lost,
}

impl Lines {
    /// Lines that are written to `output`. `tick` is called now and then, between lines, on the writer's thread.
    pub fn to(
        name: &str,
        output: impl Write + Send + 'static,
        tick: impl FnMut() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel(MOST_LINES);
        let (waiting, lost) = (Arc::new(AtomicUsize::new(0)), Lost::default());
        let writer = Writer { output, is_within_line: false, lost: lost.clone(), told: 0 };
        let counted = waiting.clone();
        let run = move || writer.run(&lines, &counted, tick);
        thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Self { queue, waiting, lost })
    }

    /// Takes a line, with or without its end; never waits, and never fails.
    pub fn line(&self, text: &[u8]) {
        let mut line = text.strip_suffix(b"\n").unwrap_or(text).to_vec();
        if line.len() > LONGEST_LINE {
            line.truncate(LONGEST_LINE);
            line.extend_from_slice("…".as_bytes());
        }
        line.push(b'\n');
        let size = line.len();
        let before = self.waiting.fetch_add(size, Ordering::AcqRel);
        if before + size > MOST_BYTES || self.queue.try_send(line).is_err() {
            self.waiting.fetch_sub(size, Ordering::AcqRel);
            self.lost.add(1);
        }
    }

    /// How many lines were lost.
    pub fn lost(&self) -> Lost {
        self.lost.clone()
    }

    /// Waits until all lines that were taken are written, or lost, but no longer than this: whether they are.
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.waiting.load(Ordering::Acquire) > 0 {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// Writes lines, as long as there is anybody who says any.
struct Writer<W> {
    output: W,
    /// A line was written in part.
    is_within_line: bool,
    lost: Lost,
    /// How many lost lines were told of.
    told: u64,
}

impl<W: Write> Writer<W> {
    fn run(mut self, lines: &Receiver<Vec<u8>>, waiting: &AtomicUsize, mut tick: impl FnMut()) {
        let mut last_tick = Instant::now();
        loop {
            let line = lines.recv_timeout(TICK);
            match &line {
                Ok(line) => {
                    // In this order: those that were lost came before, or nobody knows.
                    self.tell_of_lost();
                    if !self.write(line) {
                        self.lost.add(1);
                    }
                    waiting.fetch_sub(line.len(), Ordering::AcqRel);
                }
                Err(RecvTimeoutError::Timeout) => self.tell_of_lost(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if last_tick.elapsed() >= TICK {
                last_tick = Instant::now();
                tick();
            }
        }
    }

    fn tell_of_lost(&mut self) {
        let lost = self.lost.count();
        let more = lost - self.told;
        if more == 0 {
            return;
        }
        let what = if more == 1 { "line was" } else { "lines were" };
        let line = format!("{more} {what} lost here, {lost} in all: they could not be written\n");
        if self.write(line.as_bytes()) {
            self.told = lost;
        }
    }

    /// Writes a line: whether it is written as a whole.
    fn write(&mut self, line: &[u8]) -> bool {
        if self.is_within_line && !self.write_all(b"\n") {
            return false;
        }
        self.is_within_line = false;
        self.write_all(line)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.output.write(bytes) {
                Ok(0) => return false,
                Ok(size) => {
                    bytes = &bytes[size..];
                    self.is_within_line = !bytes.is_empty();
                }
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                // Somebody who shares it has made it so. It is this thread alone that waits.
                Err(why) if why.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(_) => return false,
            }
        }
        self.output.flush().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard};

    use super::*;

    /// What stands for a disk, or for somebody who reads a pipe.
    #[derive(Clone, Default)]
    struct Output {
        written: Arc<Mutex<Vec<u8>>>,
        /// How many bytes it still takes before it is full.
        room: Arc<Mutex<Option<usize>>>,
    }

    impl Output {
        fn text(&self) -> String {
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
        }

        fn room(&self) -> MutexGuard<'_, Option<usize>> {
            self.room.lock().unwrap()
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            let size = room.map_or(bytes.len(), |room| room.min(bytes.len()));
            if size == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            *room = room.map(|room| room - size);
            self.written.lock().unwrap().extend_from_slice(&bytes[..size]);
            Ok(size)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted_and_told_of_once_it_does() {
        let output = Output::default();
        let lines = Lines::to("test", output.clone(), || {}).unwrap();
        lines.line(b"one\n");
        assert!(lines.flush(PATIENCE));
        *output.room() = Some(2);
        (0..3).for_each(|_| lines.line(b"nobody reads this"));
        assert!(lines.flush(PATIENCE));
        assert_eq!(lines.lost().count(), 3);
        *output.room() = None;
        lines.line(b"two");
        assert!(lines.flush(PATIENCE));
        let told = "one\nno\n3 lines were lost here, 3 in all: they could not be written\ntwo\n";
        assert_eq!(output.text(), told);
    }

    #[test]
    fn whoever_says_something_waits_for_nobody_and_the_buffer_is_bounded() {
        let output = Output::default();
        let lines = Lines::to("test", output.clone(), || {}).unwrap();
        let held = output.room();
        let (long, many) = ([b'x'; LONGEST_LINE + 1], 2 * MOST_BYTES / LONGEST_LINE);
        (0..many).for_each(|_| lines.line(&long));
        (0..2 * MOST_LINES).for_each(|_| lines.line(b""));
        assert!(!lines.flush(Duration::ZERO));
        assert!(lines.waiting.load(Ordering::Relaxed) <= MOST_BYTES);
        let lost = lines.lost().count();
        drop(held);
        assert!(lines.flush(PATIENCE));
        let written = output.text().lines().filter(|line| !line.contains("lost here")).count();
        assert_eq!(written as u64 + lost, (many + 2 * MOST_LINES) as u64);
        assert!(lost > many as u64 / 3, "{lost} lost");
    }
}
