//! What would lead a kernel out of the tables is refused.

use alloc::vec::Vec;

use super::*;
use crate::fast::{pack, samples};
use crate::model::Missing;

/// Tables of three edges; where the column and its edges lie.
fn tables() -> (Vec<u8>, usize, usize) {
    let bytes = pack(&samples::stumps(&[1.0, 2.0, 4.0], Missing::Nan, false), None).expect("small");
    assert!(Tables::new(&bytes, 1, 1).is_ok());
    (bytes, HEADER_BYTES, HEADER_BYTES + 128)
}

/// A value above what lies behind the edges would rank past the last one, and read past the column's lines.
#[test]
fn edges_are_followed_by_infinity() {
    let (mut bytes, _, edges) = tables();
    bytes[edges + 24..][..8].copy_from_slice(&f64::MAX.to_le_bytes());
    let error = Tables::new(&bytes, 1, 1).expect_err("out of range");
    assert_eq!(error.0, "edge of the tables out of range");
}

/// Fields that are parts of sums, at their greatest; a bucket without room for an edge.
#[test]
fn numbers_of_a_column_are_refused_whatever_they_add_up_to() {
    let most = u32::MAX;
    for (field, numbers) in [
        (0, &[1, most][..]),
        (2, &[1, most]),
        (3, &[most, most - 2, most - 3]),
        (4, &[0, 2, 4, 65_535, most]),
        (5, &[most, most - 1]),
        (6, &[0, 2049, most]),
        (7, &[32, most]),
        (8, &[i32::MAX as u32]),
        (9, &[0, 65_535, most]),
        (10, &[4, most]),
        (11, &[4, most]),
    ] {
        for number in numbers {
            let (mut bytes, column, _) = tables();
            bytes[column + 4 * field..][..4].copy_from_slice(&number.to_le_bytes());
            assert!(Tables::new(&bytes, 1, 1).is_err(), "field {field} as {number}");
        }
    }
}

#[test]
fn counts_that_promise_more_than_there_is_are_refused() {
    for field in 0..Count::Dozen as usize {
        let (mut bytes, ..) = tables();
        bytes[4 * field..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Tables::new(&bytes, 1, 1).is_err(), "field {field}");
    }
}

#[test]
fn tables_cut_short_are_refused() {
    let (bytes, ..) = tables();
    for length in 0..bytes.len() {
        assert!(Tables::new(&bytes[..length], 1, 1).is_err());
    }
}
