//! What a text, a time, a number and an id may be, wherever one comes in.
//!
//! There is one grammar, because whatever one route takes is read by all that comes after it: both databases, the
//! spool, the nightly run. A value that one of them cannot hold would stop it for good. So the bounds are those of
//! the narrowest reader: PostgreSQL's text has no NUL, text order is time order for years of four digits, and sums
//! and squares of numbers must stay finite.
//!
//! It holds for what comes in. What was stored is read by looser rules (`ranking::events`), because a record that was
//! taken once must be readable for ever, whatever the grammar becomes.

use chrono::{DateTime, Datelike, Timelike, Utc};
use uuid::Uuid;

/// The longest id, name or group, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;

/// The largest magnitude of a number. Sums, means and squares of any number of such values are finite, and LightGBM
/// takes them as they are (it cuts off at 1e300).
pub const MAX_MAGNITUDE: f64 = 1e100;

/// What [`is_text`] takes, for messages.
pub const TEXT: &str = "text of 1 to 256 bytes without control characters";
/// What [`instant`] takes, for messages.
pub const INSTANT: &str = "RFC 3339 with a time zone, from year 1 to 9999, as 2026-01-31T12:00:00Z";
/// What [`is_number`] takes, for messages.
pub const NUMBER: &str = "a number from -1e100 to 1e100";
/// What [`id`] takes, for messages.
pub const ID: &str = "a UUID";

/// Whether this may be an id, a name or a group.
pub fn is_text(text: &str) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Whether this may be a feature, a weight or a score: finite, within [`MAX_MAGNITUDE`].
pub fn is_number(number: f64) -> bool {
    number.abs() <= MAX_MAGNITUDE
}

/// A time in RFC 3339, in UTC. Year 1 is in: it is what Go's zero time says.
pub fn instant(text: &str) -> Option<DateTime<Utc>> {
    let instant = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    // The offset may lead out of the year that was written.
    (1..=9999)
        .contains(&instant.year())
        .then(|| without_leap_second(instant))
}

/// A leap second is the end of the second before it: no table has the sixty-first.
fn without_leap_second(instant: DateTime<Utc>) -> DateTime<Utc> {
    const LAST: u32 = 999_999_999;
    if instant.nanosecond() > LAST {
        instant.with_nanosecond(LAST).unwrap_or(instant)
    } else {
        instant
    }
}

/// A UUID, in any of its spellings.
pub fn id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}

/// Input as an error may repeat it: at most 80 characters, in quotes where it is text.
pub fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_has_no_control_characters_and_no_great_length() {
        for text in ["a", "São Paulo", "adv 1", "\u{1F600}", &"x".repeat(256)] {
            assert!(is_text(text), "{text:?}");
        }
        for text in [
            "",
            "a\0",
            "\n",
            "a\tb",
            "\u{7f}",
            "\u{85}",
            &"x".repeat(257),
            &"é".repeat(129),
        ] {
            assert!(!is_text(text), "{text:?}");
        }
    }

    #[test]
    fn numbers_are_finite_and_leave_room_for_sums_and_squares() {
        for number in [0.0, -0.0, 5e-324, 1e100, -1e100] {
            assert!(is_number(number), "{number}");
        }
        for number in [f64::NAN, f64::INFINITY, -f64::INFINITY, 1.1e100, f64::MAX] {
            assert!(!is_number(number), "{number}");
        }
        assert!((MAX_MAGNITUDE * MAX_MAGNITUDE * 1e100).is_finite());
    }

    #[test]
    fn a_time_is_of_a_year_of_four_digits_in_utc() {
        let said = |text| instant(text).map(|instant| instant.to_rfc3339());
        assert_eq!(
            said("0001-01-01T00:00:00Z").as_deref(),
            Some("0001-01-01T00:00:00+00:00")
        );
        assert!(said("9999-12-31T23:59:59.999999999Z").is_some());
        for text in [
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2026-01-31T12:00:00",
            "2026-01-31",
            "+12026-01-31T12:00:00Z",
            "",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
        assert_eq!(
            said("2016-12-31T23:59:60.5Z").as_deref(),
            Some("2016-12-31T23:59:59.999999999+00:00")
        );
    }

    #[test]
    fn what_is_repeated_is_cut() {
        assert_eq!(shorten("short"), "short");
        assert_eq!(shorten(&"é".repeat(81)).chars().count(), 83);
    }

    proptest! {
        /// Tables keep times as text and as microseconds; both must give back what came in, in its order.
        #[test]
        fn a_time_survives_text_and_the_order_of_text_is_the_order_in_time(
            a in -62_135_596_800i64..253_402_300_799, b in -62_135_596_800i64..253_402_300_799, nanos in 0u32..1_000_000_000
        ) {
            let text = |seconds| {
                let at = DateTime::from_timestamp(seconds, nanos).expect("within years 1 to 9999");
                at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
            };
            let (a_text, b_text) = (text(a), text(b));
            prop_assert_eq!(instant(&a_text).map(|at| at.timestamp()), Some(a));
            prop_assert_eq!(a_text.cmp(&b_text), a.cmp(&b));
        }
    }
}
