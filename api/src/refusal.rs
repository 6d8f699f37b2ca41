//! Refusals of a body, with one JSON form for all of them.

use std::fmt::Display;

use serde_json::{Value, json};

/// Maximum length of a sent text that an error repeats, in characters.
const SHOWN: usize = 80;

/// Cuts a text to the length that an error may repeat.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// A body that cannot be parsed: 400.
#[derive(Clone, Debug, PartialEq)]
pub struct Malformed {
    /// Short, snake_case, stays the same across versions.
    pub code: &'static str,
    /// One sentence for people, with the place in the text if there is one.
    pub message: String,
}

impl Malformed {
    /// A refusal with this code, such as `too_deep`.
    pub fn new(code: &'static str, message: impl Into<String>) -> Malformed {
        Malformed {
            code,
            message: message.into(),
        }
    }
}

/// A refused call, as reported to its caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Short, snake_case, stays the same across versions.
    pub code: &'static str,
    /// One sentence for people; for an invalid value, it repeats the three fields below.
    pub message: String,
    /// The place in the body, for example `lawyers[3].features.geo`.
    pub field: Option<String>,
    /// What stands there, shortened; `absent` for a missing field. `None`: not about one value.
    pub value: Option<String>,
    /// What may stand there, in words. `None`: not about one value.
    pub allowed: Option<String>,
}

impl Refusal {
    /// `{"error": {"code", "message", "field", "value", "allowed", "request_id"}}`; absent values
    /// are `null`.
    pub fn body(self, request_id: Option<&str>) -> Value {
        json!({"error": {
            "code": self.code,
            "message": self.message,
            "field": self.field,
            "value": self.value,
            "allowed": self.allowed,
            "request_id": request_id,
        }})
    }
}

impl From<Malformed> for Refusal {
    fn from(Malformed { code, message }: Malformed) -> Refusal {
        Refusal {
            status: 400,
            code,
            message,
            field: None,
            value: None,
            allowed: None,
        }
    }
}

/// A value of the body that is not allowed. The code that reads the value creates it; each caller
/// on the way up adds its part of the place with [`Invalid::under`].
#[derive(Clone, Debug, PartialEq)]
pub struct Invalid {
    /// The place, as in [`Refusal::field`], as far as it is known. Empty: the value that was read.
    pub field: String,
    /// What stands there; [`Refusal`] shortens it.
    pub value: String,
    /// What may stand there, in words, such as `an integer from 0 to 9`.
    pub allowed: String,
    code: &'static str,
}

impl Invalid {
    /// A value that breaks a rule; code `invalid_value`, no place yet.
    pub fn new(value: impl Display, allowed: impl Into<String>) -> Invalid {
        Invalid {
            field: String::new(),
            value: value.to_string(),
            allowed: allowed.into(),
            code: "invalid_value",
        }
    }

    /// A required field that is absent; code `missing_field`, no place yet.
    pub fn missing() -> Invalid {
        Invalid {
            field: String::new(),
            value: "absent".into(),
            allowed: "present".into(),
            code: "missing_field",
        }
    }

    /// Puts a name, or an index in brackets, before the place. The name may come from an untrusted
    /// body, so it is cut.
    pub fn under(mut self, outer: impl Display) -> Invalid {
        let outer = shortened(&outer.to_string());
        let dot = if self.field.is_empty() || self.field.starts_with('[') {
            ""
        } else {
            "."
        };
        self.field = format!("{outer}{dot}{}", self.field);
        self
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Refusal {
        let Invalid {
            field,
            value,
            allowed,
            code,
        } = invalid;
        // A place holds few names from the body, each cut by `under`. A longer place was never cut.
        let field = if field.len() > 8 * SHOWN {
            shortened(&field)
        } else {
            field
        };
        let value = shortened(&value);
        let place = if field.is_empty() { "the body" } else { &field };
        Refusal {
            status: 422,
            code,
            message: format!("{place} is {value}; allowed: {allowed}"),
            field: Some(field),
            value: Some(value),
            allowed: Some(allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_repeats_sent_texts_up_to_a_length() {
        let long = "é".repeat(10_000);
        let invalid = Invalid::new(&long, "short").under(&long).under("[3]").under("rows");
        let refusal = Refusal::from(invalid);
        let cut = format!("{}...", "é".repeat(SHOWN));
        assert_eq!(refusal.field, Some(format!("rows[3].{cut}")));
        assert_eq!(refusal.value, Some(cut));
        let raw = Invalid {
            field: long.clone(),
            ..Invalid::new("", "")
        };
        assert!(Refusal::from(raw).message.len() < 1_000);
        assert_eq!(shortened(&"x".repeat(SHOWN)), "x".repeat(SHOWN));
    }
}
