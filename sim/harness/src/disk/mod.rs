//! A simulated disk: one folder of files, as a process sees them, and what is left of them when the power fails.
//!
//! A system writes its journal to it, as bytes, and finds out on a start what is still there. The disk knows no
//! entries. It draws from the streams that it is given, so that a seed gives the same bytes again.
//!
//! # An example
//!
//! A program writes and does not sync. The machine loses power, and in some runs the greeting is gone:
//!
//! ```
//! use harness::{disk::Disk, random::Random};
//!
//! fn greets(disk: &Disk, syncs: bool) -> std::io::Result<()> {
//!     let file = disk.create("greeting")?;
//!     file.write_at(0, b"hello")?;
//!     if syncs {
//!         file.sync()?;
//!         disk.sync_names()?;
//!     }
//!     Ok(())
//! }
//!
//! let keeps = |seed: u64, syncs: bool| {
//!     let disk = Disk::default();
//!     greets(&disk, syncs).unwrap();
//!     disk.power_off(&mut Random::new(seed, "power"));
//!     disk.seen().get("greeting").is_some_and(|text| text == b"hello")
//! };
//! assert!((0..100).all(|seed| keeps(seed, true)));
//! assert!((0..100).any(|seed| keeps(seed, false)), "it may be there all the same");
//! assert!(!(0..100).all(|seed| keeps(seed, false)), "and nobody should rely on that");
//! ```
//!
//! # What is safe
//!
//! Reads see the system's cache. A loss of power leaves the platter.
//!
//! - [`File::sync`] makes safe what was written to the file, and its length. It does not make its name safe, though
//!   some file systems do so.
//! - [`Disk::sync_names`] makes safe all names, as they are. It makes no bytes safe: a new file that took the name of
//!   an old one may be found empty.
//! - [`Disk::kill`] ends the process. All that it wrote is there, and as safe as before.
//! - [`Disk::power_off`] is a loss of power. It ends the process too.
//!
//! # What a system must survive
//!
//! **A crash**, on any number of nodes at once, also on all of them. What was safe is there. Of the rest:
//!
//! - *Lost and reordered.* Each sector that was written since the last sync is as that sync left it, or as any of the
//!   last four writes since then left it, whatever became of the others.
//! - *Torn.* In one sector of a file, a part from its beginning, or up to its end, is new and the rest is old. Bytes
//!   that the write did not change are as they were (SQLite calls this "powersafe overwrite").
//! - *Short, or of zeros.* A file that grew is as long as the last sync left it, as long as it was, or of any length
//!   between. Of the new part, sectors that did not arrive are of zeros. They are never the bytes of another file:
//!   ext4 (`data=ordered`) and xfs keep them from showing.
//! - *Names.* The changes of names since the last sync of names survive up to one of them, and those after it do not: a
//!   new file may be gone, one that was removed or renamed may be back. File systems that journal their metadata keep
//!   this order (ext4, xfs), but POSIX does not promise it.
//!
//! **A broken disk**, on at most so many nodes that of every record an undamaged copy remains. A system must detect it,
//! and must not answer with what is damaged. [`Disk::damaged`] says what is, so that a scenario can keep to this.
//!
//! - *Damage at rest.* A bit flips ([`Disk::flip_bit`]), or two sectors change places ([`Disk::swap_sectors`]). Reads
//!   see it at once: no cache holds what is at rest.
//! - *A misdirected write* ([`Disk::misdirect_next_write`]) arrives at another place, and what was there is gone.
//! - *A lying disk* ([`Disk::lose_next_write`]) says that a write is safe, and has lost it. Of both, reads see what was
//!   written until the power fails or the cache is dropped ([`Disk::drop_cache`]).
//!
//! **A disk that fails openly**, on any number of nodes. It ends or delays the process, and nothing is lost that was
//! acknowledged.
//!
//! - *A full disk* ([`Disk::set_capacity`]) refuses new files, and writes for which there is no room, after it took the
//!   part for which there is. What is overwritten in its place needs no room.
//! - *A failed sync* ([`Disk::fail_next_sync`]). Some sectors arrived. The system takes the others for clean, and reads
//!   show them, but no later sync writes them, unless they are written again: a process that tries once more is told
//!   that all is safe. Source: Rebello et al., "Can Applications Recover from fsync Failures?" (2020), with what
//!   PostgreSQL's developers met in 2018. A failed sync of names leaves them as safe as they were.
//! - *A slow disk* ([`Disk::set_latency_us`]). The world asks for the figure, and delays the syncs.

mod content;
mod damage;
mod faults;
mod handle;
mod names;
mod state;
#[cfg(test)]
mod tests;

pub use self::{
    damage::{Counts, Damage, Place, PowerLoss},
    handle::{Disk, File},
};
