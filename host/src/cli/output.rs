//! Writes scores as text, and texts of strangers so that a terminal only shows them.

use std::fmt::Write as _;
use std::io::{self, Write as _};

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

/// Writes `text` to standard output. A reader that closed it early is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    ignore_broken_pipe(write(text))
}

/// As [`print()`], but a closed pipe is an error: for a program that would go on for nobody.
pub(super) fn write(text: &str) -> anyhow::Result<()> {
    let mut to = io::stdout().lock();
    to.write_all(text.as_bytes())?;
    Ok(to.flush()?)
}

/// `text` in one line without what a terminal acts on: control characters become spaces, and marks
/// that turn or hide text are left out.
pub(super) fn printable(text: &str) -> String {
    let visible = text.chars().filter(|char| !is_mark(*char));
    visible.map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// JSON with an escape for each character that a terminal acts on. `serde_json` escapes only those
/// below U+0020.
pub(super) fn printable_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        // A raw line break stands between values, never in a string.
        if char != '\n' && (char.is_control() || is_mark(char)) {
            write!(text, "\\u{:04x}", u32::from(char)).expect("a String takes every write");
        } else {
            text.push(char);
        }
    }
    text
}

/// Marks of direction, line separators, and characters without width. All are below U+10000.
fn is_mark(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_terminal_acts_on_nothing_that_a_stranger_wrote() {
        let hostile = "a\x1b[2Jb\r\nc\u{9b}31m\u{202e}d\u{7f}";
        assert_eq!(printable(hostile), "a [2Jb  c 31md ");
        assert_eq!(printable("Müller 漢"), "Müller 漢");
        for json in [
            json!({ "k\u{9b}": [hostile] }).to_string(),
            format!("{:#}", json!([hostile])),
        ] {
            let text = printable_json(&json);
            assert!(
                !text
                    .chars()
                    .any(|char| char != '\n' && (char.is_control() || is_mark(char)))
            );
            let (read, meant): (Value, Value) = (
                serde_json::from_str(&text).unwrap(),
                serde_json::from_str(&json).unwrap(),
            );
            assert_eq!(read, meant);
        }
    }

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
