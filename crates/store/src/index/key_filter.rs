//! Which keys a part may hold: a filter in memory, so that a key that was never used costs a few
//! looks at single cache lines instead of a look into every table.
//!
//! Every part within the window of keys has one. It may say yes to a key that is not there, never no
//! to one that is: every run's keys are put in before the run can be seen, and after a start, when
//! the keys of earlier runs have to be read from the disk first, it says yes to everything until
//! they are in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use usage::UsageId;

/// With twenty bits and six probes in a block, about one key in 2,500 is mistaken for another. With
/// ten it would be one in eighty, and a third of all new keys would be looked up on the disk, because
/// each is looked up in the 31 parts of a month.
const BITS_PER_KEY: u64 = 20;
const PROBES: u32 = 6;
const BLOCK_BITS_LOG2: u32 = 9;
const BLOCK_BITS: u64 = 1 << BLOCK_BITS_LOG2;
/// Keys that the first layer of a part has room for.
const KEYS_FIRST: u64 = 4096;

/// One cache line.
#[repr(align(64))]
#[derive(Default)]
struct Block([AtomicU64; 8]);

/// A Bloom filter for a fixed number of keys. Bits are only ever set, while other threads read.
pub(super) struct Layer {
    blocks: Box<[Block]>,
    keys_max: u64,
    /// Whether all its keys are inserted.
    whole: AtomicBool,
}

impl Layer {
    /// For at most `keys_max` keys that are still to be read; see
    /// [`Refill`](super::refill::Refill).
    pub(super) fn unread(keys_max: u64) -> Self {
        let blocks = (keys_max * BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1);
        Self {
            blocks: (0..blocks).map(|_| Block::default()).collect(),
            keys_max,
            whole: AtomicBool::new(false),
        }
    }

    fn new(keys_max: u64) -> Self {
        let layer = Self::unread(keys_max);
        layer.set_whole();
        layer
    }

    /// States that all its keys are inserted.
    pub(super) fn set_whole(&self) {
        self.whole.store(true, Ordering::Release);
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// The words and bits of a key. Ids are parts of a SHA-256, so they are their own hash.
    fn probes(&self, id: UsageId) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let (high, low) = halves(id);
        // The first 48 bits are free, which spread evenly over any number of blocks.
        let at = (u128::from(high) * self.blocks.len() as u128) >> 64;
        let block = &self.blocks[usize::try_from(at).expect("below the number of blocks")];
        (0..PROBES).map(move |probe| {
            let bit = low >> (probe * BLOCK_BITS_LOG2) & (BLOCK_BITS - 1);
            (&block.0[(bit / 64) as usize], 1 << (bit % 64))
        })
    }

    /// Puts a key in.
    pub(super) fn insert(&self, id: UsageId) {
        for (word, bit) in self.probes(id) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// `false` if it does not have the key. The keys of later runs were put in before
    /// the reader could get a snapshot that shows them; those of earlier ones before the layer was
    /// called whole, so that is looked at first: bits read before it may lack keys.
    fn may_hold(&self, id: UsageId) -> bool {
        !self.is_whole()
            || self.probes(id).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }
}

/// The id's bits in two words; the low one has 62 free bits, of which the probes take 54.
fn halves(id: UsageId) -> (u64, u64) {
    let bits = u128::from_be_bytes(id.to_bytes());
    let word = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).expect("64 bits");
    (word(bits >> 64), word(bits))
}

/// The filter of one part. While keys arrive it grows by layers, each with room for as many keys as
/// all before it; once no more arrive, one layer of the right size replaces them. Clones share the
/// layers.
#[derive(Clone)]
pub(super) struct KeyFilter {
    /// Together they have every key.
    layers: Vec<Arc<Layer>>,
    /// Has every key once it is whole.
    fitting: Option<Arc<Layer>>,
    /// Keys that the last layer still has room for.
    room: u64,
}

impl KeyFilter {
    /// For a part that has no keys yet.
    pub(super) fn new() -> Self {
        Self { layers: vec![Arc::new(Layer::new(KEYS_FIRST))], fitting: None, room: KEYS_FIRST }
    }

    /// For a part whose keys are being read into `layer`.
    pub(super) fn of(layer: Arc<Layer>) -> Self {
        Self { layers: vec![layer], fitting: None, room: 0 }
    }

    /// Puts a key in.
    pub(super) fn insert(&mut self, id: UsageId) {
        if self.room == 0 {
            let keys: u64 = self.layers.iter().map(|layer| layer.keys_max).sum();
            self.room = keys.max(KEYS_FIRST);
            self.layers.push(Arc::new(Layer::new(self.room)));
        }
        self.room -= 1;
        self.layers.last().expect("there always is one").insert(id);
    }

    /// `false` if the part has no such key.
    pub(super) fn may_hold(&self, id: UsageId) -> bool {
        match &self.fitting {
            Some(fitting) if fitting.is_whole() => fitting.may_hold(id),
            _ => self.layers.iter().rev().any(|layer| layer.may_hold(id)),
        }
    }

    /// Drops the layers once the fitting one is whole.
    pub(super) fn settle(&mut self) {
        if let Some(fitting) = self.fitting.take_if(|fitting| fitting.is_whole()) {
            *self = Self::of(fitting);
        }
    }

    /// Whether a fitting layer is wanted.
    pub(super) fn is_layered(&self) -> bool {
        self.layers.len() > 1 && self.fitting.is_none()
    }

    /// Lets `layer` replace all others once it is whole.
    pub(super) fn fit(&mut self, layer: Arc<Layer>) {
        self.fitting = Some(layer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(key: u64) -> UsageId {
        UsageId::keyed("default", &key.to_string())
    }

    fn bytes(filter: &KeyFilter) -> usize {
        filter.layers.iter().map(|layer| size_of_val(&*layer.blocks)).sum()
    }

    #[test]
    fn every_key_put_in_is_found_and_few_others_are_however_many_there_are() {
        for keys in [1, 5000, 60_000] {
            let mut filter = KeyFilter::new();
            (0..keys).for_each(|key| filter.insert(id(key)));
            let fitting = Arc::new(Layer::unread(keys));
            filter.fit(Arc::clone(&fitting));
            let check = |filter: &KeyFilter, bits_per_key: u64| {
                assert!((0..keys).all(|key| filter.may_hold(id(key))));
                let mistaken = (keys..keys + 60_000).filter(|key| filter.may_hold(id(*key)));
                assert!(mistaken.count() < 300, "one in 200 at most");
                let bytes_max = usize::try_from((keys + 64) * bits_per_key / 8).expect("small");
                assert!(bytes(filter) <= bytes_max, "{} of {bytes_max}", bytes(filter));
            };
            check(&filter, if keys == 1 { 20 * 4096 } else { 40 });
            (0..keys).for_each(|key| fitting.insert(id(key)));
            fitting.set_whole();
            filter.settle();
            check(&filter, 20);
        }
    }

    #[test]
    fn a_layer_whose_keys_are_still_to_be_read_rules_nothing_out() {
        let layer = Arc::new(Layer::unread(10));
        let mut filter = KeyFilter::of(Arc::clone(&layer));
        filter.insert(id(2));
        assert!(filter.may_hold(id(1)));
        layer.set_whole();
        assert!(!filter.may_hold(id(1)) && filter.may_hold(id(2)));
    }
}
