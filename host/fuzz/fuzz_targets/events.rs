//! Events that are accepted are the same events when they are written and read again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ltr_host::routes::events::read;
use ranking::{Event, Schema};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::new(["geo", "price"]).expect("two names"));

fuzz_target!(|body: &[u8]| {
    let Ok(events) = read(body, &SCHEMA, 32) else { return };
    assert!(!events.is_empty());
    for event in events {
        let text = event.to_json().to_string();
        let json = serde_json::from_str(&text).expect("an event is written as JSON");
        let again = Event::from_stored(json).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(again, event);
    }
});
