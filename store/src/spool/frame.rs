//! The bytes of a spool file: records, each in a frame of its own.
//!
//! A frame is a record separator (0x1E, as in RFC 7464), the length of the record, its checksum, the record as JSON, and a
//! line feed. JSON has no control characters, so that a separator always begins a frame: whatever became of the bytes
//! before it, reading goes on there, and damage loses nothing but the records that it touches.

use sha2::{Digest, Sha256};

const SEPARATOR: u8 = 0x1e;
/// Hexadecimal digits of the length.
const LENGTH: usize = 8;
/// Hexadecimal digits of the checksum: the first 64 bits of the SHA-256, against accidents.
const CHECKSUM: usize = 16;
/// All before the JSON: separator, length, space, checksum, space.
const HEADER: usize = 1 + LENGTH + 1 + CHECKSUM + 1;

/// A stretch of a file.
#[derive(Debug, PartialEq)]
pub(super) enum Part<'a> {
    /// The JSON of a record.
    Record(&'a [u8]),
    /// The JSON of a list of so many records: a line of version 0.1.
    List(&'a [u8], u64),
    /// Bytes that are neither, from this offset on.
    Damage { offset: usize, bytes: usize },
}

/// Appends the frame of a record.
pub(super) fn write(file: &mut Vec<u8>, json: &[u8]) {
    file.extend_from_slice(header(json).as_bytes());
    file.extend_from_slice(json);
    file.push(b'\n');
}

fn header(json: &[u8]) -> String {
    format!("{}{:0LENGTH$x} {} ", char::from(SEPARATOR), json.len(), checksum(json))
}

/// The parts of a file, of which every byte is looked at a few times at most.
pub(super) fn parts(file: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        while at < file.len() {
            let Some((part, bytes)) = part(file, at) else {
                at = next_start(file, at);
                continue;
            };
            if start == at {
                at += bytes;
                return Some(part);
            }
            // It comes next.
            break;
        }
        (start < at).then_some(Part::Damage {
            offset: start,
            bytes: at - start,
        })
    })
}

/// The record or the list that begins here, and its bytes.
fn part(file: &[u8], at: usize) -> Option<(Part<'_>, usize)> {
    let rest = &file[at..];
    if rest[0] == SEPARATOR {
        return frame(rest);
    }
    let begins_line = at == 0 || file[at - 1] == b'\n';
    begins_line.then(|| list(rest)).flatten()
}

fn frame(rest: &[u8]) -> Option<(Part<'_>, usize)> {
    let own = rest.get(..HEADER)?;
    let length = std::str::from_utf8(&own[1..1 + LENGTH]).ok()?;
    let end = HEADER.checked_add(usize::from_str_radix(length, 16).ok()?)?;
    let json = rest.get(HEADER..end)?;
    // Where the length is wrong, another frame begins inside of this one. Its bytes need not be summed up for this one.
    if json.contains(&SEPARATOR) || own != header(json).as_bytes() {
        return None;
    }
    let line_feed = rest.get(end) == Some(&b'\n');
    Some((Part::Record(json), end + usize::from(line_feed)))
}

/// A line of version 0.1: the checksum, the number of records, and the records as a JSON array.
fn list(rest: &[u8]) -> Option<(Part<'_>, usize)> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (sum, body) = rest[..end].split_at_checked(CHECKSUM)?;
    let body = body.strip_prefix(b" ")?;
    let space = body.iter().position(|byte| *byte == b' ')?;
    let records = std::str::from_utf8(&body[..space]).ok()?.parse().ok()?;
    (sum == checksum(body).as_bytes()).then(|| (Part::List(&body[space + 1..], records), end + 1))
}

/// Where the next part may begin.
fn next_start(file: &[u8], at: usize) -> usize {
    let found = file[at..].iter().enumerate().find_map(|(i, byte)| match *byte {
        SEPARATOR if i > 0 => Some(at + i),
        b'\n' => Some(at + i + 1),
        _ => None,
    });
    found.unwrap_or(file.len())
}

fn checksum(bytes: &[u8]) -> String {
    let mut sum = [0; CHECKSUM / 2];
    sum.copy_from_slice(&Sha256::digest(bytes)[..CHECKSUM / 2]);
    format!("{:0CHECKSUM$x}", u64::from_be_bytes(sum))
}

#[cfg(test)]
mod tests;
