//! Whether operations that followed each other in time saw what was there before them.

/// Something that must be seen by whatever begins later: since when, which version, which operation.
pub type Seen<V> = (u64, V, usize);

/// Something that began.
#[derive(Clone, Debug)]
pub struct Begun<V> {
    /// When.
    pub at: u64,
    /// With which version. None: it found nothing.
    pub version: Option<V>,
    /// Which operation.
    pub place: usize,
    /// Whether it must be newer than all that was seen before; if not, it may be the same.
    pub is_write: bool,
}

/// Finds an operation that began after something was seen and is older: sorts both by time, and walks
/// along with the newest version seen so far. O(n log n).
pub fn overtaken<V: Ord + Clone>(
    mut seen: Vec<Seen<V>>,
    mut begun: Vec<Begun<V>>,
) -> Option<(Begun<V>, Seen<V>)> {
    seen.sort_unstable();
    begun.sort_unstable_by_key(|begun| (begun.at, begun.place));
    let mut seen = seen.into_iter().peekable();
    let mut newest: Option<Seen<V>> = None;
    for begun in begun {
        while let Some(next) = seen.next_if(|(at, _, _)| *at < begun.at) {
            if newest.as_ref().is_none_or(|(_, version, _)| next.1 > *version) {
                newest = Some(next);
            }
        }
        let Some(newest) = &newest else { continue };
        let is_older = match begun.is_write {
            true => begun.version.as_ref() <= Some(&newest.1),
            false => begun.version.as_ref() < Some(&newest.1),
        };
        if is_older {
            return Some((begun, newest.clone()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(at: u64, version: Option<u32>, is_write: bool) -> Begun<u32> {
        Begun { at, version, place: 9, is_write }
    }

    #[test]
    fn what_begins_later_is_not_older() {
        let seen = || vec![(5, 2, 0), (3, 1, 1)];
        let is_found = |begun| overtaken(seen(), vec![begun]).is_some();
        assert!(is_found(begun(6, Some(1), false)));
        assert!(is_found(begun(6, None, false)), "nothing is older than anything");
        assert!(!is_found(begun(6, Some(2), false)), "a read may find the same");
        assert!(is_found(begun(6, Some(2), true)), "a write may not be the same");
        assert!(!is_found(begun(5, Some(1), false)), "it began before the other had ended");
        assert!(!is_found(begun(4, Some(1), false)));
        assert!(is_found(begun(4, Some(0), false)));
    }
}
