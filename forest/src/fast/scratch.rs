//! Memory that the kernels work in.
//!
//! On wasm32 it is static: there is one thread, and an address that the compiler knows is part of the
//! instruction instead of an addition before each read.
//! Elsewhere it is allocated, once for each [`Scratch`].

use super::lanes::{Bytes, Lanes};
use super::quantise::Desk;
use super::sizes::GROUP;
use super::sizes::bytes::{BYTES, Items, MAX_RANKS, MAX_RESULTS};
use super::sizes::masks::MAX_TREES;
use super::sizes::sliced::ROWS;
use super::sizes::walk::{LONGEST, MAX_QUESTIONS, TREES};

/// Room behind the answers, so that whole runs can be written.
pub(crate) const MARGIN: usize = LONGEST;

pub(crate) type Codes = [u8; GROUP * ROWS];
/// The leaves that are left over of each tree.
pub(crate) type Left = [u64; MAX_TREES];
/// The nodes that a window's trees have come to.
pub(crate) type States = [u32; TREES];
/// Those of the trees that are on their way, and one more place to write to.
pub(crate) type Order = [u16; TREES + 1];
/// A rank, or class, for each column, of which there are not more than questions.
pub(crate) type RowRanks = [u16; MAX_QUESTIONS];
/// Ranks of a dozen rows, and their complements, column by column.
pub(crate) type Ranks = [Bytes; MAX_RANKS];

/// Memory to score in, to be kept from call to call.
#[derive(Default)]
pub struct Scratch {
    memory: memory::Memory,
}

/// The parts of a scratch memory.
pub(crate) struct Parts<'a> {
    pub planes: &'a mut [Lanes],
    pub answers: &'a mut [u8],
    pub codes: &'a mut Codes,
    pub desk: &'a mut Desk,
    pub left: &'a mut Left,
    pub states: &'a mut States,
    pub order: &'a mut Order,
    pub row_ranks: &'a mut RowRanks,
    pub ranks: &'a mut Ranks,
    pub items: &'a mut Items,
}

impl Scratch {
    /// So many planes, which is [`MAX_PLANES`](super::sizes::MAX_PLANES) at most, and answers; what they hold is left over from before.
    #[inline(always)]
    pub(crate) fn parts(&mut self, planes: usize, answers: usize) -> Parts<'_> {
        self.memory.parts(planes, answers + MARGIN)
    }
}

#[cfg(target_arch = "wasm32")]
mod memory {
    use core::marker::PhantomData;

    use super::*;
    use crate::fast::sizes::MAX_PLANES;

    const MAX_ANSWERS: usize = MAX_QUESTIONS + MARGIN;

    static mut PLANES: [Lanes; MAX_PLANES] = [Lanes::ZEROS; MAX_PLANES];
    static mut ANSWERS: [u8; MAX_ANSWERS] = [0; MAX_ANSWERS];
    static mut CODES: Codes = [0; GROUP * ROWS];
    static mut DESK: Desk = Desk::EMPTY;
    static mut LEFT: Left = [0; MAX_TREES];
    static mut STATES: States = [0; TREES];
    static mut ORDER: Order = [0; TREES + 1];
    static mut ROW_RANKS: RowRanks = [0; MAX_QUESTIONS];
    static mut RANKS: Ranks = [Bytes::splat(0); MAX_RANKS];
    static mut ITEMS: Items = [Bytes::splat(0); BYTES + MAX_RESULTS];

    /// Neither sent nor shared: the memory behind it is one for all.
    #[derive(Default)]
    pub(super) struct Memory(PhantomData<*mut ()>);

    impl Memory {
        #[inline(always)]
        #[expect(clippy::deref_addrof, reason = "a reference to a mutable static is one too many")]
        pub(super) fn parts(&mut self, planes: usize, answers: usize) -> Parts<'_> {
            assert!(planes <= MAX_PLANES && answers <= MAX_ANSWERS);
            // SAFETY: wasm32 without threads; a kernel ends, and gives its parts back, before another begins.
            unsafe {
                Parts {
                    planes: core::slice::from_raw_parts_mut((&raw mut PLANES).cast(), planes),
                    answers: core::slice::from_raw_parts_mut((&raw mut ANSWERS).cast(), answers),
                    codes: &mut *(&raw mut CODES),
                    desk: &mut *(&raw mut DESK),
                    left: &mut *(&raw mut LEFT),
                    states: &mut *(&raw mut STATES),
                    order: &mut *(&raw mut ORDER),
                    row_ranks: &mut *(&raw mut ROW_RANKS),
                    ranks: &mut *(&raw mut RANKS),
                    items: &mut *(&raw mut ITEMS),
                }
            }
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod memory {
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    use super::*;

    pub(super) struct Memory {
        planes: Vec<Lanes>,
        answers: Vec<u8>,
        codes: Box<Codes>,
        desk: Box<Desk>,
        left: Box<Left>,
        states: Box<States>,
        order: Box<Order>,
        row_ranks: Box<RowRanks>,
        ranks: Box<Ranks>,
        items: Box<Items>,
    }

    impl Default for Memory {
        fn default() -> Memory {
            Memory {
                planes: Vec::new(),
                answers: Vec::new(),
                codes: Box::new([0; GROUP * ROWS]),
                desk: Box::new(Desk::EMPTY),
                left: Box::new([0; MAX_TREES]),
                states: Box::new([0; TREES]),
                order: Box::new([0; TREES + 1]),
                row_ranks: Box::new([0; MAX_QUESTIONS]),
                ranks: Box::new([Bytes::splat(0); MAX_RANKS]),
                items: Box::new([Bytes::splat(0); BYTES + MAX_RESULTS]),
            }
        }
    }

    impl Memory {
        pub(super) fn parts(&mut self, planes: usize, answers: usize) -> Parts<'_> {
            if self.planes.len() < planes {
                self.planes.resize(planes, Lanes::ZEROS);
            }
            if self.answers.len() < answers {
                self.answers.resize(answers, 0);
            }
            Parts {
                planes: &mut self.planes[..planes],
                answers: &mut self.answers[..answers],
                codes: &mut self.codes,
                desk: &mut self.desk,
                left: &mut self.left,
                states: &mut self.states,
                order: &mut self.order,
                row_ranks: &mut self.row_ranks,
                ranks: &mut self.ranks,
                items: &mut self.items,
            }
        }
    }
}
