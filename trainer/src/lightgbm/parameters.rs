//! LightGBM parameters, under LightGBM's own main names.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{Error, read_text};

/// Why a set of parameters was refused. The message names key, value and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    /// A name LightGBM does not know.
    #[error("{key}: unknown LightGBM parameter (value {value}); allowed: the names and aliases LightGBM documents")]
    Unknown {
        /// As given.
        key: String,
        /// As given.
        value: String,
    },
    /// Two names for one parameter, with two values.
    #[error("{first} = {first_value} and {second} = {second_value} both set {name}; allowed: one of them")]
    Doubled {
        /// LightGBM's main name.
        name: String,
        /// One name used.
        first: String,
        /// Its value.
        first_value: String,
        /// The other name used.
        second: String,
        /// Its value.
        second_value: String,
    },
    /// A value of the wrong shape or range.
    #[error("{key}: {value}; allowed: {allowed}")]
    Value {
        /// As given.
        key: String,
        /// As given.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// LightGBM did not give its list of names.
    #[error(transparent)]
    LightGbm(#[from] Error),
}

/// A set of LightGBM parameters: main name -> text, as the C API wants it.
///
/// Aliases (`n_estimators`, `eta`, ...) are resolved by LightGBM's own table, so that a name given
/// under any alias is found under its main one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[serde(transparent)]
pub struct Parameters(BTreeMap<String, String>);

const PLAIN: &str = "a number, a text without blanks, true, false, or a list of those";

impl Parameters {
    /// Parameters from a JSON object, e.g. `{"objective": "lambdarank", "ndcg_eval_at": [5]}`.
    ///
    /// # Errors
    /// An unknown name, one parameter under two names with different values, a nested value,
    /// null, or a text with blanks (LightGBM separates parameters by blanks).
    pub fn from_json(object: &serde_json::Map<String, Value>) -> Result<Parameters, ParameterError> {
        let names = main_names()?;
        let mut given: BTreeMap<&str, (&str, String)> = BTreeMap::new();
        for (key, value) in object {
            let Some(name) = names.get(key.as_str()) else {
                return Err(ParameterError::Unknown {
                    key: key.clone(),
                    value: value.to_string(),
                });
            };
            let text = plain_text(key, value)?;
            if let Some((other, other_text)) = given.get(name.as_str())
                && *other_text != text
            {
                return Err(ParameterError::Doubled {
                    name: name.clone(),
                    first: (*other).to_owned(),
                    first_value: other_text.clone(),
                    second: key.clone(),
                    second_value: text,
                });
            }
            given.insert(name, (key, text));
        }
        Ok(Parameters(
            given
                .into_iter()
                .map(|(name, (_, text))| (name.to_owned(), text))
                .collect(),
        ))
    }

    /// Main name -> text.
    pub fn into_inner(self) -> BTreeMap<String, String> {
        self.0
    }

    /// The value under a main name, as text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets a main name, replacing what was there.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// Sets a main name if nothing is there yet.
    pub fn set_default(&mut self, name: &str, value: impl ToString) {
        self.0.entry(name.to_owned()).or_insert_with(|| value.to_string());
    }

    /// A whole number under a main name, if given.
    ///
    /// # Errors
    /// A value that is not a whole number.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, ParameterError> {
        self.parsed(name, "a whole number")
    }

    /// A number under a main name, if given.
    ///
    /// # Errors
    /// A value that is not a number.
    pub fn number(&self, name: &str) -> Result<Option<f64>, ParameterError> {
        self.parsed(name, "a number")
    }

    /// A switch under a main name; false if not given.
    ///
    /// # Errors
    /// A value other than true and false (LightGBM also takes + and -).
    pub fn switch(&self, name: &str) -> Result<bool, ParameterError> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "+") => Ok(true),
            None | Some("false" | "-") => Ok(false),
            Some(value) => Err(ParameterError::Value {
                key: name.to_owned(),
                value: value.to_owned(),
                allowed: "true or false",
            }),
        }
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, allowed: &'static str) -> Result<Option<T>, ParameterError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| ParameterError::Value {
            key: name.to_owned(),
            value: text.to_owned(),
            allowed,
        })
    }
}

impl fmt::Display for Parameters {
    /// `key=value` pairs separated by blanks: what the C API parses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.0.iter().enumerate() {
            let blank = if at == 0 { "" } else { " " };
            write!(f, "{blank}{key}={value}")?;
        }
        Ok(())
    }
}

/// Every name LightGBM knows, main names and aliases alike -> main name.
fn main_names() -> Result<BTreeMap<String, String>, Error> {
    let json = read_text("LGBM_DumpParamAliases", |capacity, needed, buffer| {
        // SAFETY: `buffer` has `capacity` bytes; LightGBM writes only if all of it fits.
        unsafe { lightgbm3_sys::LGBM_DumpParamAliases(capacity, needed, buffer.as_mut_ptr().cast::<c_char>()) }
    })?;
    let table: BTreeMap<String, Vec<String>> = serde_json::from_str(&json).map_err(|e| Error::Refused {
        call: "LGBM_DumpParamAliases",
        message: format!("its table of names is not what was expected: {e}"),
    })?;
    let mut names = BTreeMap::new();
    for (name, aliases) in table {
        for alias in aliases {
            names.insert(alias, name.clone());
        }
        names.insert(name.clone(), name);
    }
    Ok(names)
}

fn plain_text(key: &str, value: &Value) -> Result<String, ParameterError> {
    let refuse = || ParameterError::Value {
        key: key.to_owned(),
        value: value.to_string(),
        allowed: PLAIN,
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            let items: Option<Vec<String>> = items.iter().map(scalar_text).collect();
            Ok(items.ok_or_else(refuse)?.join(","))
        }
        scalar => scalar_text(scalar).ok_or_else(refuse),
    }
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(n.to_string()),
        Value::String(s) => {
            let plain = !s.is_empty() && !s.chars().any(|c| c.is_whitespace() || c.is_control());
            plain.then(|| s.clone())
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
