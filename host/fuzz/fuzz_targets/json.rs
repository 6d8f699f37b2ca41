//! What is read as JSON is JSON, and means what serde_json says it means.
#![no_main]

use libfuzzer_sys::fuzz_target;
use api::json::Document;
use serde_json::Value;

const DEPTH: usize = 32;

fuzz_target!(|body: &[u8]| {
    let Ok(document) = Document::parse(body, DEPTH) else {
        return;
    };
    let value = document.root().to_value();
    assert_eq!(
        serde_json::from_slice::<Value>(body).expect("the same is JSON for serde_json"),
        value
    );
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
