//! What one client knows of the key that it alone writes, always through the same node, at QUORUM or at
//! LINEARIZABLE. (At ONE the same holds of reads at QUORUM once the owners have compared what they hold.)
//!
//! Such writes have growing versions. So a QUORUM read that begins after an ok write returns that write's
//! value or a later one (P3), never one that failed (P0); and what a QUORUM read returned stays (P4, P5).

/// An answer that breaks a promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is older than what the client knows, or nobody wrote it.
    #[error("a read found {found:?}, and its client knows of {history:?}")]
    Read {
        /// What was found.
        found: Option<u64>,
        /// What the client knew.
        history: History,
    },
    /// It is of the future.
    #[error("a read found {0:?} before it was written")]
    Early(Option<u64>),
}

/// The history of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The newest value that is known to be there.
    known: Option<u64>,
    /// Values after it whose writes may or may not have taken effect, oldest first.
    unknown: Vec<u64>,
}

impl History {
    /// A write was answered with OK.
    pub fn written(&mut self, value: u64) {
        self.known = Some(value);
        self.unknown.clear();
    }

    /// A write was answered with TIMEOUT, or not at all.
    pub fn perhaps_written(&mut self, value: u64) {
        self.unknown.push(value);
    }

    /// A read that began after all of this was answered.
    ///
    /// # Errors
    ///
    /// The answer breaks a promise.
    pub fn read(&mut self, found: Option<u64>) -> Result<(), Broken> {
        if found == self.known {
            return Ok(());
        }
        let Some(place) = found.and_then(|v| self.unknown.iter().position(|u| *u == v)) else {
            return Err(Broken::Read { found, history: self.clone() });
        };
        self.known = found;
        self.unknown.drain(..=place);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(ok: Option<u64>, unknown: &[u64]) -> History {
        let mut history = History::default();
        ok.into_iter().for_each(|value| history.written(value));
        unknown.iter().for_each(|value| history.perhaps_written(*value));
        history
    }

    #[test]
    fn a_read_finds_the_last_ok_write_or_an_unknown_one_after_it() {
        for (found, is_good) in
            [(None, false), (Some(1), false), (Some(2), true), (Some(3), true), (Some(4), true)]
        {
            let mut history = history(Some(2), &[3, 4]);
            assert_eq!(history.read(found).is_ok(), is_good, "{found:?}");
        }
        assert!(history(None, &[1]).read(None).is_ok());
        assert!(history(None, &[]).read(Some(1)).is_err(), "nobody wrote it");
    }

    #[test]
    fn what_a_read_found_stays() {
        let mut history = history(Some(1), &[2, 3, 4]);
        history.read(Some(3)).unwrap();
        assert!(history.clone().read(Some(1)).is_err());
        assert!(history.clone().read(Some(2)).is_err());
        assert!(history.clone().read(Some(3)).is_ok());
        assert!(history.read(Some(4)).is_ok());
    }

    #[test]
    fn an_ok_write_settles_the_unknown_ones_before_it() {
        let mut history = history(Some(1), &[2]);
        history.written(3);
        assert!(history.clone().read(Some(2)).is_err());
        assert!(history.read(Some(3)).is_ok());
    }
}
