//! Arrow IPC streams from strangers: what their metadata claims is checked before anything is built from it.
//!
//! Metadata are flatbuffers, in which parts can be shared: a few kilobytes can describe a million fields, one long
//! name a thousand times, or one buffer as every column, and a reader that takes it at its word copies each. Here a
//! stream has one column a feature and nothing else, and no byte of a body is claimed twice.

use arrow::ipc::{Message, MessageHeader, Precision, RecordBatch, Schema, Type, root_as_message_with_opts};
use flatbuffers::VerifierOptions;
use ranking::Schema as Features;

use crate::http::error::{ApiError, Invalid};

/// Before a message's length; older writers leave it out.
const CONTINUATION: &[u8] = &[0xff; 4];
/// Most that one message's metadata may come to with what is shared counted each time, in bytes: 4,096 features with
/// names of 256 bytes need a fourth of it.
const MAX_METADATA: usize = 4 << 20;

/// Checks the messages of a stream: a schema with the features' columns, in any order, and batches of at most
/// `max_rows` rows in all.
///
/// # Errors
/// 400 for what is no such stream, 422 for a column that is absent, unknown or of another type, and for more rows.
pub fn check(stream: &[u8], features: &Features, max_rows: usize) -> Result<(), ApiError> {
    let mut left = stream;
    let mut rows = 0_usize;
    let mut first = true;
    while let Some((message, body, rest)) = next(left)? {
        match message.header_type() {
            MessageHeader::Schema if first => {
                let schema = message
                    .header_as_schema()
                    .ok_or_else(|| malformed("a schema is empty"))?;
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
    match first {
        true => Err(malformed("there is no schema")),
        false => Ok(()),
    }
}

type Part<'a> = (Message<'a>, &'a [u8], &'a [u8]);

/// The next message, its body, and what follows; `None` at the end.
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
            return Err(refused("a column", format!("no such feature; the features are {known}")).into());
        };
        if std::mem::replace(&mut seen[at], true) {
            return Err(refused("there twice", "each feature once".into()).into());
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

/// The batch's rows.
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
