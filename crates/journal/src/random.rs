//! Randomness for salts, ids and secrets: the kernel's, or derived from a seed in a simulation.

use std::io;

use crate::options::Options;

/// The salt of an epoch.
pub(crate) fn salt(options: &Options, epoch: u32) -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    fill(options, u64::from(epoch), &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A new store's id and secret.
pub(crate) fn store_secrets(options: &Options) -> io::Result<([u8; 16], [u8; 16])> {
    let (mut id, mut key) = ([0u8; 16], [0u8; 16]);
    fill(options, 1 << 32, &mut id)?;
    fill(options, 1 << 33, &mut key)?;
    Ok((id, key))
}

fn fill(options: &Options, stream: u64, out: &mut [u8]) -> io::Result<()> {
    match options.seed {
        Some(seed) => {
            // SplitMix64: spreads a small seed over all bits; nothing secret is expected of it.
            let mut state = seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            for chunk in out.chunks_mut(8) {
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut word = state;
                word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                word ^= word >> 31;
                chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
            }
        }
        None => {
            let mut filled = 0;
            while filled < out.len() {
                let flags = rustix::rand::GetRandomFlags::empty();
                filled += rustix::rand::getrandom(&mut out[filled..], flags)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_the_system_does_not() {
        let seeded = Options { seed: Some(7), ..Options::default() };
        assert_eq!(salt(&seeded, 1).expect("salt"), salt(&seeded, 1).expect("salt"));
        assert_ne!(salt(&seeded, 1).expect("salt"), salt(&seeded, 2).expect("salt"));
        let real = Options::default();
        assert_ne!(salt(&real, 1).expect("salt"), salt(&real, 1).expect("salt"));
    }
}
