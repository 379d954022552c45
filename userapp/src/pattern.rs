//! Test data in which every 8-byte word says where it belongs.
//!
//! A word is a one-to-one function of (family, transfer number, word index), keyed by the seed of
//! the run. So no two words of a run are equal, and a word found in the wrong place can be turned
//! back into the transfer and the offset it came from: that is how stale lines, shifts and swapped
//! pieces get their names.
//!
//! A word is made in three steps that can each be undone: a number that holds a mark (7 bits), the
//! order of its halves (1 bit), the transfer (32 bits) and the word index (24 bits) is multiplied
//! by an odd constant and added to the key; the high half is folded into the low half; the family
//! may exchange the halves or complement the bits. Along a buffer the product grows by a constant,
//! so the inner loop is an addition, a shift and an exclusive or, which compilers vectorise.

use multiversion::multiversion;

/// The longest transfer that the pattern can number, in bytes: 2^24 words.
pub const LENGTH_MAX: u64 = 1 << 27;

/// Bytes in a word of the pattern.
pub const WORD: usize = 8;

const MARK: u64 = 0x5A;
const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
/// Odd, so that multiplying by it can be undone; every byte of it is populated and different, so
/// that each byte of a word changes from word to word.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
const STEP_INVERSE: u64 = inverse(STEP);

/// The number that undoes a multiplication by `odd`, by Newton's iteration.
const fn inverse(odd: u64) -> u64 {
    let mut guess = odd;
    let mut round = 0;
    while round < 6 {
        guess = guess.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(guess)));
        round += 1;
    }
    guess
}

/// A variant of the pattern. Words stay unique in each, and across all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Words as they are.
    Plain,
    /// Each bit of [`Plain`](Self::Plain) complemented.
    Inverted,
    /// The halves of each word exchanged, so that each bit travels on another byte lane.
    Swapped,
    /// Each bit of [`Swapped`](Self::Swapped) complemented.
    SwappedInverted,
}

impl Family {
    /// All families.
    pub const ALL: &'static [Self] =
        &[Self::Plain, Self::Inverted, Self::Swapped, Self::SwappedInverted];

    /// The family whose bytes differ from this one's in every bit.
    #[must_use]
    pub const fn complement(self) -> Self {
        match self {
            Self::Plain => Self::Inverted,
            Self::Inverted => Self::Plain,
            Self::Swapped => Self::SwappedInverted,
            Self::SwappedInverted => Self::Swapped,
        }
    }

    /// The name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Inverted => "inverted",
            Self::Swapped => "swapped",
            Self::SwappedInverted => "swapped-inverted",
        }
    }

    const fn is_swapped(self) -> bool {
        matches!(self, Self::Swapped | Self::SwappedInverted)
    }

    /// Dresses a word in this family's form; doing it twice gives the word back.
    const fn dress(self, word: u64) -> u64 {
        match self {
            Self::Plain => word,
            Self::Inverted => !word,
            Self::Swapped => word.rotate_left(32),
            Self::SwappedInverted => !word.rotate_left(32),
        }
    }
}

/// Whose data a pattern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The number of the transfer.
    pub transfer: u32,
    /// The variant of the pattern.
    pub family: Family,
}

impl Tag {
    /// The tag whose pattern differs from this one's in every bit.
    #[must_use]
    pub const fn complement(self) -> Self {
        Self { transfer: self.transfer, family: self.family.complement() }
    }
}

/// Where a decoded word belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whose data it is.
    pub tag: Tag,
    /// The offset in that transfer of the word's first byte.
    pub offset: u64,
}

/// Makes, checks and decodes the data of one run.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    key: u64,
}

impl Codec {
    /// The codec of the run with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { key: crate::random::Random::new(seed).next_u64() }
    }

    /// Fills `out` with the data of `tag` from `offset` on.
    ///
    /// The data must end within [`LENGTH_MAX`].
    pub fn fill(&self, tag: Tag, offset: u64, out: &mut [u8]) {
        let (head, body) = out.split_at_mut(head_length(offset, out.len()));
        self.copy_partial(tag, offset, head);
        // CAST: a slice's length fits in 64 bits.
        let offset = offset + head.len() as u64;
        let (words, tail) = body.as_chunks_mut::<WORD>();
        fill_words(self.product(tag, offset / WORD as u64), tag.family, words);
        let tail_offset = offset + (words.len() * WORD) as u64;
        self.copy_partial(tag, tail_offset, tail);
    }

    /// The position of the first byte of `actual` that is not the data of `tag` from `offset` on.
    ///
    /// The expected data is made in registers and never stored.
    #[must_use]
    pub fn first_mismatch(&self, tag: Tag, offset: u64, actual: &[u8]) -> Option<usize> {
        let (head, body) = actual.split_at(head_length(offset, actual.len()));
        if let Some(position) = self.mismatch_partial(tag, offset, head) {
            return Some(position);
        }
        let offset = offset + head.len() as u64;
        let (words, tail) = body.as_chunks::<WORD>();
        let wrong = find_word(self.product(tag, offset / WORD as u64), tag.family, words);
        if let Some((index, difference)) = wrong {
            // CAST: at most 7.
            let byte = (difference.trailing_zeros() / 8) as usize;
            return Some(head.len() + index * WORD + byte);
        }
        let tail_start = words.len() * WORD;
        self.mismatch_partial(tag, offset + tail_start as u64, tail)
            .map(|position| head.len() + tail_start + position)
    }

    /// Turns a word back into what it can have been made from.
    ///
    /// Bytes that are no word of the run come out as a random transfer number once in 128 times
    /// for each family; the caller knows which numbers were given out.
    pub fn decode(&self, word: [u8; WORD]) -> impl Iterator<Item = Origin> {
        let word = u64::from_le_bytes(word);
        let key = self.key;
        Family::ALL.iter().filter_map(move |&family| {
            let folded = family.dress(word);
            let product = folded ^ (folded >> 32);
            let number = product.wrapping_sub(key).wrapping_mul(STEP_INVERSE);
            if number >> 56 != mark(family) {
                return None;
            }
            // CAST: the transfer number is the 32 bits above the index.
            let transfer = (number >> INDEX_BITS) as u32;
            let offset = (number & INDEX_MASK) * WORD as u64;
            Some(Origin { tag: Tag { transfer, family }, offset })
        })
    }

    /// The multiplied and keyed number of a word, before folding.
    fn product(&self, tag: Tag, index: u64) -> u64 {
        debug_assert!(index <= INDEX_MASK + 1, "the transfer is too long for the pattern");
        let number =
            mark(tag.family) << 56 | u64::from(tag.transfer) << INDEX_BITS | (index & INDEX_MASK);
        number.wrapping_mul(STEP).wrapping_add(self.key)
    }

    /// The bytes of the word that holds `offset`.
    fn word(&self, tag: Tag, offset: u64) -> [u8; WORD] {
        tag.family.dress(fold(self.product(tag, offset / WORD as u64))).to_le_bytes()
    }

    /// Fills `out`, which lies within one word.
    fn copy_partial(&self, tag: Tag, offset: u64, out: &mut [u8]) {
        if !out.is_empty() {
            let start = within_word(offset);
            out.copy_from_slice(&self.word(tag, offset)[start..start + out.len()]);
        }
    }

    /// The first wrong byte of `actual`, which lies within one word.
    fn mismatch_partial(&self, tag: Tag, offset: u64, actual: &[u8]) -> Option<usize> {
        if actual.is_empty() {
            return None;
        }
        let word = self.word(tag, offset);
        actual.iter().zip(&word[within_word(offset)..]).position(|(actual, word)| actual != word)
    }
}

/// The mark and the order of the halves, as they stand in a number.
const fn mark(family: Family) -> u64 {
    MARK << 1 | family.is_swapped() as u64
}

/// Folds the high half, which depends on every bit of the number, into the low half.
const fn fold(product: u64) -> u64 {
    product ^ (product >> 32)
}

/// The position in its word of the byte at `offset`.
const fn within_word(offset: u64) -> usize {
    // CAST: a remainder below 8.
    (offset % WORD as u64) as usize
}

/// How many bytes from `offset` belong to a word that began before it.
fn head_length(offset: u64, length: usize) -> usize {
    ((WORD - within_word(offset)) % WORD).min(length)
}

/// Fills `words` with the words from the one with this product on.
#[multiversion(targets("x86_64+avx2"))]
fn fill_words(product: u64, family: Family, words: &mut [[u8; WORD]]) {
    match family {
        Family::Plain => fill_dressed(product, words, |word| word),
        Family::Inverted => fill_dressed(product, words, |word| !word),
        Family::Swapped => fill_dressed(product, words, |word| word.rotate_left(32)),
        Family::SwappedInverted => fill_dressed(product, words, |word| !word.rotate_left(32)),
    }
}

// Inlined into each version of its caller, so that it is compiled for that version's processor.
#[inline(always)]
fn fill_dressed(mut product: u64, words: &mut [[u8; WORD]], dress: impl Fn(u64) -> u64) {
    for word in words {
        *word = dress(fold(product)).to_le_bytes();
        product = product.wrapping_add(STEP);
    }
}

/// Words compared between two looks at the result.
const BLOCK: usize = 64;

/// The index of the first wrong word, and the bits that differ in it.
#[multiversion(targets("x86_64+avx2"))]
fn find_word(product: u64, family: Family, words: &[[u8; WORD]]) -> Option<(usize, u64)> {
    match family {
        Family::Plain => find_dressed(product, words, |word| word),
        Family::Inverted => find_dressed(product, words, |word| !word),
        Family::Swapped => find_dressed(product, words, |word| word.rotate_left(32)),
        Family::SwappedInverted => find_dressed(product, words, |word| !word.rotate_left(32)),
    }
}

#[inline(always)]
fn find_dressed(
    mut product: u64,
    words: &[[u8; WORD]],
    dress: impl Fn(u64) -> u64,
) -> Option<(usize, u64)> {
    for (number, block) in words.chunks(BLOCK).enumerate() {
        let start = product;
        let mut difference = 0;
        for word in block {
            difference |= u64::from_le_bytes(*word) ^ dress(fold(product));
            product = product.wrapping_add(STEP);
        }
        if difference != 0 {
            let mut product = start;
            for (index, word) in block.iter().enumerate() {
                let difference = u64::from_le_bytes(*word) ^ dress(fold(product));
                if difference != 0 {
                    return Some((number * BLOCK + index, difference));
                }
                product = product.wrapping_add(STEP);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const CODEC: Codec = Codec { key: 0x0123_4567_89AB_CDEF };

    fn data(tag: Tag, offset: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        CODEC.fill(tag, offset, &mut data);
        data
    }

    #[test]
    fn every_word_decodes_to_where_it_came_from() {
        for &family in Family::ALL {
            for transfer in [0, 1, 41, 65_536, u32::MAX] {
                let tag = Tag { transfer, family };
                for offset in [0, 8, 4096, LENGTH_MAX - 8] {
                    let word = data(tag, offset, 8).try_into().unwrap();
                    assert!(CODEC.decode(word).any(|origin| origin == Origin { tag, offset }));
                }
            }
        }
    }

    #[test]
    fn what_is_no_word_of_the_run_does_not_decode_to_a_plausible_transfer() {
        let mut random = crate::random::Random::new(9);
        let plausible = (0..100_000)
            .flat_map(|_| CODEC.decode(random.next_u64().to_le_bytes()).collect::<Vec<_>>())
            .filter(|origin| origin.tag.transfer < 100_000)
            .count();
        assert_eq!(plausible, 0);
        assert!(CODEC.decode([0; 8]).all(|origin| origin.tag.transfer > 100_000));
    }

    #[test]
    fn words_are_unique_across_transfers_families_and_offsets() {
        let mut seen = HashSet::new();
        for &family in Family::ALL {
            for transfer in 0..50 {
                for word in data(Tag { transfer, family }, 0, 4096).as_chunks::<8>().0 {
                    assert!(seen.insert(*word));
                }
            }
        }
    }

    #[test]
    fn any_part_of_a_transfer_is_the_same_however_it_is_made() {
        for &family in Family::ALL {
            let tag = Tag { transfer: 7, family };
            let whole = data(tag, 0, 1200);
            for offset in 0..20 {
                for length in [0, 1, 2, 7, 8, 9, 15, 63, 600, 1100] {
                    let part = data(tag, offset as u64, length);
                    assert_eq!(part, whole[offset..offset + length], "{offset} {length}");
                    assert_eq!(CODEC.first_mismatch(tag, offset as u64, &part), None);
                }
            }
        }
    }

    #[test]
    fn one_wrong_bit_is_found_wherever_it_is() {
        for &family in Family::ALL {
            let tag = Tag { transfer: 3, family };
            for offset in [0, 3] {
                let mut part = data(tag, offset, 1029);
                for position in 0..part.len() {
                    part[position] ^= 0x10;
                    assert_eq!(CODEC.first_mismatch(tag, offset, &part), Some(position));
                    part[position] ^= 0x10;
                }
            }
        }
    }

    #[test]
    fn a_complement_differs_in_every_bit() {
        for &family in Family::ALL {
            let tag = Tag { transfer: 12, family };
            let (data, complement) = (data(tag, 5, 777), data(tag.complement(), 5, 777));
            assert!(data.iter().zip(&complement).all(|(left, right)| left ^ right == 0xFF));
        }
    }

    #[test]
    fn each_byte_lane_varies_with_transfer_and_offset() {
        for lane in 0..8 {
            let by_offset: HashSet<u8> = data(Tag { transfer: 1, family: Family::Plain }, 0, 2048)
                .into_iter()
                .skip(lane)
                .step_by(8)
                .collect();
            let by_transfer: HashSet<u8> = (0..256)
                .map(|transfer| data(Tag { transfer, family: Family::Plain }, 0, 8)[lane])
                .collect();
            assert!(by_offset.len() > 100, "lane {lane}: {}", by_offset.len());
            assert!(by_transfer.len() > 100, "lane {lane}: {}", by_transfer.len());
        }
    }

    #[test]
    fn another_seed_makes_other_data() {
        let tag = Tag { transfer: 0, family: Family::Plain };
        let mut one = [0; 64];
        let mut two = [0; 64];
        Codec::new(1).fill(tag, 0, &mut one);
        Codec::new(2).fill(tag, 0, &mut two);
        assert!(one.iter().zip(&two).filter(|(one, two)| one == two).count() < 8);
    }
}
