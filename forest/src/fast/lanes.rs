//! 128 rows, one bit each.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vector {
    use core::arch::wasm32::{u64x2, u64x2_shl, u64x2_shr, u64x2_splat, v128, v128_and, v128_bitselect, v128_or};
    use core::arch::wasm32::{u64x2_extract_lane, v128_andnot};

    /// A vector of 128 bits.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct Lanes(v128);

    impl Lanes {
        pub const fn new(low: u64, high: u64) -> Lanes {
            Lanes(u64x2(low, high))
        }

        pub fn splat(half: u64) -> Lanes {
            Lanes(u64x2_splat(half))
        }

        #[inline(always)]
        pub fn halves(self) -> [u64; 2] {
            [u64x2_extract_lane::<0>(self.0), u64x2_extract_lane::<1>(self.0)]
        }

        #[inline(always)]
        pub fn and(self, other: Lanes) -> Lanes {
            Lanes(v128_and(self.0, other.0))
        }

        #[inline(always)]
        pub fn and_not(self, other: Lanes) -> Lanes {
            Lanes(v128_andnot(self.0, other.0))
        }

        #[inline(always)]
        pub fn or(self, other: Lanes) -> Lanes {
            Lanes(v128_or(self.0, other.0))
        }

        /// `on` where this is set, `off` elsewhere.
        #[inline(always)]
        pub fn select(self, on: Lanes, off: Lanes) -> Lanes {
            Lanes(v128_bitselect(on.0, off.0, self.0))
        }

        /// Both halves shifted towards higher bits.
        #[inline(always)]
        pub fn up(self, bits: u32) -> Lanes {
            Lanes(u64x2_shl(self.0, bits))
        }

        #[inline(always)]
        pub fn down(self, bits: u32) -> Lanes {
            Lanes(u64x2_shr(self.0, bits))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod vector {
    /// A vector of 128 bits; every target of ours turns this into one register.
    #[derive(Clone, Copy)]
    #[repr(C, align(16))]
    pub(crate) struct Lanes([u64; 2]);

    impl Lanes {
        pub const fn new(low: u64, high: u64) -> Lanes {
            Lanes([low, high])
        }

        pub fn splat(half: u64) -> Lanes {
            Lanes([half; 2])
        }

        #[inline(always)]
        pub fn halves(self) -> [u64; 2] {
            self.0
        }

        #[inline(always)]
        pub fn and(self, other: Lanes) -> Lanes {
            Lanes([self.0[0] & other.0[0], self.0[1] & other.0[1]])
        }

        #[inline(always)]
        pub fn and_not(self, other: Lanes) -> Lanes {
            Lanes([self.0[0] & !other.0[0], self.0[1] & !other.0[1]])
        }

        #[inline(always)]
        pub fn or(self, other: Lanes) -> Lanes {
            Lanes([self.0[0] | other.0[0], self.0[1] | other.0[1]])
        }

        /// `on` where this is set, `off` elsewhere.
        #[inline(always)]
        pub fn select(self, on: Lanes, off: Lanes) -> Lanes {
            on.and(self).or(off.and_not(self))
        }

        /// Both halves shifted towards higher bits.
        #[inline(always)]
        pub fn up(self, bits: u32) -> Lanes {
            Lanes([self.0[0] << bits, self.0[1] << bits])
        }

        #[inline(always)]
        pub fn down(self, bits: u32) -> Lanes {
            Lanes([self.0[0] >> bits, self.0[1] >> bits])
        }
    }
}

pub(crate) use vector::Lanes;

impl Lanes {
    pub const ZEROS: Lanes = Lanes::new(0, 0);
    pub const ONES: Lanes = Lanes::new(u64::MAX, u64::MAX);

    #[inline(always)]
    pub fn load(bytes: &[u8; 16]) -> Lanes {
        let [low, high] = halves(bytes);
        Lanes::new(low, high)
    }

    #[inline(always)]
    pub fn bytes(self) -> [u8; 16] {
        let [low, high] = self.halves();
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
    }
}

#[inline(always)]
fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    let whole = u128::from_le_bytes(*bytes);
    [whole as u64, (whole >> 64) as u64]
}

/// Turns 8 vectors of 16 bytes into 8 planes, and back: bit `j` of byte `i` of plane `k` is bit `k` of byte
/// `i` of vector `j`. Three rounds swap bits 4, 2 and 1 apart between vectors 4, 2 and 1 apart.
#[inline(always)]
pub(crate) fn transpose(v: &mut [Lanes; 8]) {
    swap::<4>(v, 0x0f0f_0f0f_0f0f_0f0f);
    swap::<2>(v, 0x3333_3333_3333_3333);
    swap::<1>(v, 0x5555_5555_5555_5555);
}

#[inline(always)]
fn swap<const D: usize>(v: &mut [Lanes; 8], low: u64) {
    let low = Lanes::splat(low);
    for at in (0..8).filter(|at| at & D == 0) {
        let (a, b) = (v[at], v[at + D]);
        v[at] = low.select(a, b.and(low).up(D as u32));
        v[at + D] = low.select(a.and_not(low).down(D as u32), b);
    }
}
