//! Wrong on purpose: panics on a certain input of eight bytes. `fuzz/run` fails unless the fuzzer
//! finds it, which takes coverage, traced comparisons and a reported panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((head, tail)) = input.split_first_chunk::<4>() else { return };
    if u32::from_le_bytes(*head) == 0x1a2b_3c4d {
        let Some(tail) = tail.first_chunk::<4>() else { return };
        assert_ne!(u32::from_le_bytes(*tail), 0x5e6f_7081, "found");
    }
});
