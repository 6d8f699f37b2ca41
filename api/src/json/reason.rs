//! Error messages for a text that is not JSON. They repeat nothing of the text.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::refusal::Malformed;

pub(super) const TOO_LARGE: &str = "a number is too large for a double";

/// Parses the text again with serde_json, which is slower but reports the reason.
pub(super) fn malformed(text: &str) -> Malformed {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Checked>();
    let message = match values.next() {
        None => "the body is empty".to_owned(),
        Some(Ok(_)) => match values.find_map(Result::err) {
            None => "the body goes on after the first value".to_owned(),
            Some(error) => words(&error),
        },
        Some(Err(error)) => words(&error),
    };
    Malformed::new("invalid_json", message)
}

/// serde_json's message, reworded where it is unclear.
fn words(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let what = if said.starts_with("number out of range") {
        TOO_LARGE
    } else if said.starts_with("lone leading surrogate") || said.starts_with("unexpected end of hex escape") {
        "a string has an unpaired surrogate (\\ud800 to \\udfff), which is not a character"
    } else {
        return said;
    };
    format!("{what} at line {} column {}", error.line(), error.column())
}

/// A value that is parsed completely and discarded.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Checked, D::Error> {
        deserializer.deserialize_any(Checked)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Checked, A::Error> {
        while elements.next_element::<Checked>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Checked, A::Error> {
        while entries.next_entry::<Checked, Checked>()?.is_some() {}
        Ok(self)
    }
}
