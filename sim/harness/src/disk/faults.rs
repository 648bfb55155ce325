//! What goes wrong with a disk: the power, and the disk itself.

use std::{io, ops::Range};

use super::{
    content::{Stray, WriteFault, stretches},
    damage::{Damage, Place, PowerLoss},
    names::Id,
    state::State,
};
use crate::random::Random;

/// A sector of a file.
type Sector = (Id, usize);

/// What a sync says that fails.
fn failed() -> io::Error {
    io::Error::other("the disk failed to write")
}

impl State {
    /// So many sectors of a file, as far as the file goes.
    fn place(&mut self, id: Id, first: usize, count: usize) -> Place {
        let content = self.content(id);
        let length: usize = (first..first + count).map(|sector| content.bytes_of(sector)).sum();
        let at = (first * self.sector_bytes) as u64;
        Place { file: self.names.name(id), at, length: length as u64 }
    }

    fn places(&mut self, id: Id, sectors: Vec<usize>) -> Vec<Place> {
        let found = stretches(sectors).into_iter();
        found.map(|(first, count)| self.place(id, first, count)).collect()
    }

    /// The machine loses power, and has it again.
    pub(super) fn power_off(&mut self, random: &mut Random) -> PowerLoss {
        let ids: Vec<Id> = self.files.keys().copied().collect();
        let mut done = PowerLoss::default();
        for id in ids {
            // Places are told with the names and the lengths from before.
            let mut after = self.content(id).clone();
            let loss = after.power_off(random);
            let (lost, torn) = (loss.lost.len(), loss.torn.iter().count());
            self.counts.lost_sectors += lost as u64;
            self.counts.torn_sectors += torn as u64;
            done.lost.extend(self.places(id, loss.lost));
            done.torn.extend(self.places(id, loss.torn.into_iter().collect()));
            *self.content(id) = after;
        }
        done.names = self.names.power_off(random);
        self.counts.lost_names += done.names as u64;
        self.counts.power_losses += 1;
        self.end_life();
        done
    }

    pub(super) fn sync(&mut self, id: Id) -> io::Result<()> {
        if let Some(seed) = self.next_sync.take() {
            let dropped = self.content(id).fail_sync(&mut Random::new(seed, "failed sync"));
            let places = self.places(id, dropped);
            self.damage.extend(places.into_iter().map(Damage::Dropped));
            self.counts.failed_syncs += 1;
            return Err(failed());
        }
        self.counts.syncs += 1;
        let mut strays = self.content(id).sync().into_iter().peekable();
        while let Some(first) = strays.next() {
            let mut run = vec![first];
            while let Some(next) = strays.next_if(|next| follows(&run, next)) {
                run.push(next);
            }
            self.stray(id, &run);
        }
        Ok(())
    }

    /// A failure leaves the names as they are: they are not safe, and a later sync tries again.
    pub(super) fn sync_names(&mut self) -> io::Result<()> {
        if self.next_sync.take().is_some() {
            self.counts.failed_syncs += 1;
            return Err(failed());
        }
        self.counts.name_syncs += 1;
        self.names.sync();
        Ok(())
    }

    /// Neighbours of which a sync said that they are safe.
    fn stray(&mut self, id: Id, run: &[Stray]) {
        let Some(first) = run.first() else { return };
        let meant = self.place(id, first.sector, run.len());
        let damage = match first.fault {
            WriteFault::Lost => Damage::Lost(meant),
            WriteFault::Misdirected(seed) => {
                let own = first.sector..first.sector + run.len();
                Damage::Misdirected { meant, hit: self.hit(id, &own, run, seed) }
            }
        };
        self.damage.push(damage);
    }

    /// A write goes to another place. None: there is none.
    fn hit(&mut self, id: Id, own: &Range<usize>, run: &[Stray], seed: u64) -> Option<Place> {
        let mut others = self.at_rest();
        others.retain(|(of, sector)| *of != id || !own.contains(sector));
        if others.is_empty() {
            return None;
        }
        let mut random = Random::new(seed, "misdirected write");
        let first = random.random_range(0..others.len());
        let (victim, start) = others[first];
        let mut count = 0;
        for stray in run {
            // The run ends with the file, and before what is not at rest.
            if others.get(first + count) != Some(&(victim, start + count)) {
                break;
            }
            self.content(victim).damage(start + count, &stray.bytes);
            count += 1;
        }
        Some(self.place(victim, start, count))
    }

    /// All sectors at rest of the files that have names, in the order of the names.
    fn at_rest(&mut self) -> Vec<Sector> {
        let ids: Vec<Id> = self.names.now().values().copied().collect();
        let sectors = |id: Id| {
            let found: Vec<Sector> =
                self.content(id).at_rest().map(|sector| (id, sector)).collect();
            found
        };
        ids.into_iter().flat_map(sectors).collect()
    }

    pub(super) fn flip_bit(&mut self, random: &mut Random) -> Option<Damage> {
        let all = self.at_rest();
        if all.is_empty() {
            return None;
        }
        let (id, sector) = all[random.random_range(0..all.len())];
        let first = sector * self.sector_bytes;
        let end = self.content(id).platter().len().min(first + self.sector_bytes);
        let at = random.random_range(first..end);
        Some(self.flip(id, at, random.random_range(0..8)))
    }

    pub(super) fn flip_bit_at(&mut self, name: &str, at: u64, bit: u32) -> io::Result<Damage> {
        let id = self.names.get(name)?;
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        let sector = at / self.sector_bytes;
        let content = self.content(id);
        let is_safe =
            at < content.platter().len() && content.at_rest().any(|other| other == sector);
        match is_safe && bit < 8 {
            true => Ok(self.flip(id, at, bit)),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn flip(&mut self, id: Id, at: usize, bit: u32) -> Damage {
        let (sector, within) = (at / self.sector_bytes, at % self.sector_bytes);
        let content = self.content(id);
        let mut bytes = content.sector(sector);
        bytes[within] ^= 1 << bit;
        content.damage(sector, &bytes);
        let place = Place { file: self.names.name(id), at: at as u64, length: 1 };
        let damage = Damage::Flipped { place, bit };
        self.damage.push(damage.clone());
        damage
    }

    pub(super) fn swap_sectors(&mut self, random: &mut Random) -> Option<Damage> {
        let mut all = self.at_rest();
        if all.is_empty() {
            return None;
        }
        let (one, first) = all[random.random_range(0..all.len())];
        let bytes = self.content(one).sector(first);
        all.retain(|(id, sector)| self.content(*id).sector(*sector) != bytes);
        if all.is_empty() {
            return None;
        }
        let (other, second) = all[random.random_range(0..all.len())];
        let theirs = self.content(other).sector(second);
        self.content(one).damage(first, &theirs);
        self.content(other).damage(second, &bytes);
        let damage = Damage::Swapped(self.place(one, first, 1), self.place(other, second, 1));
        self.damage.push(damage.clone());
        Some(damage)
    }

    /// Where the platter is not as a disk without faults would have it.
    pub(super) fn damaged(&mut self) -> Vec<Place> {
        let files: Vec<(String, Id)> =
            self.names.now().iter().map(|(name, id)| (name.clone(), *id)).collect();
        let mut found = Vec::new();
        for (file, id) in files {
            for (at, length) in self.content(id).damaged() {
                let (at, length) = (at as u64, length as u64);
                found.push(Place { file: file.clone(), at, length });
            }
        }
        found
    }
}

/// Whether a sector goes on where a run of others ends, and the same happened to it.
fn follows(run: &[Stray], next: &Stray) -> bool {
    run.last().is_some_and(|last| last.sector + 1 == next.sector && last.fault == next.fault)
}
