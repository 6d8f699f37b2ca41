//! Makes events of what was logged, as the raw tables have them.

use ranking::{Body, Event};
use serde_json::Value;
use uuid::Uuid;

use crate::tables::{Tables, pseudonymised};

/// Reads events.
pub(crate) struct Reader<'a> {
    tables: Tables,
    salt: Option<&'a [u8]>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(tables: &Tables, salt: Option<&'a [u8]>) -> Reader<'a> {
        Reader {
            tables: tables.clone(),
            salt,
        }
    }

    /// The event of this JSON. An event under an id that another one had is kept beside it, under a key of its own, which
    /// is `key`.
    ///
    /// # Errors
    /// Why no reader understands it.
    pub(crate) fn event(&self, value: Value, key: Option<Uuid>) -> Result<Event, String> {
        let mut event = Event::from_stored(value).map_err(|error| error.to_string())?;
        // A former program's impression says by its own id who showed it.
        let origin = event.origin();
        event.event_id = key.unwrap_or(event.event_id);
        if let Body::Impression(impression) = &mut event.body {
            impression.origin = origin;
        }
        if let Some(reason) = self.tables.mismatch(&event) {
            return Err(reason);
        }
        pseudonymised(&mut event, self.salt);
        Ok(event)
    }
}
