//! Writes scores as text.

use std::fmt::Write as _;
use std::io;

/// Appends one line per row: `outputs` scores separated by commas.
pub(super) fn push_lines(text: &mut String, scores: &[f64], outputs: usize) {
    for row in scores.chunks(outputs.max(1)) {
        for (class, score) in row.iter().enumerate() {
            if class > 0 {
                text.push(',');
            }
            push_number(text, *score);
        }
        text.push('\n');
    }
}

/// Appends the fewest digits that read back to the same bits, or `nan`, `inf` or `-inf`.
pub(super) fn push_number(text: &mut String, number: f64) {
    if number.is_nan() {
        text.push_str("nan");
    } else {
        // Debug, unlike Display, has exponents: 1e300 is not written as 301 digits.
        write!(text, "{number:?}").expect("a String takes every write");
    }
}

/// Treats a closed pipe as success: a reader such as `head` closes standard output early.
pub(super) fn ignore_broken_pipe(written: anyhow::Result<()>) -> anyhow::Result<()> {
    written.or_else(|error| match error.downcast_ref::<io::Error>() {
        Some(io) if io.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_line_with_commas_between_classes() {
        let mut text = String::new();
        push_lines(&mut text, &[0.1, -0.0, 1e300, f64::INFINITY, f64::NAN, 5e-324], 3);
        assert_eq!(text, "0.1,-0.0,1e300\ninf,nan,5e-324\n");
        text.clear();
        push_lines(&mut text, &[f64::NEG_INFINITY, 2.0], 1);
        assert_eq!(text, "-inf\n2.0\n");
    }

    #[test]
    fn a_score_reads_back_to_the_same_bits() {
        // Every sign and exponent, with mantissas spread over their range.
        for exponent in 0..4096u64 {
            for seed in 1..20u64 {
                let mantissa = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 12;
                let number = f64::from_bits(exponent << 52 | mantissa);
                let mut text = String::new();
                push_number(&mut text, number);
                let read: f64 = text.parse().unwrap();
                assert!(
                    read.to_bits() == number.to_bits() || (read.is_nan() && number.is_nan()),
                    "{text}"
                );
            }
        }
    }
}
