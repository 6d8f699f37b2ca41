//! Comparing planes is comparing ranks.

use alloc::vec::Vec;

use super::*;
use crate::fast::samples::Random;

#[test]
fn answers_are_comparisons_of_ranks() {
    let mut random = Random(8);
    for edges in [
        1, 2, 15, 16, 17, 31, 32, 33, 127, 128, 240, 241, 254, 255, 256, 257, 511, 512, 513, 3000, 65_534,
    ] {
        let ranks: [usize; ROWS] = core::array::from_fn(|row| match row {
            0 => 0,
            1 => edges,
            2 => edges - 1,
            _ => random.below(edges + 1),
        });
        let byte = |shift: u32| transposed(&ranks.map(|rank| (rank >> shift) as u8));
        let mut answers: Vec<Lanes> = (0..edges).map(|_| Lanes::splat(random.next())).collect();
        let mut check = |compare: &dyn Fn(&mut [Lanes])| {
            compare(&mut answers);
            for (edge, answers) in answers.iter().enumerate() {
                let answers = u128::from_le_bytes(answers.bytes());
                for (row, &rank) in ranks.iter().enumerate() {
                    // Byte `i` of vector `j` is bit `j` of byte `i` of a plane.
                    let bit = 8 * (row % 16) + row / 16;
                    assert_eq!(answers >> bit & 1 == 1, rank <= edge, "{rank} <= {edge} of {edges}");
                }
            }
        };
        if edges <= 255 {
            check(&|answers| compare_byte(&byte(0), answers));
        }
        check(&|answers| compare_word(&byte(0), &byte(8), answers));
    }
}
