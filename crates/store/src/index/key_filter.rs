//! Which keys a part may hold: a Bloom filter in memory, so that a key that was never used costs
//! one look at one cache line instead of a look into every table.
//!
//! The newest parts have one each. It may say yes to a key that is not there, never no to one that
//! is: every run's keys are put in before the run can be seen, and after a start, when the keys of
//! earlier runs have to be read from the disk first, it says yes to everything until they are in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use fjall::Keyspace;
use usage::UsageId;

use super::IndexError;
use super::rows::read_keyed;

/// With ten bits and six probes in a block about one key in eighty is taken for another.
const BITS_PER_KEY: u64 = 10;
const PROBES: u32 = 6;
const BLOCK_BITS_LOG2: u32 = 9;
const BLOCK_BITS: u64 = 1 << BLOCK_BITS_LOG2;

/// One cache line.
#[repr(align(64))]
#[derive(Default)]
struct Block([AtomicU64; 8]);

/// The filter of one part. Bits are only ever set, by one thread or many, while others look.
pub(super) struct KeyFilter {
    blocks: Box<[Block]>,
    /// Whether every key of the part that readers may see is in it.
    whole: AtomicBool,
}

impl KeyFilter {
    /// For a part that has no keys yet and will have `keys_max` of them at most.
    pub(super) fn new(keys_max: u64) -> Self {
        let filter = Self::unread(keys_max);
        filter.whole.store(true, Ordering::Release);
        filter
    }

    /// For a part whose keys have still to be read; see [`Refill`].
    pub(super) fn unread(keys_max: u64) -> Self {
        let blocks = (keys_max * BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1);
        Self {
            blocks: (0..blocks).map(|_| Block::default()).collect(),
            whole: AtomicBool::new(false),
        }
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

    /// `false` if the part has no such key. The keys of later runs were put in before the reader
    /// could get a snapshot that shows them; those of earlier ones before the filter was called
    /// whole, so that is looked at first: bits read before it may lack keys that it stands for.
    pub(super) fn may_hold(&self, id: UsageId) -> bool {
        !self.whole.load(Ordering::Acquire)
            || self.probes(id).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }
}

/// The id's bits in two words; the low one has 62 free bits, of which the probes take 54.
fn halves(id: UsageId) -> (u64, u64) {
    let bits = u128::from_be_bytes(id.to_bytes());
    let word = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).expect("64 bits");
    (word(bits >> 64), word(bits))
}

/// Reads keys into filters after a start, on a thread of its own and the newest part first. What
/// is applied meanwhile is put in by who applies it. Dropped, it ends soon, whole or not.
pub(super) struct Refill {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Refill {
    /// Begins, with the keyspaces in the order in which they matter.
    pub(super) fn start(todo: Vec<(Keyspace, Arc<KeyFilter>)>) -> Result<Self, IndexError> {
        let stop = Arc::new(AtomicBool::new(false));
        if todo.is_empty() {
            return Ok(Self { stop, thread: None });
        }
        let stopped = Arc::clone(&stop);
        let run = move || {
            super::yield_to_others();
            for (keys, filter) in todo {
                match refill(&keys, &filter, &stopped) {
                    Ok(whole) => filter.whole.store(whole, Ordering::Release),
                    // Keys are looked for in the tables then, whose readers will tell.
                    Err(error) => tracing::warn!(%error, "keys could not be read into a filter"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("index-filters".into()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Waits until it has ended by itself.
    #[cfg(test)]
    pub(super) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("reading keys does not panic");
        }
    }
}

impl Drop for Refill {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("reading keys into filters has panicked; the tables are looked into");
        }
    }
}

/// Returns whether it came to the end.
fn refill(keys: &Keyspace, filter: &KeyFilter, stop: &AtomicBool) -> Result<bool, IndexError> {
    for row in keys.iter() {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        if let Some(id) = read_keyed(&row.key()?)? {
            filter.insert(id);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(key: u64) -> UsageId {
        UsageId::keyed("default", &key.to_string())
    }

    #[test]
    fn every_key_put_in_is_found_and_few_others_are() {
        const KEYS: u64 = 20_000;
        let filter = KeyFilter::new(KEYS);
        (0..KEYS).for_each(|key| filter.insert(id(key)));
        assert!((0..KEYS).all(|key| filter.may_hold(id(key))));
        let mistaken = (KEYS..2 * KEYS).filter(|key| filter.may_hold(id(*key))).count();
        assert!(mistaken < 500, "{mistaken} of {KEYS}");
    }

    #[test]
    fn a_filter_whose_keys_are_still_to_be_read_rules_nothing_out() {
        let filter = KeyFilter::unread(10);
        assert!(filter.may_hold(id(1)));
        assert!(!KeyFilter::new(10).may_hold(id(1)));
    }
}
