//! What is read as JSON is what serde_json reads, and means the same.
#![no_main]

use api::json::Document;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const DEPTH: usize = 32;

fuzz_target!(|body: &[u8]| {
    let reference = serde_json::from_slice::<Value>(body);
    let document = match Document::parse(body, DEPTH) {
        Ok(document) => document,
        // Other codes are of rules that JSON has not.
        Err(error) => return assert!(reference.is_err() || !error.code.starts_with("invalid")),
    };
    let value = document.root().to_value();
    assert_eq!(reference.expect("the same is JSON for serde_json"), value);
    assert!(depth(&value) <= DEPTH);
    let written = value.to_string();
    let again = Document::parse(written.as_bytes(), DEPTH).expect("what was written is read");
    assert_eq!(again.root().to_value(), value);
});

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
