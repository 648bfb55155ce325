//! The arguments of a command.

use std::ops::Range;

/// The arguments of a command: places in a buffer. There is at least one, the command's name.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    buffer: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl<'a> Args<'a> {
    /// Arguments at these places.
    pub fn new(buffer: &'a [u8], ranges: &'a [Range<usize>]) -> Self {
        Self { buffer, ranges }
    }

    /// The argument at a place that is known to be there.
    pub fn get(&self, at: usize) -> &'a [u8] {
        &self.buffer[self.ranges[at].clone()]
    }

    /// How many there are, with the command's name.
    #[expect(clippy::len_without_is_empty, reason = "there is at least the name")]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Those from a place on; none, where there are fewer.
    pub fn from(&self, at: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let buffer = self.buffer;
        self.ranges.get(at..).unwrap_or_default().iter().map(move |range| &buffer[range.clone()])
    }
}
