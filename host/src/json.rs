//! JSON from strangers: bounded, with no name twice in an object, and read field by field so that an error
//! can say where it is.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::errors::{ApiError, Invalid};

/// Values in one body. A body of 8 MiB can hold four million, which as a tree would take half a gigabyte; the
/// largest honest one (10,000 lawyers with eleven features each) has less than 300,000.
const MAX_VALUES: usize = 1_000_000;
/// Below this many names, comparing them with each other is faster than hashing them.
const FEW: usize = 24;

/// A JSON value that borrows its text from the body.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    /// In the order they came.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads one value that fills the body.
    ///
    /// # Errors
    /// 400 for what is not UTF-8 or not JSON, nests deeper than `max_depth` (`host.max_json_depth`), or names
    /// something twice.
    pub fn parse(body: &'a [u8], max_depth: usize) -> Result<Json<'a>, ApiError> {
        let mut values = Json::parse_many(body, max_depth)?;
        match (values.pop(), values.is_empty()) {
            (Some(value), true) => Ok(value),
            (None, _) => Err(ApiError::malformed("invalid_json", "the body is empty")),
            (Some(_), false) => Err(ApiError::malformed(
                "invalid_json",
                "there is more after the first value",
            )),
        }
    }

    /// Reads any number of values, one after the other with white space between them (NDJSON among others).
    pub fn parse_many(body: &'a [u8], max_depth: usize) -> Result<Vec<Json<'a>>, ApiError> {
        let text = std::str::from_utf8(body).map_err(|error| {
            ApiError::malformed(
                "invalid_utf8",
                format!("the body is not UTF-8 at byte {}", error.valid_up_to()),
            )
        })?;
        let left = Cell::new(MAX_VALUES);
        let node = Node {
            left: &left,
            max_depth,
            depth: 0,
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let mut values = Vec::new();
        while !rest_is_blank(&mut deserializer)? {
            values.push(node.deserialize(&mut deserializer).map_err(malformed)?);
        }
        Ok(values)
    }

    /// The same value as the tree that the domain reads.
    pub fn into_value(self) -> serde_json::Value {
        match self {
            Json::Null => serde_json::Value::Null,
            Json::Bool(value) => serde_json::Value::Bool(value),
            Json::Number(value) => serde_json::Value::Number(value),
            Json::String(value) => serde_json::Value::String(value.into_owned()),
            Json::Array(values) => values.into_iter().map(Json::into_value).collect(),
            Json::Object(fields) => serde_json::Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| (name.into_owned(), value.into_value()))
                    .collect(),
            ),
        }
    }

    pub fn string(&self) -> Result<&str, Invalid> {
        match self {
            Json::String(text) => Ok(text),
            other => Err(Invalid::new(other, "a string")),
        }
    }

    pub fn array(&self) -> Result<&[Json<'a>], Invalid> {
        match self {
            Json::Array(values) => Ok(values),
            other => Err(Invalid::new(other, "an array")),
        }
    }

    pub fn object(&self) -> Result<&[(Cow<'a, str>, Json<'a>)], Invalid> {
        match self {
            Json::Object(fields) => Ok(fields),
            other => Err(Invalid::new(other, "an object")),
        }
    }

    pub fn unsigned(&self, most: u64) -> Result<u64, Invalid> {
        match self {
            Json::Number(number) => number.as_u64().filter(|&value| value <= most),
            _ => None,
        }
        .ok_or_else(|| Invalid::new(self, format!("an integer from 0 to {most}")))
    }

    /// A finite number, or `NaN` for `null`.
    pub fn number_or_missing(&self) -> Result<f64, Invalid> {
        match self {
            Json::Null => Ok(f64::NAN),
            Json::Number(number) => Ok(number.as_f64().expect("serde_json reads only numbers that fit an f64")),
            other => Err(Invalid::new(other, "a number, or null where it is missing")),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }
}

/// As much of a value as an error message can hold.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(value) => write!(f, "{value}"),
            Json::String(value) => write!(f, "{:?}", value.chars().take(100).collect::<String>()),
            Json::Array(values) => write!(f, "an array of {}", values.len()),
            Json::Object(fields) => write!(f, "an object of {}", fields.len()),
        }
    }
}

/// The fields of an object, each of which is allowed.
pub struct Fields<'j, 'a>(&'j [(Cow<'a, str>, Json<'a>)]);

impl<'j, 'a> Fields<'j, 'a> {
    /// # Errors
    /// For a value that is no object, and for a name that is not among `allowed`.
    pub fn of(json: &'j Json<'a>, allowed: &[&str]) -> Result<Fields<'j, 'a>, Invalid> {
        let fields = json.object()?;
        match fields.iter().find(|(name, _)| !allowed.contains(&name.as_ref())) {
            None => Ok(Fields(fields)),
            Some((name, value)) => {
                Err(Invalid::new(value, format!("no such field; the fields are {}", allowed.join(", "))).under(name))
            }
        }
    }

    /// The field, unless it is absent or `null`.
    pub fn optional(&self, name: &str) -> Option<&'j Json<'a>> {
        self.0
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    }

    pub fn required(&self, name: &str) -> Result<&'j Json<'a>, Invalid> {
        let found = self.0.iter().find(|(found, _)| found == name);
        found
            .map(|(_, value)| value)
            .ok_or_else(|| Invalid::missing().under(name))
    }
}

fn rest_is_blank(deserializer: &mut serde_json::Deserializer<serde_json::de::StrRead<'_>>) -> Result<bool, ApiError> {
    match deserializer.end() {
        Ok(()) => Ok(true),
        // The only thing that `end` can miss is the end.
        Err(_) => Ok(false),
    }
}

fn malformed(error: serde_json::Error) -> ApiError {
    let code = match error.to_string() {
        text if text.starts_with("nested deeper") => "too_deep",
        text if text.starts_with("doubled name") => "doubled_name",
        text if text.starts_with("more than") => "too_many_values",
        _ => "invalid_json",
    };
    ApiError::malformed(code, error.to_string())
}

#[derive(Clone, Copy)]
struct Node<'c> {
    /// How many more values the body may hold.
    left: &'c Cell<usize>,
    max_depth: usize,
    /// Arrays and objects around this value.
    depth: usize,
}

impl<'c> Node<'c> {
    /// The values inside this one. serde_json has a limit of its own, 127, beyond the most that can be configured
    /// and long before the end of the stack.
    fn inner<E: Error>(&self) -> Result<Node<'c>, E> {
        let depth = self.depth + 1;
        match depth <= self.max_depth {
            true => Ok(Node { depth, ..*self }),
            false => Err(E::custom(format!(
                "nested deeper than {} levels (host.max_json_depth)",
                self.max_depth
            ))),
        }
    }

    fn take<E: Error>(&self) -> Result<(), E> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(E::custom(format!("more than {MAX_VALUES} values"))),
        }
    }
}

impl<'a> DeserializeSeed<'a> for Node<'_> {
    type Value = Json<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Json<'a>, D::Error> {
        self.take()?;
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Node<'_> {
    type Value = Json<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'a>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'a>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'a>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'a>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'a>, E> {
        Number::from_f64(value)
            .map(Json::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<Json<'a>, E> {
        Ok(Json::String(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'a>, E> {
        Ok(Json::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<Json<'a>, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = elements.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut entries: A) -> Result<Json<'a>, A::Error> {
        let inner = self.inner()?;
        let mut fields: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        let mut names: HashSet<Cow<'a, str>> = HashSet::new();
        while let Some(Json::String(name)) = entries.next_key_seed(inner)? {
            if fields.len() == FEW {
                names.extend(fields.iter().map(|(name, _)| name.clone()));
            }
            let doubled = match fields.len() < FEW {
                true => fields.iter().any(|(found, _)| *found == name),
                false => !names.insert(name.clone()),
            };
            if doubled {
                return Err(A::Error::custom(format!(
                    "doubled name {:?}; allowed: each name once in an object",
                    name.chars().take(100).collect::<String>()
                )));
            }
            fields.push((name, entries.next_value_seed(inner)?));
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &[u8]) -> &'static str {
        Json::parse(body, 32).expect_err("refused").code
    }

    #[test]
    fn what_is_not_one_json_value_is_refused_with_its_own_code() {
        assert_eq!(code(b"{\"a\": \"\xff\"}"), "invalid_utf8");
        assert_eq!(code(b"{\"a\": 1"), "invalid_json");
        assert_eq!(code(b""), "invalid_json");
        assert_eq!(code(b"{} {}"), "invalid_json");
        assert_eq!(code(b"{\"a\": NaN}"), "invalid_json");
        assert_eq!(code(b"{\"a\": 1e999}"), "invalid_json");
        assert_eq!(code("[".repeat(10_000).as_bytes()), "too_deep");
        assert_eq!(code("{\"a\":".repeat(10_000).as_bytes()), "too_deep");
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for max_depth in [8, 126] {
            assert!(Json::parse(nested(max_depth).as_bytes(), max_depth).is_ok());
            let error = Json::parse(nested(max_depth + 1).as_bytes(), max_depth).unwrap_err();
            assert_eq!(error.code, "too_deep", "{}", error.message);
            assert!(error.message.contains("host.max_json_depth"), "{}", error.message);
        }
        assert_eq!(
            code(format!("[{}0]", "0,".repeat(MAX_VALUES)).as_bytes()),
            "too_many_values"
        );
    }

    #[test]
    fn a_name_that_comes_twice_is_refused_in_small_and_in_large_objects() {
        assert_eq!(code(br#"{"a": 1, "b": {"x": 1, "x": 2}}"#), "doubled_name");
        assert_eq!(code(br#"{"a": 1, "\u0061": 2}"#), "doubled_name");
        for (count, doubled) in [(FEW - 1, 0), (FEW, 0), (FEW, FEW - 1), (FEW + 5, FEW + 2), (FEW + 5, 3)] {
            let names: Vec<String> = (0..count).map(|i| format!("\"n{i}\": 0")).collect();
            let body = format!("{{{}, \"n{doubled}\": 1}}", names.join(", "));
            assert_eq!(
                code(body.as_bytes()),
                "doubled_name",
                "{count} names, then n{doubled} again"
            );
        }
    }

    #[test]
    fn values_may_follow_each_other_on_lines_of_their_own() {
        let values = Json::parse_many(b"{\"a\": 1}\n\n{\"a\": 2}\r\n", 32).unwrap();
        assert_eq!(values.len(), 2);
        assert_eq!(values[1].clone().into_value(), serde_json::json!({"a": 2}));
    }
}
