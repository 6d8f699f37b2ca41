//! Rows to score, as JSON: one value a feature, and the same rows when they are written and read again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ltr_host::routes::score::json_rows;
use ranking::Schema;
use serde_json::{Map, Value, json};
use settings::Settings;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Settings::default().schema());

fuzz_target!(|body: &[u8]| {
    let Some((rows, one)) = read(body) else { return };
    assert!(!one || rows.len() == 1);
    for row in &rows {
        assert_eq!(row.len(), SCHEMA.len());
        assert!(row.iter().all(|value| !value.is_infinite()));
    }
    let written = json!({ "rows": rows.iter().map(|row| object(row)).collect::<Vec<_>>() });
    let (again, _) = read(written.to_string().as_bytes()).expect("what was written is read");
    // NaN, which is missing, is not equal to itself.
    assert_eq!(format!("{again:?}"), format!("{rows:?}"));
});

fn read(body: &[u8]) -> Option<(Vec<Vec<f64>>, bool)> {
    json_rows(body, &SCHEMA, 32).ok()
}

fn object(row: &[f64]) -> Map<String, Value> {
    let values = row.iter().map(|value| (!value.is_nan()).then_some(*value).into());
    SCHEMA.names().iter().cloned().zip(values).collect()
}
