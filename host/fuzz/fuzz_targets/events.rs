//! Events that are accepted are the same events when they are written and read again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ltr_host::events::read;
use ranking::Schema;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::new(["geo", "price"]).expect("two names"));

fuzz_target!(|body: &[u8]| {
    let Ok(events) = read(body, &SCHEMA, 32) else { return };
    assert!(!events.is_empty());
    let lines: Vec<String> = events.iter().map(|event| event.to_json().to_string()).collect();
    let again = read(lines.join("\n").as_bytes(), &SCHEMA, 32);
    assert_eq!(again.unwrap_or_else(|error| panic!("{}", error.message)), events);
});
