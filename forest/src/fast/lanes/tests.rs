//! Planes are vectors turned around.

use super::*;
use crate::fast::samples::Random;

#[test]
fn bits_change_places_with_vectors_and_back() {
    let mut random = Random(1);
    for _ in 0..100 {
        let vectors: [Lanes; 8] = core::array::from_fn(|_| Lanes::new(random.next(), random.next()));
        let planes = transpose(vectors).map(Lanes::bytes);
        let bytes = vectors.map(Lanes::bytes);
        for (k, plane) in planes.iter().enumerate() {
            for (j, vector) in bytes.iter().enumerate() {
                for i in 0..16 {
                    assert_eq!(plane[i] >> j & 1, vector[i] >> k & 1);
                }
            }
        }
        assert_eq!(transpose(transpose(vectors)).map(Lanes::bytes), bytes);
    }
}

#[test]
fn operations_are_those_of_bits() {
    let mut random = Random(2);
    let (a, b, c) = (random.next(), random.next(), random.next());
    let lanes = |x: u64| Lanes::new(x, !x);
    let same = |lanes: Lanes, x: u64, y: u64| assert_eq!(lanes.halves(), [x, y]);
    same(lanes(a).and(lanes(b)), a & b, !a & !b);
    same(lanes(a).and_not(lanes(b)), a & !b, !a & b);
    same(lanes(a).or(lanes(b)), a | b, !a | !b);
    same(lanes(a).xor(lanes(b)), a ^ b, a ^ b);
    same(lanes(a).select(lanes(b), lanes(c)), a & b | !a & c, !a & !b | a & !c);
    same(lanes(a).up(3), a << 3, !a << 3);
    same(lanes(a).down(3), a >> 3, !a >> 3);
    assert_eq!(Lanes::load(&lanes(a).bytes()).halves(), [a, !a]);
}
