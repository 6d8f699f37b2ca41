//! Redacts or pseudonymises the personal fields of a copy.

use api::Malformed;
use api::json::Document;
use ranking::{pseudonym_of_text, salt_id};
use serde_json::Value;

/// The field from which the gateway reads the user.
const USER: &str = "/case/user_id";

/// The greatest JSON depth that a gateway can be configured to accept.
const MAX_DEPTH: usize = 126;

/// The personal fields of a JSON body.
#[derive(Clone, PartialEq)]
pub(crate) struct Personal {
    /// Replaced by `null`.
    pub(crate) redact: Vec<Pointer>,
    /// Strings are replaced by the first 128 bits of their HMAC-SHA-256 under the salt, as a UUID;
    /// other values by `null`.
    pub(crate) pseudonymise: Vec<Pointer>,
    pub(crate) salt: Vec<u8>,
}

/// Leaves out the salt, which is a secret.
impl std::fmt::Debug for Personal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Personal {
            redact, pseudonymise, ..
        } = self;
        write!(f, "Personal {{ redact: {redact:?}, pseudonymise: {pseudonymise:?} }}")
    }
}

/// A body without personal fields.
#[derive(Debug, PartialEq)]
pub(crate) struct Clean {
    pub(crate) body: Vec<u8>,
    /// The id of the salt, if the user was replaced by a pseudonym.
    pub(crate) user_under: Option<String>,
}

impl Personal {
    /// Redacts and pseudonymises a body. Without configured fields, the body stays as it is.
    ///
    /// # Errors
    /// The body is compressed, or is not JSON that the gateway would accept.
    pub(crate) fn clean(&self, body: Vec<u8>) -> Result<Clean, Malformed> {
        if body.is_empty() || (self.redact.is_empty() && self.pseudonymise.is_empty()) {
            return Ok(Clean { body, user_under: None });
        }
        let mut json = Document::parse(&body, MAX_DEPTH)?.root().to_value();
        let mut user_under = None;
        for pointer in &self.pseudonymise {
            let is_user = pointer.text == USER;
            pointer.each(&mut json, &mut |value| {
                *value = match value {
                    Value::String(text) => {
                        if is_user {
                            user_under = Some(salt_id(&self.salt).to_string());
                        }
                        Value::String(pseudonym_of_text(&self.salt, text).to_string())
                    }
                    _ => Value::Null,
                };
            });
        }
        for pointer in &self.redact {
            pointer.each(&mut json, &mut |value| *value = Value::Null);
        }
        let body = json.to_string().into_bytes();
        Ok(Clean { body, user_under })
    }
}

/// A JSON pointer (RFC 6901), in which `*` stands for every element of an array and every member of
/// an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    text: String,
    steps: Vec<String>,
}

impl Pointer {
    pub(crate) fn parse(text: &str) -> Option<Pointer> {
        let steps = text.strip_prefix('/')?.split('/');
        let well_formed = |step: &str| {
            let escapes = step.split('~').skip(1);
            escapes.into_iter().all(|rest| rest.starts_with(['0', '1']))
        };
        let unescape = |step: &str| well_formed(step).then(|| step.replace("~1", "/").replace("~0", "~"));
        Some(Pointer {
            text: text.to_owned(),
            steps: steps.map(unescape).collect::<Option<_>>()?,
        })
    }

    /// Calls `change` with every existing value that the pointer matches.
    fn each(&self, json: &mut Value, change: &mut impl FnMut(&mut Value)) {
        each(json, &self.steps, change);
    }
}

fn each(json: &mut Value, steps: &[String], change: &mut impl FnMut(&mut Value)) {
    let Some((step, rest)) = steps.split_first() else {
        return change(json);
    };
    match json {
        Value::Object(members) if step == "*" => members.values_mut().for_each(|value| each(value, rest, change)),
        Value::Array(elements) if step == "*" => elements.iter_mut().for_each(|value| each(value, rest, change)),
        Value::Object(members) => {
            if let Some(value) = members.get_mut(step) {
                each(value, rest, change);
            }
        }
        Value::Array(elements) => {
            if let Some(value) = step.parse().ok().and_then(|at: usize| elements.get_mut(at)) {
                each(value, rest, change);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
