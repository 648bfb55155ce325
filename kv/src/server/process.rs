//! What the system says of this process.

use std::{fs, time::Duration};

/// The memory that the process has now, and the most that it ever had, in bytes. Zeros, where the system
/// does not tell.
pub fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    (bytes("VmRSS:").unwrap_or(0), bytes("VmHWM:").unwrap_or(0))
}

/// The CPU time that the process took itself, and that the system took for it.
pub fn cpu() -> (Duration, Duration) {
    /// Linux counts in hundredths of a second for programs, whatever it does within.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name is in parentheses, and may have spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let mut ticks = fields.split_whitespace().skip(11).map(|field| field.parse().unwrap_or(0));
    (TICK * ticks.next().unwrap_or(0), TICK * ticks.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_took_time() {
        let (now, most) = memory();
        assert!(now > 0 && most >= now, "{now} {most}");
        while cpu().0.is_zero() {
            std::hint::black_box((0..100_000u64).sum::<u64>());
        }
    }
}
