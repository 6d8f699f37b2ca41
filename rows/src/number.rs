//! A number, or a word for a missing one.

/// What [`parse`] takes.
pub(crate) const ALLOWED: &str = "a number, or empty, na, nan or null where the value is missing";

/// A field as a value; NaN is missing. The words are those that LightGBM's own reader of text files takes, in any case.
pub(crate) fn parse(field: &[u8]) -> Option<f64> {
    let field = field.trim_ascii();
    if field.is_empty() {
        return Some(f64::NAN);
    }
    let number = std::str::from_utf8(field).ok()?.parse().ok();
    number.or_else(|| is_missing(field).then_some(f64::NAN))
}

/// `true` or `false`, in any case.
pub(crate) fn boolean(field: &[u8]) -> Option<bool> {
    let field = field.trim_ascii();
    match (
        field.eq_ignore_ascii_case(b"true"),
        field.eq_ignore_ascii_case(b"false"),
    ) {
        (false, false) => None,
        (truth, _) => Some(truth),
    }
}

fn is_missing(field: &[u8]) -> bool {
    ["na", "nan", "null"]
        .iter()
        .any(|word| field.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_for_missing_ones_as_lightgbm_takes_them() {
        for word in ["", " ", "na", "NA", "nA", "NaN", "-nan", "null", "NULL", " Null "] {
            assert!(parse(word.as_bytes()).is_some_and(f64::is_nan), "{word:?}");
        }
        for (text, number) in [
            ("+5", 5.0),
            (" .5", 0.5),
            ("1.", 1.0),
            ("-Inf", f64::NEG_INFINITY),
            ("1e-400", 0.0),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(number));
        }
        for word in [
            "N/A", "?", "none", "-", "1,5", "0x10", "1_000", "1 2", "\u{a0}1", "nano", "12%", "true",
        ] {
            assert_eq!(parse(word.as_bytes()), None, "{word}");
        }
        assert_eq!(
            [boolean(b"TRUE"), boolean(b" False"), boolean(b"t")],
            [Some(true), Some(false), None]
        );
    }
}
