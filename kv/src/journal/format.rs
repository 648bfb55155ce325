//! How a journal lies on the disk.
//!
//! A journal is a folder of *segments*, files of one length. Their space is filled with zeros and synced before it is
//! used, and used again later: a sync of space that is there already has only the data to write. A segment is a row of
//! *pages*. The first one says what the file is. Then there are *batches*, each from the beginning of a page on: what
//! was gathered while the batch before was synced.
//!
//! ```text
//! segment   head | batch | batch | ... | what is left of an earlier use
//! batch     magic, CRC, folder, segment, page, number, opening, synced, floor, length, count | entry | entry | ... | zeros
//! entry     length, CRC, postcard
//! ```
//!
//! A batch says of itself where it is, in which folder and under which number, so that one that was written to another
//! place, or is left of an earlier use, is known for what it is. No two batches share a page: what is torn by a loss of
//! power is never what an earlier sync had made safe. Each batch also says up to which number all are safe. That tells
//! two things apart that look alike: what is missing *above* that number was never acknowledged, and what is missing
//! below it was.
//!
//! All numbers are little-endian. The checksum is CRC-32C (Castagnoli), seeded for entries with the number and the
//! opening of their batch.

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::core::{env::Entry, exact};

/// The bytes of a page: what disks write at once, or a multiple of it.
pub const PAGE: usize = 4096;
/// The version of this format.
pub const VERSION: u32 = 1;

const SEGMENT_MAGIC: [u8; 16] = *b"orrery journal\n\0";
const BATCH_MAGIC: u32 = 0x7961_426f;
/// The bytes of a segment's head.
const HEAD: usize = 16 + 4 + 4 + 8 + 4;
/// The bytes of a batch's head.
pub const BATCH_HEAD: usize = 4 + 4 + 8 + 4 + 4 + 5 * 8 + 4;
/// No journal has so many batches, openings or bytes: what can be added to such a number fits as well.
const MOST_COUNT: u64 = 1 << 62;
/// The bytes before an entry: its length and its checksum.
const ENTRY_HEAD: usize = 8;

static CASTAGNOLI: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What a segment's first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Which version of the format it has.
    pub version: u32,
    /// Whose it is: no two folders have one number.
    pub folder: u64,
    /// Which segment of the folder it is.
    pub segment: u32,
}

/// What a page says that ought to be a segment's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSays {
    /// What it is.
    Segment(SegmentHead),
    /// Nothing yet: it was never written.
    Nothing,
    /// Something else: it is no segment of ours, or it is damaged.
    Nonsense,
}

/// What a batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// The folder.
    pub folder: u64,
    /// The segment.
    pub segment: u32,
    /// The page within the segment at which it begins.
    pub page: u32,
    /// Its number: the batches of a journal are counted from 1.
    pub number: u64,
    /// In which opening of the journal it was written, counted from 1.
    pub opening: u64,
    /// All batches up to this number were safe when it was written.
    pub synced: u64,
    /// No batch below this number is needed any more.
    pub floor: u64,
    /// The bytes of its entries, with what is before each.
    pub length: u64,
    /// How many entries it has.
    pub count: u32,
}

/// Something in a batch is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry of batch {number} is damaged")]
pub struct DamagedEntry {
    /// The number of the batch.
    pub number: u64,
}

/// Entries that wait for their batch. They are encoded, so that whoever holds a lock meanwhile need not wait for long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    bytes: Vec<u8>,
    lengths: Vec<u32>,
    /// Those of which only the latest of their kind counts, once more.
    states: Vec<Entry>,
}

impl Pending {
    /// Adds an entry.
    pub fn push(&mut self, entry: &Entry) {
        let before = self.bytes.len();
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(entry, bytes).expect("an entry can be encoded");
        let length = self.bytes.len() - before;
        self.lengths.push(u32::try_from(length).expect("entries are short"));
        if is_state(entry) {
            self.states.push(entry.clone());
        }
    }

    /// Those of which only the latest of their kind counts.
    pub fn states(&self) -> &[Entry] {
        &self.states
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Forgets all, and keeps the memory for more.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
        self.states.clear();
    }

    /// How many bytes they take on the disk.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.lengths.len() * ENTRY_HEAD
    }

    /// The encoded entries, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        self.lengths.iter().map(move |length| {
            let (entry, behind) = rest.split_at(*length as usize);
            rest = behind;
            entry
        })
    }
}

/// Whether only the latest entry of its kind counts. Records and those that were dropped all count.
pub fn is_state(entry: &Entry) -> bool {
    match entry {
        Entry::Opened(_)
        | Entry::Member(_)
        | Entry::ClockFloor(_)
        | Entry::Ring(_)
        | Entry::Acceptor(..) => true,
        Entry::Record(..) | Entry::Dropped(..) => false,
    }
}

/// How many bytes an encoded entry takes on the disk.
pub fn size_of(entry: &[u8]) -> usize {
    entry.len() + ENTRY_HEAD
}

/// The pages that a batch takes.
pub fn pages(length: u64) -> u64 {
    (BATCH_HEAD as u64 + length).div_ceil(PAGE as u64)
}

/// The first page of a segment.
pub fn segment_head(head: SegmentHead) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE);
    page.extend_from_slice(&SEGMENT_MAGIC);
    page.extend_from_slice(&head.version.to_le_bytes());
    page.extend_from_slice(&u32::try_from(PAGE).expect("a page is short").to_le_bytes());
    page.extend_from_slice(&head.folder.to_le_bytes());
    page.extend_from_slice(&head.segment.to_le_bytes());
    page.extend_from_slice(&CASTAGNOLI.checksum(&page).to_le_bytes());
    page.resize(PAGE, 0);
    page
}

/// Reads the first page of a segment, or what there is of it.
pub fn read_segment_head(page: &[u8]) -> HeadSays {
    if page.iter().all(|byte| *byte == 0) {
        return HeadSays::Nothing;
    }
    let Some((head, checksum)) = page.get(..HEAD + 4).map(|head| head.split_at(HEAD)) else {
        return HeadSays::Nonsense;
    };
    let mut fields = Fields(head);
    let magic: [u8; 16] = fields.bytes();
    let (version, page_bytes) = (fields.u32(), fields.u32());
    let head = SegmentHead { version, folder: fields.u64(), segment: fields.u32() };
    let is_whole = CASTAGNOLI.checksum(&page[..HEAD]).to_le_bytes() == checksum;
    match magic == SEGMENT_MAGIC && is_whole && (page_bytes as usize == PAGE || version > VERSION) {
        true => HeadSays::Segment(head),
        false => HeadSays::Nonsense,
    }
}

/// Writes a batch: a head, entries, and zeros up to the end of the last page. The head's length and count are those
/// of the entries.
pub fn write_batch<'a>(
    head: &mut BatchHead,
    entries: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) {
    let at = out.len();
    out.resize(at + BATCH_HEAD, 0);
    head.count = 0;
    for entry in entries {
        let length = u32::try_from(entry.len()).expect("entries are short");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&checksum(head, entry).to_le_bytes());
        out.extend_from_slice(entry);
        head.count += 1;
    }
    head.length = (out.len() - at - BATCH_HEAD) as u64;
    let fields = head.encoded();
    let checksum = CASTAGNOLI.checksum(&fields);
    let place = &mut out[at..at + BATCH_HEAD];
    place[..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
    place[4..8].copy_from_slice(&checksum.to_le_bytes());
    place[8..].copy_from_slice(&fields);
    out.resize((out.len() - at).next_multiple_of(PAGE) + at, 0);
}

/// Reads the head of a batch at the beginning of a page. None where there is none.
pub fn read_batch_head(page: &[u8]) -> Option<BatchHead> {
    let head = page.get(..BATCH_HEAD)?;
    let (magic, rest) = head.split_first_chunk::<4>()?;
    let (checksum, fields) = rest.split_first_chunk::<4>()?;
    let is_whole = *magic == BATCH_MAGIC.to_le_bytes()
        && *checksum == CASTAGNOLI.checksum(fields).to_le_bytes();
    is_whole.then(|| BatchHead::decoded(Fields(fields))).filter(BatchHead::makes_sense)
}

/// Reads the entries of a batch, from what is behind its head. The damaged ones are said in their place, as far as
/// one can go on behind them.
pub fn read_entries<'a>(
    head: &'a BatchHead,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<Entry, DamagedEntry>> + 'a {
    let decode =
        |entry: &[u8]| exact::decode(entry).map_err(|_| DamagedEntry { number: head.number });
    read_encoded(head, bytes).map(move |entry| entry.and_then(decode))
}

/// The same without those of which only the latest counts: they are not even decoded, which takes long for a ring.
pub(super) fn read_records<'a>(
    head: &'a BatchHead,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<Entry, DamagedEntry>> + 'a {
    let decode =
        |entry: &[u8]| exact::decode(entry).map_err(|_| DamagedEntry { number: head.number });
    let all = read_encoded(head, bytes);
    let some = all.filter(|entry| !entry.is_ok_and(is_state_encoded));
    some.map(move |entry| entry.and_then(decode))
}

/// As [`is_state`]: an encoded entry begins with the number of its kind.
fn is_state_encoded(entry: &[u8]) -> bool {
    const RECORD: u8 = 3;
    const DROPPED: u8 = 4;
    !matches!(entry.first(), Some(&(RECORD | DROPPED)))
}

fn read_encoded<'a>(
    head: &'a BatchHead,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<&'a [u8], DamagedEntry>> + 'a {
    let damaged = DamagedEntry { number: head.number };
    let mut rest = usize::try_from(head.length).ok().and_then(|length| bytes.get(..length));
    let mut left = head.count;
    std::iter::from_fn(move || {
        if left == 0 {
            // Nothing is behind the last one.
            let behind = rest.replace(&[]);
            return behind.is_none_or(|behind| !behind.is_empty()).then_some(Err(damaged));
        }
        left -= 1;
        let next = rest.and_then(|rest| {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let (checksum, behind) = behind.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            Some((checksum, behind.split_at_checked(length)?))
        });
        let Some((sum, (entry, behind))) = next else {
            // Where the next one begins is unknown.
            (left, rest) = (0, Some(&[][..]));
            return Some(Err(damaged));
        };
        rest = Some(behind);
        let is_whole = *sum == checksum(head, entry).to_le_bytes();
        Some(if is_whole { Ok(entry) } else { Err(damaged) })
    })
}

/// The checksum of an entry: what an earlier batch left in the same place does not pass for it.
fn checksum(head: &BatchHead, entry: &[u8]) -> u32 {
    let mut digest = CASTAGNOLI.digest();
    digest.update(&head.number.to_le_bytes());
    digest.update(&head.opening.to_le_bytes());
    digest.update(&(entry.len() as u64).to_le_bytes());
    digest.update(entry);
    digest.finalize()
}

impl BatchHead {
    fn encoded(&self) -> [u8; BATCH_HEAD - 8] {
        let mut fields = Vec::with_capacity(BATCH_HEAD - 8);
        fields.extend_from_slice(&self.folder.to_le_bytes());
        fields.extend_from_slice(&self.segment.to_le_bytes());
        fields.extend_from_slice(&self.page.to_le_bytes());
        for number in [self.number, self.opening, self.synced, self.floor, self.length] {
            fields.extend_from_slice(&number.to_le_bytes());
        }
        fields.extend_from_slice(&self.count.to_le_bytes());
        fields.try_into().expect("it has that many fields")
    }

    /// Whether a journal could have come to these numbers. A checksum that is right does not say that we made it.
    fn makes_sense(&self) -> bool {
        let counts = [self.number, self.opening, self.length];
        counts.iter().all(|count| *count <= MOST_COUNT)
            && self.number > self.synced
            && self.number >= self.floor
    }

    fn decoded(mut fields: Fields<'_>) -> Self {
        Self {
            folder: fields.u64(),
            segment: fields.u32(),
            page: fields.u32(),
            number: fields.u64(),
            opening: fields.u64(),
            synced: fields.u64(),
            floor: fields.u64(),
            length: fields.u64(),
            count: fields.u32(),
        }
    }
}

/// Fields of a known length, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk::<N>().expect("the length was looked at");
        self.0 = rest;
        *field
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::{
        record::{Record, Version},
        ring::{Acceptor, Ring},
        time::Timestamp,
        types::{Epoch, Incarnation, Key, NodeId, Slot},
    };

    #[test]
    fn an_encoded_entry_is_known_for_a_state_by_its_kind() {
        let version = Version { timestamp: Timestamp(1), node: NodeId(1) };
        let key = Key::trusted("k");
        let ring = Arc::new(Ring::form(&["a:1".to_string()], 1, 16).unwrap());
        let all = [
            Entry::Opened(Incarnation(3)),
            Entry::Member(NodeId(4)),
            Entry::ClockFloor(Timestamp(3)),
            Entry::Record(key.clone(), Record { version, value: None }),
            Entry::Dropped(Slot(1), vec![key]),
            Entry::Ring(ring),
            Entry::Acceptor(Epoch(3), Acceptor::default()),
        ];
        for entry in all {
            let mut pending = Pending::default();
            pending.push(&entry);
            let encoded = pending.iter().next().unwrap();
            assert_eq!(is_state_encoded(encoded), is_state(&entry), "{entry:?}");
        }
    }
}
