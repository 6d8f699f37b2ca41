//! Memory that the kernels work in.
//!
//! On wasm32 it is static: there is one thread, and an address that the compiler knows is part of the
//! instruction instead of an addition before each read.
//! Elsewhere it is allocated, once for each [`Scratch`].

use super::lanes::Lanes;
use super::masks::MAX_TREES;
use super::pack::GROUP;
use super::quantise::Desk;
use super::sliced::ROWS;

/// Most planes of a model that kernels are made for: 4 MiB of them.
pub(crate) const MAX_PLANES: usize = 1 << 18;
/// Room behind the answers, so that whole vectors can be written.
pub(crate) const MARGIN: usize = 64;

pub(crate) type Codes = [u8; GROUP * ROWS];
/// The leaves that are left over of each tree.
pub(crate) type Left = [u64; MAX_TREES];

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
}

impl Scratch {
    /// So many planes, which is [`MAX_PLANES`] at most, and answers; what they hold is left over from before.
    #[inline(always)]
    pub(crate) fn parts(&mut self, planes: usize, answers: usize) -> Parts<'_> {
        self.memory.parts(planes, answers + MARGIN)
    }
}

#[cfg(target_arch = "wasm32")]
mod memory {
    use core::marker::PhantomData;

    use super::{Codes, Desk, GROUP, Lanes, Left, MARGIN, MAX_PLANES, MAX_TREES, Parts, ROWS};

    const MAX_ANSWERS: usize = MAX_PLANES + MARGIN;

    static mut PLANES: [Lanes; MAX_PLANES] = [Lanes::ZEROS; MAX_PLANES];
    static mut ANSWERS: [u8; MAX_ANSWERS] = [0; MAX_ANSWERS];
    static mut CODES: Codes = [0; GROUP * ROWS];
    static mut DESK: Desk = Desk::EMPTY;
    static mut LEFT: Left = [0; MAX_TREES];

    /// Neither sent nor shared: the memory behind it is one for all.
    #[derive(Default)]
    pub(super) struct Memory(PhantomData<*mut ()>);

    impl Memory {
        #[inline(always)]
        pub fn parts(&mut self, planes: usize, answers: usize) -> Parts<'_> {
            assert!(planes <= MAX_PLANES && answers <= MAX_ANSWERS);
            // SAFETY: wasm32 without threads; a kernel ends, and gives its parts back, before another begins.
            unsafe {
                Parts {
                    planes: core::slice::from_raw_parts_mut((&raw mut PLANES).cast(), planes),
                    answers: core::slice::from_raw_parts_mut((&raw mut ANSWERS).cast(), answers),
                    codes: &mut *(&raw mut CODES),
                    desk: &mut *(&raw mut DESK),
                    left: &mut *(&raw mut LEFT),
                }
            }
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod memory {
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    use super::{Codes, Desk, GROUP, Lanes, Left, MAX_TREES, Parts, ROWS};

    pub(super) struct Memory {
        planes: Vec<Lanes>,
        answers: Vec<u8>,
        codes: Box<Codes>,
        desk: Box<Desk>,
        left: Box<Left>,
    }

    impl Default for Memory {
        fn default() -> Memory {
            Memory {
                planes: Vec::new(),
                answers: Vec::new(),
                codes: Box::new([0; GROUP * ROWS]),
                desk: Box::new(Desk::EMPTY),
                left: Box::new([0; MAX_TREES]),
            }
        }
    }

    impl Memory {
        pub fn parts(&mut self, planes: usize, answers: usize) -> Parts<'_> {
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
            }
        }
    }
}
