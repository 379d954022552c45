//! Splitting: the pieces of a transfer cover it, in order, within every limit.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::mdl::PageSet;
use crate::sys::{MDL, PMDL, ULONG_PTR};

/// An MDL with its page frame numbers, over memory that is never touched.
struct TestMdl(Vec<u64>);

impl TestMdl {
    fn new(address: u64, length: u32) -> Self {
        let pages = ddk::span_pages(ddk::page_offset(address), length) as usize;
        let mut words = vec![0u64; size_of::<MDL>() / 8 + pages];
        let mdl: PMDL = words.as_mut_ptr().cast();
        let header = MDL {
            Next: core::ptr::null_mut(),
            Size: 0,
            MdlFlags: 0,
            Process: core::ptr::null_mut(),
            MappedSystemVa: core::ptr::null_mut(),
            StartVa: core::ptr::without_provenance_mut((address & !0xFFF) as usize),
            ByteCount: length,
            ByteOffset: ddk::page_offset(address),
        };
        // SAFETY: the vector is large enough and aligned.
        unsafe { mdl.write(header) };
        for page in 0..pages {
            words[size_of::<MDL>() / 8 + page] = (address >> 12) + page as ULONG_PTR;
        }
        Self(words)
    }

    fn as_ptr(&mut self) -> PMDL {
        self.0.as_mut_ptr().cast()
    }

    fn chain(&mut self) -> MdlChain {
        // SAFETY: the tests keep the MDLs alive.
        unsafe { MdlChain::new(self.as_ptr()) }.unwrap()
    }
}

/// Links MDLs to a chain.
fn link(mdls: &mut [TestMdl]) -> MdlChain {
    let pointers: Vec<PMDL> = mdls.iter_mut().map(TestMdl::as_ptr).collect();
    for pair in pointers.windows(2) {
        // SAFETY: live MDLs of the tests.
        unsafe { (*pair[0]).Next = pair[1] };
    }
    // SAFETY: the tests keep the MDLs alive.
    unsafe { MdlChain::new(pointers[0]) }.unwrap()
}

fn transfer(chain: MdlChain, length: u64) -> Transfer<()> {
    // SAFETY: the tests keep the MDLs alive.
    unsafe { Transfer::new((), chain, Direction::ToDevice, length) }.unwrap()
}

/// Walks a transfer to its end and checks every piece.
fn walk(chain: MdlChain, length: u64, limits: &PieceLimits) -> Vec<NextPiece> {
    let mut transfer = transfer(chain, length);
    let mut pieces = vec![];
    loop {
        let piece = transfer.next_piece(limits);
        let bytes = match piece {
            NextPiece::None => break,
            NextPiece::Copied(bytes) => bytes,
            NextPiece::Mapped(bytes) => {
                let start = ddk::page_offset(transfer.current_va().addr() as u64);
                assert!(ddk::span_pages(start, bytes) <= limits.map_registers);
                assert!(bytes <= limits.maximum_length);
                assert_eq!(start % limits.alignment, 0);
                assert_eq!(bytes % limits.alignment, 0);
                bytes
            }
        };
        assert!(bytes > 0);
        assert!(transfer.cursor.in_mdl + bytes <= transfer.mdl().byte_count());
        transfer.advance(bytes);
        pieces.push(piece);
    }
    assert_eq!(transfer.done(), length);
    pieces
}

const FREE: PieceLimits = PieceLimits { map_registers: 16, maximum_length: 65536, alignment: 1 };

#[test]
fn a_buffer_that_fits_is_one_piece() {
    let mut mdl = TestMdl::new(0x1_0000_0FFF, 4098);

    let pieces = walk(mdl.chain(), 4098, &FREE);

    assert_eq!(pieces, [NextPiece::Mapped(4098)]);
}

#[test]
fn one_map_register_takes_one_page_at_a_time() {
    let mut mdl = TestMdl::new(0x1_0000_0F00, 5000);
    let limits = PieceLimits { map_registers: 1, ..FREE };

    let pieces = walk(mdl.chain(), 5000, &limits);

    assert_eq!(pieces, [256, 4096, 648].map(NextPiece::Mapped));
}

#[test]
fn the_longest_operation_bounds_a_piece() {
    let mut mdl = TestMdl::new(0x1_0000_0000, 5000);
    let limits = PieceLimits { maximum_length: 4095, ..FREE };

    let pieces = walk(mdl.chain(), 5000, &limits);

    assert_eq!(pieces, [4095, 905].map(NextPiece::Mapped));
}

#[test]
fn unaligned_heads_and_tails_are_copied() {
    let mut mdl = TestMdl::new(0x1_0000_0030, 200);
    let limits = PieceLimits { alignment: 64, ..FREE };

    let pieces = walk(mdl.chain(), 200, &limits);

    assert_eq!(pieces, [NextPiece::Copied(16), NextPiece::Mapped(128), NextPiece::Copied(56)]);
}

#[test]
fn pieces_end_with_their_mdl() {
    let mut mdls = [
        TestMdl::new(0x1_0000_0FF0, 100),
        TestMdl::new(0x1_0000_3000, 0),
        TestMdl::new(0x1_0000_5001, 50),
    ];
    let chain = link(&mut mdls);

    let pieces = walk(chain, 120, &FREE);

    assert_eq!(pieces, [NextPiece::Mapped(100), NextPiece::Mapped(20)]);
}

#[test]
fn all_small_shapes_are_covered_within_the_limits() {
    for map_registers in [1, 2, 3] {
        for alignment in [1, 4, 64] {
            for maximum_length in [64, 4095, 8192] {
                let limits = PieceLimits { map_registers, maximum_length, alignment };
                for offset in [0, 1, 63, 64, 4000, 4095] {
                    for length in [1, 2, 63, 64, 65, 4095, 4096, 9000] {
                        let mut mdl = TestMdl::new(0x2_0000_0000 + offset, length);
                        walk(mdl.chain(), u64::from(length), &limits);
                    }
                }
            }
        }
    }
}

#[test]
fn registers_asked_for_are_enough_for_every_piece() {
    for offset in [0, 1, 2048, 4095] {
        for length in [1, 2, 4095, 4096, 4097, 20000] {
            let mut mdl = TestMdl::new(0x2_0000_0000 + offset, length);
            let chain = mdl.chain();
            let wanted = transfer(chain, u64::from(length)).registers_wanted(4095);
            let limits = PieceLimits { map_registers: wanted, maximum_length: 4095, alignment: 1 };

            let pieces = walk(chain, u64::from(length), &limits);

            assert_eq!(pieces.len() as u32, length.div_ceil(4095));
        }
    }
}

#[test]
fn a_transfer_needs_bytes_and_a_buffer_that_has_them() {
    let mut mdl = TestMdl::new(0x1000, 10);
    let chain = mdl.chain();

    // SAFETY: the MDL is alive.
    let empty = unsafe { Transfer::new((), chain, Direction::ToDevice, 0) };
    // SAFETY: the MDL is alive.
    let long = unsafe { Transfer::new((), chain, Direction::ToDevice, 11) };

    assert_eq!(empty.unwrap_err().1, DmaError::Empty);
    assert_eq!(long.unwrap_err().1, DmaError::TooShort);
}

#[test]
fn buffers_overlap_by_bytes_of_physical_pages() {
    let mut first = TestMdl::new(0x1000, 100);
    let mut beside = TestMdl::new(0x1064, 100);
    let mut inside = TestMdl::new(0x1063, 1);
    let mut across = TestMdl::new(0x0FF0, 17);

    assert!(!first.chain().overlaps(beside.chain()));
    assert!(first.chain().overlaps(inside.chain()));
    assert!(first.chain().overlaps(across.chain()));
    assert!(across.chain().overlaps(first.chain()));
}

#[test]
fn a_set_of_pages_finds_what_pairs_of_pages_find() {
    const PAGE: u64 = 4096;
    let mut pages = std::boxed::Box::new(PageSet::EMPTY);
    for (start, length, shared) in [
        (0x10_0000, 40 * PAGE, true),
        (0x10_0000 + 40 * PAGE - 1, 40 * PAGE, true),
        (0x10_0000 + 40 * PAGE, 40 * PAGE, false),
        (0x10_0000 - 30 * PAGE, 30 * PAGE, false),
        (0x10_0000 - 30 * PAGE, 30 * PAGE + 1, true),
        (0x10_0000 + 20 * PAGE + 5, 1, true),
    ] {
        // CAST: small numbers.
        let mut own = TestMdl::new(0x10_0000, 40 * PAGE as u32);
        let mut other = TestMdl::new(start, length as u32);
        let (own, other) = (own.chain(), other.chain());

        pages.forget();
        let found = own.shares(own.footprint(), other, other.footprint(), &mut pages);

        assert_eq!(found, shared, "{length} bytes at {start:#x}");
        assert_eq!(own.overlaps(other), shared);
    }
}
