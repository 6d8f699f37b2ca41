//! Columns whose values stand for codes, as pandas' categories do: the trees of such a model ask for a value's place in
//! a list, which LightGBM's Python package keeps at the end of the model's text.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::error::{ReadError, few};
use crate::{Expect, number};

/// A value that has a code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Category {
    /// `true` or `false`; the numbers 1 and 0 do not match it.
    Bool(bool),
    /// A whole number; equal to a float of the same value.
    Integer(i64),
    /// Beyond the other integers.
    Large(u64),
    /// Any other number of the JSON: with a fraction, an exponent or over 64 bits.
    Float(f64),
    /// A text; matches only as it stands, case and blanks included.
    Text(String),
}

/// The values of each such column, in the order of their codes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Categories {
    /// Feature name to its values; a value's index is its code. Other features hold numbers.
    Columns(BTreeMap<String, Vec<Category>>),
    /// There are some, but not whose; the text says why.
    Unclear(String),
}

/// Why a value has no code.
pub(crate) struct NoCode;

/// Finds the code of a value. A missing value and one that is not in the list are missing, as for the Python package;
/// but a value of another kind than the list's is refused, because there the package would find nothing at all.
pub(crate) struct Codes {
    kind: Kind,
    /// The list, shortened, for messages.
    shown: String,
}

enum Kind {
    /// No value was there in training: every one is new.
    Nothing,
    Texts(HashMap<String, u32>),
    Numbers(HashMap<Number, u32>),
    /// Of false and of true.
    Bools([Option<u32>; 2]),
}

/// Equal where the numbers are, whatever their types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Number {
    Integer(i128),
    /// What is no integer, by its bits.
    Other(u64),
}

impl From<f64> for Number {
    fn from(number: f64) -> Number {
        // Beyond 2^100 no integer column reaches, and the bits tell numbers apart just as well.
        if number.fract() == 0.0 && number.abs() < 2f64.powi(100) {
            Number::Integer(number as i128)
        } else {
            Number::Other(number.to_bits())
        }
    }
}

impl Number {
    pub(crate) fn parse(text: &str) -> Option<Number> {
        let integer = text.parse().ok().map(Number::Integer);
        let number = || text.parse::<f64>().ok().filter(|number| !number.is_nan());
        integer.or_else(|| number().map(Number::from))
    }
}

impl Codes {
    /// One per column that is read: `Some` where its values stand for codes.
    ///
    /// # Errors
    /// Categories that cannot be looked up.
    pub(crate) fn of(expect: &Expect) -> Result<Vec<Option<Codes>>, ReadError> {
        let lists = match expect.categories {
            None => return Ok(expect.names.iter().map(|_| None).collect()),
            Some(Categories::Unclear(why)) => return Err(ReadError::Categories(why.clone())),
            Some(Categories::Columns(lists)) => lists,
        };
        let codes = |name: &String| {
            let codes = lists.get(name).map(|list| Codes::new(list)).transpose();
            codes.map_err(|why| ReadError::Categories(format!("feature {name} has {why}")))
        };
        expect.names.iter().map(codes).collect()
    }

    /// # Errors
    /// A list that mixes kinds, or holds a value twice.
    pub(crate) fn new(list: &[Category]) -> Result<Codes, String> {
        let shown: Vec<String> = list.iter().take(11).map(Category::to_string).collect();
        let kind =
            Kind::of(list).ok_or_else(|| format!("categories of several kinds, or one twice: {}", few(&shown)))?;
        Ok(Codes {
            kind,
            shown: few(&shown),
        })
    }

    pub(crate) fn allowed(&self) -> String {
        format!(
            "one of the model's categories ({}) or a value of their kind, empty where it is missing; or codes in all such columns, with --category-codes",
            self.shown
        )
    }

    /// Whether a field of a text file is in the list, or missing.
    pub(crate) fn knows(&self, field: &[u8]) -> bool {
        let missing = number::parse(field).is_some_and(f64::is_nan);
        self.field(field).is_ok_and(|code| missing || !code.is_nan())
    }

    /// Whether one of the categories is empty or nothing but blanks, so that a line without text may mean it.
    pub(crate) fn have_a_blank(&self) -> bool {
        match &self.kind {
            Kind::Texts(texts) => texts.keys().any(|text| text.trim_ascii().is_empty()),
            Kind::Nothing | Kind::Bools(_) | Kind::Numbers(_) => false,
        }
    }

    /// Of a field of a text file.
    pub(crate) fn field(&self, field: &[u8]) -> Result<f64, NoCode> {
        let text = std::str::from_utf8(field).map_err(|_| NoCode)?;
        let trimmed = text.trim_ascii();
        match &self.kind {
            // Neither missing nor the empty category: a text file does not say which.
            Kind::Texts(texts) if text.is_empty() || trimmed.is_empty() && !texts.contains_key(text) => {
                if texts.contains_key("") {
                    Err(NoCode)
                } else {
                    Ok(f64::NAN)
                }
            }
            Kind::Texts(texts) if text != trimmed && !texts.contains_key(text) && texts.contains_key(trimmed) => {
                Err(NoCode)
            }
            Kind::Texts(_) | Kind::Nothing => self.text(text),
            Kind::Bools(codes) => match (number::boolean(field), number::parse(field)) {
                (Some(truth), _) => Ok(code(codes[usize::from(truth)])),
                (None, Some(number)) if number.is_nan() => Ok(f64::NAN),
                _ => Err(NoCode),
            },
            Kind::Numbers(numbers) => match (Number::parse(trimmed), number::parse(field)) {
                (Some(number), _) => Ok(code(numbers.get(&number).copied())),
                (None, Some(_)) => Ok(f64::NAN),
                (None, None) => Err(NoCode),
            },
        }
    }

    pub(crate) fn text(&self, text: &str) -> Result<f64, NoCode> {
        let texts = match &self.kind {
            Kind::Texts(texts) => texts,
            Kind::Nothing => return Ok(f64::NAN),
            _ => return Err(NoCode),
        };
        let Some(number) = Number::parse(text.trim_ascii()).filter(|_| !texts.contains_key(text)) else {
            return Ok(code(texts.get(text).copied()));
        };
        // A number among words is a code, and 10.0 beside "10" is a category that went through a column of floats.
        let mut numbers = texts.keys().filter_map(|text| Number::parse(text)).peekable();
        if numbers.peek().is_none() || numbers.any(|other| other == number) {
            Err(NoCode)
        } else {
            Ok(f64::NAN)
        }
    }

    pub(crate) fn number(&self, number: Number) -> Result<f64, NoCode> {
        match &self.kind {
            Kind::Numbers(numbers) => Ok(code(numbers.get(&number).copied())),
            Kind::Nothing => Ok(f64::NAN),
            _ => Err(NoCode),
        }
    }

    pub(crate) fn boolean(&self, truth: bool) -> Result<f64, NoCode> {
        match &self.kind {
            Kind::Bools(codes) => Ok(code(codes[usize::from(truth)])),
            Kind::Nothing => Ok(f64::NAN),
            _ => Err(NoCode),
        }
    }
}

fn code(code: Option<u32>) -> f64 {
    code.map_or(f64::NAN, f64::from)
}

impl Kind {
    /// `None`: several kinds, or one value twice.
    fn of(list: &[Category]) -> Option<Kind> {
        let mut texts = HashMap::new();
        let mut numbers = HashMap::new();
        let mut bools = [None; 2];
        for (code, value) in (0..).zip(list) {
            let before = match value {
                Category::Text(text) => texts.insert(text.clone(), code),
                Category::Integer(integer) => numbers.insert(Number::Integer((*integer).into()), code),
                Category::Large(integer) => numbers.insert(Number::Integer((*integer).into()), code),
                Category::Float(number) => numbers.insert(Number::from(*number), code),
                Category::Bool(truth) => bools[usize::from(*truth)].replace(code),
            };
            if before.is_some() {
                return None;
            }
        }
        match (texts.is_empty(), numbers.is_empty(), bools == [None; 2]) {
            (true, true, true) => Some(Kind::Nothing),
            (false, true, true) => Some(Kind::Texts(texts)),
            (true, false, true) => Some(Kind::Numbers(numbers)),
            (true, true, false) => Some(Kind::Bools(bools)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Category {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Category::Bool(truth) => write!(f, "{truth}"),
            Category::Integer(integer) => write!(f, "{integer}"),
            Category::Large(integer) => write!(f, "{integer}"),
            Category::Float(number) => write!(f, "{number:?}"),
            Category::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Categories {
    /// Name of a component's custom section that holds these.
    pub const SECTION: &str = "ltr:categories";

    /// Reads the JSON of the section.
    ///
    /// # Errors
    /// What is not as [`Categories::to_json`] writes it.
    pub fn from_json(json: &[u8]) -> Result<Categories, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    /// The JSON that a component's section [`Categories::SECTION`] holds.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and lists of them are JSON, and keys are texts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(json: &str) -> Codes {
        Codes::new(&serde_json::from_str::<Vec<Category>>(json).unwrap()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The code of a field; -1 where it is missing, -2 where it is refused.
    fn field(codes: &Codes, field: &str) -> f64 {
        codes
            .field(field.as_bytes())
            .map_or(-2.0, |code| if code.is_nan() { -1.0 } else { code })
    }

    #[test]
    fn texts_are_found_as_they_stand() {
        let list = codes(r#"["red", "NA", "deep blue"]"#);
        for (text, code) in [
            ("red", 0.0),
            ("NA", 1.0),
            ("deep blue", 2.0),
            ("", -1.0),
            ("nan", -1.0),
            ("green", -1.0),
            ("Red", -1.0),
            (" red", -2.0),
            ("1", -2.0),
            ("0.0", -2.0),
        ] {
            assert_eq!(field(&list, text), code, "{text:?}");
        }
        let list = codes(r#"["10", "20"]"#);
        for (text, code) in [("20", 1.0), ("30", -1.0), ("20.0", -2.0), ("x", -1.0)] {
            assert_eq!(field(&list, text), code, "{text:?}");
        }
        assert_eq!(field(&codes(r#"["", "a"]"#), ""), -2.0);
        let blanks = codes(r#"["  ", " ", "a "]"#);
        for (text, code) in [
            ("  ", 0.0),
            (" ", 1.0),
            ("", -1.0),
            ("   ", -1.0),
            ("a ", 2.0),
            ("a", -1.0),
        ] {
            assert_eq!(field(&blanks, text), code, "{text:?}");
        }
        assert!(list.number(Number::Integer(10)).is_err() && list.boolean(true).is_err());
    }

    #[test]
    fn numbers_are_found_whatever_their_type() {
        let list = codes("[10, 20, 9007199254740993, 0.5, 18446744073709551615]");
        for (text, code) in [
            ("10", 0.0),
            (" 10.0", 0.0),
            ("1e1", 0.0),
            ("9007199254740993", 2.0),
            ("9007199254740992", -1.0),
            (".50", 3.0),
            ("18446744073709551615", 4.0),
            ("NA", -1.0),
            ("", -1.0),
            ("99", -1.0),
            ("inf", -1.0),
            ("ten", -2.0),
            ("true", -2.0),
        ] {
            assert_eq!(field(&list, text), code, "{text:?}");
        }
        assert!(list.text("10").is_err());
        assert_eq!(list.number(Number::from(20.0)).ok(), Some(1.0));
    }

    #[test]
    fn booleans_are_words_and_not_numbers() {
        let list = codes("[false, true]");
        for (text, code) in [
            ("True", 1.0),
            ("false", 0.0),
            ("", -1.0),
            ("null", -1.0),
            ("1", -2.0),
            ("yes", -2.0),
        ] {
            assert_eq!(field(&list, text), code, "{text:?}");
        }
        assert_eq!(list.boolean(true).ok(), Some(1.0));
        assert_eq!(field(&codes("[true]"), "false"), -1.0);
        assert_eq!(["", "1", "true", "x"].map(|text| field(&codes("[]"), text)), [-1.0; 4]);
    }

    #[test]
    fn a_list_of_several_kinds_is_refused() {
        for json in [r#"[1, "a"]"#, "[1, 1.0]", "[true, 1]", r#"["a", "a"]"#] {
            let list: Vec<Category> = serde_json::from_str(json).unwrap();
            assert!(Codes::new(&list).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<Vec<Category>>("[null]").is_err());
        let list = Categories::Columns([("a".to_owned(), vec![Category::Float(0.1), Category::Integer(3)])].into());
        assert_eq!(Categories::from_json(&list.to_json()).unwrap(), list);
    }
}
