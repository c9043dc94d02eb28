//! The idempotency keys of usages that the index has not taken yet, and the locks that make
//! looking up, claiming and appending one step per key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use usage::UsageId;

const SHARDS: usize = 64;

/// Keys by the usage's id, which is made from principal and key.
///
/// Bounded by the tail: a claim stands for a frame that is pending or in the tail, and goes when
/// the index has the frame.
pub(crate) struct Claims {
    shards: Box<[Mutex<HashMap<UsageId, Claim>>]>,
}

/// A key that was used, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) seq: u64,
    pub(crate) received_ms: u64,
    /// Of the usage's content.
    pub(crate) digest: u128,
    /// The latest durable usage whose claim this one has replaced, because the key's window was
    /// over: until this one is durable the key stands for that.
    pub(crate) before: Option<u64>,
}

impl Claim {
    pub(crate) fn new(seq: u64, received_ms: u64, digest: u128) -> Self {
        Self { seq, received_ms, digest, before: None }
    }
}

fn insert(shard: &mut HashMap<UsageId, Claim>, id: UsageId, mut claim: Claim, durable: u64) {
    match shard.entry(id) {
        Entry::Vacant(free) => {
            free.insert(claim);
        }
        Entry::Occupied(mut taken) => {
            let replaced = *taken.get();
            claim.before =
                if replaced.seq < durable { Some(replaced.seq) } else { replaced.before };
            taken.insert(claim);
        }
    }
}

type Shard<'a> = MutexGuard<'a, HashMap<UsageId, Claim>>;

/// The locks over some keys; what is found or missing under them stays so until they are dropped.
pub(crate) struct Held<'a> {
    /// By the shards' numbers.
    shards: Vec<(usize, Shard<'a>)>,
}

/// Ids are parts of a SHA-256, so any of their free bits spread evenly.
fn shard_of(id: UsageId) -> usize {
    usize::from(id.to_bytes()[15]) % SHARDS
}

impl Claims {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Locks a shard, even if a thread has panicked while it held it. Each claim is one insertion
    /// into the map, and follows its append with nothing that can panic in between, so the claims
    /// are complete at every moment.
    fn shard(&self, at: usize) -> Shard<'_> {
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the given keys, always in the order of their shards, so that two batches can not wait
    /// for each other.
    pub(crate) fn hold(&self, ids: impl Iterator<Item = UsageId>) -> Held<'_> {
        let mut wanted: Vec<usize> = ids.map(shard_of).collect();
        wanted.sort_unstable();
        wanted.dedup();
        Held { shards: wanted.into_iter().map(|at| (at, self.shard(at))).collect() }
    }

    /// The claim on one key.
    pub(crate) fn get(&self, id: UsageId) -> Option<Claim> {
        self.shard(shard_of(id)).get(&id).copied()
    }

    /// Forgets the claim of `id` by the frame `seq`, which the index has now.
    pub(crate) fn release(&self, id: UsageId, seq: u64) {
        let mut shard = self.shard(shard_of(id));
        // A key beyond its window may have been claimed anew since.
        if shard.get(&id).is_some_and(|claim| claim.seq == seq) {
            shard.remove(&id);
        }
        if shard.capacity() > 4 * shard.len().max(256) {
            shard.shrink_to_fit();
        }
    }

    /// Claims a key while nobody else is looking: when a store is opened.
    pub(crate) fn restore(&self, id: UsageId, claim: Claim) {
        insert(&mut self.shard(shard_of(id)), id, claim, u64::MAX);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        (0..SHARDS).for_each(|at| self.shard(at).clear());
    }

    /// How many keys are claimed.
    pub(crate) fn len(&self) -> usize {
        (0..SHARDS).map(|at| self.shard(at).len()).sum()
    }
}

impl Held<'_> {
    fn shard(&mut self, id: UsageId) -> &mut HashMap<UsageId, Claim> {
        let at = self.shards.binary_search_by_key(&shard_of(id), |(at, _)| *at);
        &mut self.shards[at.expect("the key is among those held")].1
    }

    pub(crate) fn get(&mut self, id: UsageId) -> Option<Claim> {
        self.shard(id).get(&id).copied()
    }

    /// `durable` is the journal's position: what is below it has been synced.
    pub(crate) fn claim(&mut self, id: UsageId, claim: Claim, durable: u64) {
        insert(self.shard(id), id, claim, durable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(key: usize) -> UsageId {
        UsageId::keyed("default", &key.to_string())
    }

    fn claim(seq: u64) -> Claim {
        Claim::new(seq, 0, 0)
    }

    #[test]
    fn a_claim_is_released_by_its_own_frame_alone() {
        let claims = Claims::new();
        for seq in [5, 9] {
            claims.hold([id(1)].into_iter()).claim(id(1), claim(seq), 6);
        }
        claims.release(id(1), 5);
        assert_eq!(claims.get(id(1)), Some(Claim { before: Some(5), ..claim(9) }));
        claims.release(id(1), 9);
        assert_eq!((claims.get(id(1)), claims.len()), (None, 0));
    }

    #[test]
    fn batches_that_hold_the_same_keys_in_any_order_take_turns() {
        let claims = Claims::new();
        let (forth, back): (Vec<_>, Vec<_>) = ((0..200).collect(), (0..200).rev().collect());
        std::thread::scope(|scope| {
            for keys in [&forth, &back] {
                let claims = &claims;
                scope.spawn(move || {
                    for _ in 0..50 {
                        let mut held = claims.hold(keys.iter().map(|key| id(*key)));
                        let seq = held.get(id(0)).map_or(0, |claim| claim.seq);
                        held.claim(id(0), claim(seq + 1), 0);
                    }
                });
            }
        });
        assert_eq!(claims.get(id(0)).map(|claim| claim.seq), Some(100));
    }

    #[test]
    fn repro_a_panic_under_the_lock_disables_no_key() {
        let claims = Claims::new();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut held = claims.hold([id(1), id(2)].into_iter());
            held.claim(id(1), claim(5), 0);
            panic!("injected");
        }));
        assert!(panicked.is_err());
        assert_eq!(claims.get(id(1)), Some(claim(5)), "what was appended stays claimed");
        claims.hold([id(2)].into_iter()).claim(id(2), claim(6), 0);
        claims.release(id(1), 5);
        assert_eq!(claims.len(), 1);
    }
}
