//! Checks the metadata of untrusted Arrow IPC streams before the reader builds anything from them.
//!
//! Metadata are flatbuffers, whose parts can be shared. A few kilobytes can describe a million
//! fields, one long name a thousand times, or one buffer as every column; a trusting reader would
//! copy each of them. So a stream may have only one column per feature, and its buffers may not
//! claim more bytes than its body has.
//!
//! This is our own code: arrow's reader verifies that a message is a valid flatbuffer, and limits
//! nothing that the message describes.

use arrow::ipc::{Message, MessageHeader, Precision, RecordBatch, Schema, Type, root_as_message_with_opts};
use flatbuffers::VerifierOptions;
use ranking::Schema as Features;

use crate::http::error::{ApiError, Invalid};

/// The marker before a message's length; older writers omit it.
const CONTINUATION: &[u8] = &[0xff; 4];
/// Maximum size of one message's metadata, in bytes, with shared parts counted each time. 4,096
/// features with names of 256 bytes need a quarter of it.
const MAX_METADATA: usize = 4 << 20;

/// Checks the messages of a stream: a schema with the features' columns in any order, then batches
/// with at most `max_rows` rows in total.
///
/// # Errors
/// 400 for any other stream; 422 for an absent or unknown column, a column of another type, and too
/// many rows.
pub(super) fn check(stream: &[u8], features: &Features, max_rows: usize) -> Result<(), ApiError> {
    let mut left = stream;
    let mut rows = 0_usize;
    let mut first = true;
    while let Some((message, body, rest)) = next(left)? {
        match message.header_type() {
            MessageHeader::Schema if first => {
                let schema = message
                    .header_as_schema()
                    .ok_or_else(|| malformed("the schema is empty"))?;
                check_schema(&schema, features)?;
            }
            MessageHeader::RecordBatch if !first => {
                let batch = message
                    .header_as_record_batch()
                    .ok_or_else(|| malformed("a batch is empty"))?;
                rows = rows.saturating_add(check_batch(&batch, body.len())?);
            }
            other => {
                let name = other.variant_name().unwrap_or("unknown");
                return Err(malformed(format!(
                    "a message is a {name}; allowed: a Schema, then RecordBatches"
                )));
            }
        }
        if rows > max_rows {
            let allowed = format!("at most {max_rows} rows (host.max_rows)");
            return Err(Invalid::new(rows, allowed).under("rows").into());
        }
        first = false;
        left = rest;
    }
    if first {
        Err(malformed("the stream has no schema"))
    } else {
        Ok(())
    }
}

type Part<'a> = (Message<'a>, &'a [u8], &'a [u8]);

/// The next message, its body and the rest of the stream; `None` at the end.
fn next(stream: &[u8]) -> Result<Option<Part<'_>>, ApiError> {
    if stream.is_empty() {
        return Ok(None);
    }
    let stream = stream.strip_prefix(CONTINUATION).unwrap_or(stream);
    let (length, rest) = stream.split_first_chunk().ok_or_else(broken)?;
    let length = usize::try_from(i32::from_le_bytes(*length)).map_err(|_| broken())?;
    if length == 0 {
        return Ok(None);
    }
    let (metadata, rest) = rest.split_at_checked(length).ok_or_else(broken)?;
    let limits = VerifierOptions {
        max_apparent_size: MAX_METADATA,
        ..VerifierOptions::default()
    };
    let message = root_as_message_with_opts(&limits, metadata)
        .map_err(|error| malformed(format!("the metadata of a message cannot be read: {error}")))?;
    let length = usize::try_from(message.bodyLength()).map_err(|_| broken())?;
    let (body, rest) = rest.split_at_checked(length).ok_or_else(broken)?;
    Ok(Some((message, body, rest)))
}

fn check_schema(schema: &Schema<'_>, features: &Features) -> Result<(), ApiError> {
    let fields = schema.fields().into_iter().flatten();
    let mut seen = vec![false; features.len()];
    for field in fields {
        let name = field.name().unwrap_or_default();
        let refused = |value: &str, allowed: String| Invalid::new(value, allowed).under(name);
        let Some(at) = features.index_of(name) else {
            let known = features.names().join(", ");
            return Err(refused("a column", format!("only the features {known}")).into());
        };
        if std::mem::replace(&mut seen[at], true) {
            return Err(refused("a duplicate column", "one column per feature".into()).into());
        }
        let double = field
            .type_as_floating_point()
            .is_some_and(|float| float.precision() == Precision::DOUBLE);
        if !double || field.dictionary().is_some() {
            let kind = match field.type_type() {
                Type::FloatingPoint => "a FloatingPoint column of another precision, or a dictionary",
                other => other.variant_name().unwrap_or("a column of an unknown type"),
            };
            return Err(refused(kind, "a Float64 column".into()).into());
        }
    }
    match seen.iter().position(|&seen| !seen) {
        Some(absent) => Err(Invalid::missing().under(&features.names()[absent]).into()),
        None => Ok(()),
    }
}

/// Checks a batch, and returns its number of rows.
fn check_batch(batch: &RecordBatch<'_>, body: usize) -> Result<usize, ApiError> {
    if batch.compression().is_some() {
        return Err(malformed("a batch is compressed; allowed: no compression"));
    }
    let rows = usize::try_from(batch.length()).map_err(|_| broken())?;
    for node in batch.nodes().into_iter().flatten() {
        if node.length() != batch.length() || !(0..=node.length()).contains(&node.null_count()) {
            return Err(malformed("a column is not as long as its batch"));
        }
    }
    let mut claimed = 0_usize;
    for buffer in batch.buffers().into_iter().flatten() {
        let (offset, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let (Ok(offset), Ok(length)) = (offset, length) else {
            return Err(broken());
        };
        claimed = claimed.saturating_add(length);
        if offset.checked_add(length).is_none_or(|end| end > body) || claimed > body {
            return Err(malformed("the buffers of a batch claim more than its body has"));
        }
    }
    Ok(rows)
}

fn broken() -> ApiError {
    malformed("a message breaks off, or a length is negative")
}

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::malformed("invalid_arrow", message)
}
