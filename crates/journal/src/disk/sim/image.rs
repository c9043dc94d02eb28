//! One simulated file: what the page cache shows and what a power cut leaves of it.

use super::Rng;

/// What a disk writes whole or not at all, save for a torn sector now and then.
pub(super) const SECTOR_BYTES: usize = 512;

/// A file's two images and which sectors differ for a reason that a sync would mend.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    /// What reads return.
    cached: Vec<u8>,
    /// What is on the platter.
    durable: Vec<u8>,
    /// Sectors written since the last sync. A sector that a failed sync has lost is not among
    /// them, though its images differ: the kernel holds it for clean.
    dirty: Vec<bool>,
    /// Whether the length has changed since the last sync.
    resized: bool,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.cached.len() as u64
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(buf.len())?;
        buf.copy_from_slice(self.cached.get(start..end)?);
        Some(())
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = usize::try_from(offset).expect("simulated files are small");
        let end = start + bytes.len();
        if end > self.cached.len() {
            self.set_len(end);
        }
        self.cached[start..end].copy_from_slice(bytes);
        self.dirty[start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)].fill(true);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len == self.cached.len() {
            return;
        }
        self.resized = true;
        let before = self.cached.len();
        self.cached.resize(len, 0);
        self.dirty.resize(len.div_ceil(SECTOR_BYTES), true);
        // The zeros behind a cut are part of the file's content from now on.
        let edge = before.min(len) / SECTOR_BYTES;
        if let Some(dirty) = self.dirty.get_mut(edge) {
            *dirty = true;
        }
    }

    /// A sync that succeeds.
    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for sector in 0..self.dirty.len() {
            if std::mem::take(&mut self.dirty[sector]) {
                self.settle(sector, SECTOR_BYTES);
            }
        }
        self.resized = false;
    }

    /// A sync that fails: some sectors reach the platter, the others are forgotten, and all count
    /// as clean, so that the next sync succeeds without writing them.
    pub(super) fn lose(&mut self, rng: &mut Rng) {
        self.settle_some(rng);
        self.dirty.fill(false);
        self.resized = false;
    }

    /// The kernel writes back a few sectors although nobody asked.
    pub(super) fn write_back(&mut self, rng: &mut Rng) {
        if self.dirty.is_empty() || self.resized {
            return;
        }
        let sector = rng.index(self.dirty.len());
        if std::mem::take(&mut self.dirty[sector]) {
            self.settle(sector, SECTOR_BYTES);
        }
    }

    /// The page cache drops its clean pages: what a failed sync has lost is gone for readers too.
    pub(super) fn evict(&mut self) {
        if !self.resized && self.durable.len() != self.cached.len() {
            self.cached.resize(self.durable.len(), 0);
            self.dirty.resize(self.durable.len().div_ceil(SECTOR_BYTES), false);
        }
        for (sector, _) in self.dirty.iter().enumerate().filter(|(_, dirty)| !**dirty) {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.cached.len()).min(self.durable.len());
            if start < end {
                self.cached[start..end].copy_from_slice(&self.durable[start..end]);
            }
        }
    }

    /// The power goes: unsynced sectors survive at random, one may be torn, the length is any
    /// between the old and the new.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        self.settle_some(rng);
        self.cached.clone_from(&self.durable);
        self.dirty.clear();
        self.dirty.resize(self.cached.len().div_ceil(SECTOR_BYTES), false);
        self.resized = false;
    }

    fn settle_some(&mut self, rng: &mut Rng) {
        if self.resized {
            let (old, new) = (self.durable.len(), self.cached.len());
            let len = match rng.below(3) {
                0 => old,
                1 => new,
                _ => old.min(new) + rng.index(old.abs_diff(new) + 1),
            };
            self.durable.resize(len, 0);
        }
        // All, none or some: the extremes are the likely cases on a real machine.
        let keep = [0, 1, 4, 7, 8][rng.index(5)];
        for sector in 0..self.dirty.len() {
            if self.dirty[sector] && rng.chance(keep, 8) {
                let torn = rng.chance(1, 16);
                let bytes = if torn { rng.index(SECTOR_BYTES) } else { SECTOR_BYTES };
                self.settle(sector, bytes);
            }
        }
    }

    /// Copies the first `bytes` of a sector to the platter, as far as the file reaches there.
    fn settle(&mut self, sector: usize, bytes: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + bytes).min(self.cached.len()).min(self.durable.len());
        if start < end {
            self.durable[start..end].copy_from_slice(&self.cached[start..end]);
        }
    }

    /// Flips a bit on the platter and in the cache.
    pub(super) fn flip(&mut self, offset: u64, bit: u8) {
        let at = usize::try_from(offset).expect("simulated files are small");
        for image in [&mut self.cached, &mut self.durable] {
            if let Some(byte) = image.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }
}
