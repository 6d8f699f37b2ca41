//! What is baked into a scorer component: a description and an image in one byte string.
//!
//! Layout, little-endian: 8 bytes of magic, the offset of the image (u64, a multiple of 64), then the
//! description's fields in order (a string is its length as u32 and its UTF-8 bytes), zeros up to the
//! image, and the image to the end.

use alloc::string::String;
use alloc::vec::Vec;

use crate::ImageError;
use crate::image::LINE;

const MAGIC: [u8; 8] = *b"ltrscor\x02";

/// What a scorer says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The model's version, e.g. `20261123T021500Z`.
    pub model_version: String,
    /// Names in column order.
    pub feature_names: Vec<String>,
    /// The objective as in the model file.
    pub objective: String,
    /// Trees in all.
    pub trees: u32,
    /// Scores a row.
    pub outputs: u32,
    /// First and last moment of the training data, RFC 3339.
    pub training_window: Option<(String, String)>,
}

/// Joins a description and an image; the image begins at a multiple of 64 from the start.
///
/// # Panics
/// If a text of the description is 4 GiB or longer.
pub fn encode(description: &Description, image: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(MAGIC);
    bytes.extend([0; 8]);
    put_text(&mut bytes, &description.model_version);
    put_count(&mut bytes, description.feature_names.len());
    for name in &description.feature_names {
        put_text(&mut bytes, name);
    }
    put_text(&mut bytes, &description.objective);
    bytes.extend(description.trees.to_le_bytes());
    bytes.extend(description.outputs.to_le_bytes());
    bytes.push(u8::from(description.training_window.is_some()));
    if let Some((start, end)) = &description.training_window {
        put_text(&mut bytes, start);
        put_text(&mut bytes, end);
    }
    bytes.resize(bytes.len().next_multiple_of(LINE), 0);
    let offset = bytes.len() as u64;
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(image);
    bytes
}

/// Takes a bundle apart again. The image is not checked: that is [`Forest::new`](crate::Forest::new)'s.
///
/// # Errors
/// The bytes are no bundle, or end inside it.
pub fn decode(bytes: &[u8]) -> Result<(Description, &[u8]), ImageError> {
    let mut reader = Reader(bytes);
    if reader.take::<8>()? != MAGIC {
        return Err(ImageError("not a scorer bundle of this version"));
    }
    let offset = usize::try_from(u64::from_le_bytes(reader.take()?))
        .map_err(|_| ImageError("image of the bundle out of range"))?;
    let model_version = reader.text()?;
    let names = reader.count()?;
    // A name takes at least the four bytes of its length: bounds what is reserved.
    let mut feature_names = Vec::with_capacity(names.min(reader.0.len() / 4));
    for _ in 0..names {
        feature_names.push(reader.text()?);
    }
    let objective = reader.text()?;
    let trees = u32::from_le_bytes(reader.take()?);
    let outputs = u32::from_le_bytes(reader.take()?);
    let training_window = match reader.take::<1>()? {
        [0] => None,
        [1] => Some((reader.text()?, reader.text()?)),
        _ => return Err(ImageError("training window of the bundle is malformed")),
    };
    let read = bytes.len() - reader.0.len();
    if offset != read.next_multiple_of(LINE) || offset > bytes.len() {
        return Err(ImageError("image of the bundle out of range"));
    }
    let description = Description {
        model_version,
        feature_names,
        objective,
        trees,
        outputs,
        training_window,
    };
    Ok((description, &bytes[offset..]))
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("documented: texts and lists are below 4 GiB");
    bytes.extend(count.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_count(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ImageError("bundle ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn count(&mut self) -> Result<usize, ImageError> {
        Ok(u32::from_le_bytes(self.take()?) as usize)
    }

    fn text(&mut self) -> Result<String, ImageError> {
        let length = self.count()?;
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(ImageError("bundle ends too early"))?;
        self.0 = rest;
        let text = core::str::from_utf8(text);
        Ok(text.map_err(|_| ImageError("text of the bundle is not UTF-8"))?.into())
    }
}
