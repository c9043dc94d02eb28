//! What looks like chance and is not: words and ids that follow from the seed and a request's number.

/// What the choices of a scenario start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed {
    first: u64,
    second: u64,
}

impl Seed {
    /// The run's seed, made another one for each scenario: two of them share no id.
    pub(crate) fn new(run: u64, scenario: &str) -> Self {
        let first = scenario.bytes().fold(mix(run), |seed, byte| mix(seed ^ u64::from(byte)));
        Self { first, second: mix(first) }
    }

    /// One of `count` things, each as often as the others; another `salt` chooses independently.
    pub(crate) fn choose(self, number: u64, salt: u64, count: usize) -> usize {
        let random = mix(self.first ^ mix(number ^ salt.rotate_left(32)));
        // The upper half of the product: no division, and even to within count / 2^64.
        let chosen = (u128::from(random) * count as u128) >> 64;
        usize::try_from(chosen).expect("less than count")
    }

    /// Appends a UUID of version 4. Each number has another one.
    pub(crate) fn uuid(self, number: u64, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let upper = mix(self.first ^ number) & !0xf000 | 0x4000;
        let lower = mix(self.second ^ number) & !(0b11 << 62) | 0b10 << 62;
        let bits = u128::from(upper) << 64 | u128::from(lower);
        let mut text = [b'-'; UUID_BYTES];
        let mut digit = 0;
        for (at, byte) in text.iter_mut().enumerate() {
            if !matches!(at, 8 | 13 | 18 | 23) {
                let nibble = (bits >> (124 - 4 * digit)) & 0xf;
                *byte = HEX[usize::try_from(nibble).expect("one digit")];
                digit += 1;
            }
        }
        out.extend_from_slice(&text);
    }
}

/// Bytes of a UUID as text.
pub(crate) const UUID_BYTES: usize = 36;

/// The finishing step of splitmix64 (Steele, Lea, Flood 2014): one to one, and every bit of the input
/// moves every bit of the output.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn uuid(seed: Seed, number: u64) -> String {
        let mut out = Vec::new();
        seed.uuid(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_uuid_is_of_version_4_and_nobody_elses() {
        let seed = Seed::new(7, "day");
        let all: HashSet<String> = (0..20_000).map(|number| uuid(seed, number)).collect();
        assert_eq!(all.len(), 20_000);
        for text in &all {
            let parsed = uuid::Uuid::parse_str(text).expect("it is one");
            assert_eq!(
                (parsed.get_version_num(), parsed.get_variant()),
                (4, uuid::Variant::RFC4122)
            );
            assert_eq!(parsed.to_string(), *text);
        }
        assert_eq!(uuid(seed, 3), uuid(Seed::new(7, "day"), 3));
        assert_ne!(uuid(seed, 3), uuid(Seed::new(8, "day"), 3));
        assert_ne!(uuid(seed, 3), uuid(Seed::new(7, "night"), 3));
    }

    #[test]
    fn choices_are_even_and_independent() {
        let seed = Seed::new(0, "");
        let mut seen = [[0u32; 3]; 4];
        for number in 0..120_000 {
            seen[seed.choose(number, 1, 4)][seed.choose(number, 2, 3)] += 1;
        }
        for count in seen.into_iter().flatten() {
            assert!((9_500..10_500).contains(&count), "{seen:?}");
        }
    }
}
