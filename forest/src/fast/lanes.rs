//! Vectors: 128 rows, one bit each, or 16 rows, one byte each.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vector {
    use core::arch::wasm32::{u64x2, u64x2_shl, u64x2_shr, u64x2_splat, v128, v128_and, v128_bitselect, v128_or};
    use core::arch::wasm32::{u64x2_extract_lane, v128_andnot, v128_xor};

    /// A vector of 128 bits.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct Lanes(v128);

    impl Lanes {
        pub(crate) const fn new(low: u64, high: u64) -> Lanes {
            Lanes(u64x2(low, high))
        }

        pub(crate) fn splat(half: u64) -> Lanes {
            Lanes(u64x2_splat(half))
        }

        #[inline(always)]
        pub(crate) fn halves(self) -> [u64; 2] {
            [u64x2_extract_lane::<0>(self.0), u64x2_extract_lane::<1>(self.0)]
        }

        #[inline(always)]
        pub(crate) fn and(self, other: Lanes) -> Lanes {
            Lanes(v128_and(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn and_not(self, other: Lanes) -> Lanes {
            Lanes(v128_andnot(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn or(self, other: Lanes) -> Lanes {
            Lanes(v128_or(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn xor(self, other: Lanes) -> Lanes {
            Lanes(v128_xor(self.0, other.0))
        }

        /// `on` where this is set, `off` elsewhere.
        #[inline(always)]
        pub(crate) fn select(self, on: Lanes, off: Lanes) -> Lanes {
            Lanes(v128_bitselect(on.0, off.0, self.0))
        }

        /// Both halves shifted towards higher bits.
        #[inline(always)]
        pub(crate) fn up(self, bits: u32) -> Lanes {
            Lanes(u64x2_shl(self.0, bits))
        }

        #[inline(always)]
        pub(crate) fn down(self, bits: u32) -> Lanes {
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
        pub(crate) const fn new(low: u64, high: u64) -> Lanes {
            Lanes([low, high])
        }

        pub(crate) fn splat(half: u64) -> Lanes {
            Lanes([half; 2])
        }

        #[inline(always)]
        pub(crate) fn halves(self) -> [u64; 2] {
            self.0
        }

        #[inline(always)]
        pub(crate) fn and(self, other: Lanes) -> Lanes {
            Lanes([self.0[0] & other.0[0], self.0[1] & other.0[1]])
        }

        #[inline(always)]
        pub(crate) fn and_not(self, other: Lanes) -> Lanes {
            Lanes([self.0[0] & !other.0[0], self.0[1] & !other.0[1]])
        }

        #[inline(always)]
        pub(crate) fn or(self, other: Lanes) -> Lanes {
            Lanes([self.0[0] | other.0[0], self.0[1] | other.0[1]])
        }

        #[inline(always)]
        pub(crate) fn xor(self, other: Lanes) -> Lanes {
            Lanes([self.0[0] ^ other.0[0], self.0[1] ^ other.0[1]])
        }

        /// `on` where this is set, `off` elsewhere.
        #[inline(always)]
        pub(crate) fn select(self, on: Lanes, off: Lanes) -> Lanes {
            on.and(self).or(off.and_not(self))
        }

        /// Both halves shifted towards higher bits.
        #[inline(always)]
        pub(crate) fn up(self, bits: u32) -> Lanes {
            Lanes([self.0[0] << bits, self.0[1] << bits])
        }

        #[inline(always)]
        pub(crate) fn down(self, bits: u32) -> Lanes {
            Lanes([self.0[0] >> bits, self.0[1] >> bits])
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod bytes {
    use core::arch::wasm32::{i8x16_gt, i8x16_sub, u64x2, v128, v128_bitselect, v128_load, v128_store, v128_xor};

    /// A vector of 16 bytes.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct Bytes(v128);

    impl Bytes {
        #[inline(always)]
        pub(crate) const fn splat(byte: u8) -> Bytes {
            Bytes(u64x2(
                0x0101_0101_0101_0101 * byte as u64,
                0x0101_0101_0101_0101 * byte as u64,
            ))
        }

        #[inline(always)]
        pub(crate) fn load(bytes: &[u8; 16]) -> Bytes {
            // SAFETY: there are 16 bytes.
            Bytes(unsafe { v128_load(bytes.as_ptr().cast()) })
        }

        #[inline(always)]
        pub(crate) fn bytes(self) -> [u8; 16] {
            let mut bytes = [0; 16];
            // SAFETY: there is room for 16 bytes.
            unsafe { v128_store(bytes.as_mut_ptr().cast(), self.0) };
            bytes
        }

        /// Ones where this, signed, is greater; else zeros.
        #[inline(always)]
        pub(crate) fn above(self, other: Bytes) -> Bytes {
            Bytes(i8x16_gt(self.0, other.0))
        }

        /// `on` where this is set, `off` elsewhere.
        #[inline(always)]
        pub(crate) fn select(self, on: Bytes, off: Bytes) -> Bytes {
            Bytes(v128_bitselect(on.0, off.0, self.0))
        }

        #[inline(always)]
        pub(crate) fn minus(self, other: Bytes) -> Bytes {
            Bytes(i8x16_sub(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn xor(self, other: Bytes) -> Bytes {
            Bytes(v128_xor(self.0, other.0))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod bytes {
    use core::array::from_fn;

    /// A vector of 16 bytes; every target of ours turns this into one register.
    #[derive(Clone, Copy)]
    #[repr(C, align(16))]
    pub(crate) struct Bytes([u8; 16]);

    impl Bytes {
        #[inline(always)]
        pub(crate) const fn splat(byte: u8) -> Bytes {
            Bytes([byte; 16])
        }

        #[inline(always)]
        pub(crate) fn load(bytes: &[u8; 16]) -> Bytes {
            Bytes(*bytes)
        }

        #[inline(always)]
        pub(crate) fn bytes(self) -> [u8; 16] {
            self.0
        }

        /// Ones where this, signed, is greater; else zeros.
        #[inline(always)]
        pub(crate) fn above(self, other: Bytes) -> Bytes {
            Bytes(from_fn(|at| {
                0_u8.wrapping_sub(u8::from(self.0[at] as i8 > other.0[at] as i8))
            }))
        }

        /// `on` where this is set, `off` elsewhere.
        #[inline(always)]
        pub(crate) fn select(self, on: Bytes, off: Bytes) -> Bytes {
            Bytes(from_fn(|at| on.0[at] & self.0[at] | off.0[at] & !self.0[at]))
        }

        #[inline(always)]
        pub(crate) fn minus(self, other: Bytes) -> Bytes {
            Bytes(from_fn(|at| self.0[at].wrapping_sub(other.0[at])))
        }

        #[inline(always)]
        pub(crate) fn xor(self, other: Bytes) -> Bytes {
            Bytes(from_fn(|at| self.0[at] ^ other.0[at]))
        }
    }
}

pub(crate) use bytes::Bytes;
pub(crate) use vector::Lanes;

impl Lanes {
    pub(crate) const ZEROS: Lanes = Lanes::new(0, 0);
    pub(crate) const ONES: Lanes = Lanes::new(u64::MAX, u64::MAX);

    #[inline(always)]
    pub(crate) fn load(bytes: &[u8; 16]) -> Lanes {
        let [low, high] = halves(bytes);
        Lanes::new(low, high)
    }

    #[inline(always)]
    pub(crate) fn bytes(self) -> [u8; 16] {
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
pub(crate) fn transpose([a, b, c, d, e, f, g, h]: [Lanes; 8]) -> [Lanes; 8] {
    let low = Lanes::splat(0x0f0f_0f0f_0f0f_0f0f);
    let ((a, e), (b, f)) = (swap::<4>(a, e, low), swap::<4>(b, f, low));
    let ((c, g), (d, h)) = (swap::<4>(c, g, low), swap::<4>(d, h, low));
    let low = Lanes::splat(0x3333_3333_3333_3333);
    let ((a, c), (b, d)) = (swap::<2>(a, c, low), swap::<2>(b, d, low));
    let ((e, g), (f, h)) = (swap::<2>(e, g, low), swap::<2>(f, h, low));
    let low = Lanes::splat(0x5555_5555_5555_5555);
    let ((a, b), (c, d)) = (swap::<1>(a, b, low), swap::<1>(c, d, low));
    let ((e, f), (g, h)) = (swap::<1>(e, f, low), swap::<1>(g, h, low));
    [a, b, c, d, e, f, g, h]
}

/// Swaps the bits of `a` that are not `low` with the bits of `b` that are, `D` places below.
#[inline(always)]
fn swap<const D: u32>(a: Lanes, b: Lanes, low: Lanes) -> (Lanes, Lanes) {
    let differ = a.down(D).xor(b).and(low);
    (a.xor(differ.up(D)), b.xor(differ))
}

#[cfg(test)]
mod tests;
