//! Writes a parameter's value as the text that LightGBM parses, as its Python package does
//! (`basic.py`, `_param_dict_to_str`).

use std::path::Path;

use serde_json::Value;

use super::ParameterError;

const PLAIN: &str = "a number, a text without blanks (which separate LightGBM's parameters), true, false, \
                     or a list of these; null counts as not given";
const NESTED: &str = "a list of lists of column numbers, e.g. [[0, 1], [2]]";
const JSON_FILE: &str = "the name of a readable JSON file";

/// The text of `value`, which was given under `key` for the parameter with the main name `name`.
pub(super) fn text(key: &str, name: &str, value: &Value) -> Result<String, ParameterError> {
    let (text, allowed) = match name {
        "interaction_constraints" => (constraints(value), NESTED),
        "forcedsplits_filename" | "forcedbins_filename" => (plain(value).filter(|file| is_json(file)), JSON_FILE),
        _ => (plain(value), PLAIN),
    };
    text.ok_or_else(|| ParameterError::Value {
        key: key.to_owned(),
        value: shorten(&value.to_string()),
        allowed,
    })
}

/// Shortens a value for a message.
pub(super) fn shorten(value: &str) -> String {
    const MOST: usize = 80;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let items: Option<Vec<String>> = items.iter().map(scalar).collect();
            Some(items?.join(","))
        }
        value => scalar(value),
    }
}

fn scalar(value: &Value) -> Option<String> {
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

/// The text `[0,1],[2]`, from lists or from such a text. LightGBM silently ignores any other form.
fn constraints(value: &Value) -> Option<String> {
    let sets: Vec<Vec<u32>> = match value {
        Value::String(text) => serde_json::from_str(&format!("[{text}]")).ok()?,
        value => serde_json::from_value(value.clone()).ok()?,
    };
    let set = |set: &Vec<u32>| {
        let numbers: Vec<String> = set.iter().map(u32::to_string).collect();
        format!("[{}]", numbers.join(","))
    };
    let filled = !sets.is_empty() && sets.iter().all(|set| !set.is_empty());
    filled.then(|| sets.iter().map(set).collect::<Vec<_>>().join(","))
}

/// Whether the file is readable JSON. LightGBM silently ignores a file that it cannot read.
fn is_json(file: &str) -> bool {
    const MAX_BYTES: u64 = 1 << 28;
    let bytes = regular_file::read(Path::new(file), regular_file::Links::Follow, MAX_BYTES);
    bytes.is_ok_and(|bytes| serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok())
}
