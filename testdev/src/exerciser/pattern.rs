//! The pattern of `Fill` and `Check`: a different byte sequence for every seed.
//!
//! The bytes of word number k, which are those at positions 8k to 8k + 7 of a command's range, are
//! the little-endian bytes of [`word`]`(seed, k)`.

/// Word number `index` of the pattern with this seed: the output number `index` of SplitMix64.
pub const fn word(seed: u64, index: u64) -> u64 {
    let state = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Fills `data` with the pattern from byte number `position` on.
pub fn fill(seed: u64, position: u64, data: &mut [u8]) {
    // CAST: less than 8.
    let lead = (position.wrapping_neg() % 8) as usize;
    let (head, body) = data.split_at_mut(lead.min(data.len()));
    for (at, byte) in (position..).zip(head) {
        *byte = byte_at(seed, at);
    }
    let first = position.div_ceil(8);
    let (words, tail) = body.as_chunks_mut::<8>();
    // CAST: `usize` to `u64` keeps every value.
    let behind = first.wrapping_add(words.len() as u64);
    for (index, place) in (first..).zip(words) {
        *place = word(seed, index).to_le_bytes();
    }
    for (byte, value) in tail.iter_mut().zip(word(seed, behind).to_le_bytes()) {
        *byte = value;
    }
}

/// The first byte of `data` that is not the pattern's, which has reached byte number `position`.
pub fn first_mismatch(seed: u64, position: u64, data: &[u8]) -> Option<usize> {
    // CAST: less than 8.
    let lead = (position.wrapping_neg() % 8) as usize;
    let lead = lead.min(data.len());
    let (head, body) = data.split_at(lead);
    let wrong = |base: usize, bytes: &[u8]| {
        // CAST: `usize` to `u64` keeps every value.
        let at = |index: usize| position.wrapping_add((base + index) as u64);
        bytes.iter().enumerate().position(|(i, &b)| b != byte_at(seed, at(i))).map(|i| base + i)
    };
    if let Some(found) = wrong(0, head) {
        return Some(found);
    }
    let first = position.div_ceil(8);
    let (words, tail) = body.as_chunks::<8>();
    let bad =
        (first..).zip(words).position(|(k, bytes)| u64::from_le_bytes(*bytes) != word(seed, k));
    match bad {
        Some(index) => wrong(lead + 8 * index, words.get(index).map_or(&[], |bytes| bytes)),
        None => wrong(lead + 8 * words.len(), tail),
    }
}

/// Byte number `position` of the pattern.
pub const fn byte_at(seed: u64, position: u64) -> u8 {
    // CAST: less than 8; and the low byte is meant.
    (word(seed, position / 8) >> (8 * (position % 8))) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_those_of_splitmix64() {
        // The published first outputs of the generator with seed 0.
        assert_eq!(word(0, 0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(word(0, 1), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(word(0, 2), 0x06c4_5d18_8009_454f);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parts_make_the_whole(seed in any::<u64>(), start in 0u64..100, cut in 0usize..64) {
            let mut whole = [0u8; 64];
            fill(seed, start, &mut whole);
            let mut parts = [0u8; 64];
            let (head, tail) = parts.split_at_mut(cut);
            fill(seed, start, head);
            fill(seed, start + cut as u64, tail);

            prop_assert_eq!(whole, parts);
            prop_assert_eq!(first_mismatch(seed, start, &whole), None);
            prop_assert_eq!(whole[cut], byte_at(seed, start + cut as u64));
        }

        #[test]
        fn the_first_wrong_byte_is_found(
            seed in any::<u64>(), start in 0u64..100, length in 1usize..64, at in 0usize..64
        ) {
            let mut data = [0u8; 64];
            fill(seed, start, &mut data);
            let at = at % length;
            data[at] ^= 0x10;
            data[length - 1] ^= if at == length - 1 { 0 } else { 1 };

            prop_assert_eq!(first_mismatch(seed, start, &data[..length]), Some(at));
        }
    }
}
