//! The bytes of a file as the lines that LightGBM wrote.
//!
//! Version control, editors and spreadsheets change line ends and put a byte order mark in front. LightGBM measures its
//! trees in bytes and cannot read such a file any more, although nothing is lost: here it is changed back.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::error::{ParseError, excerpt};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// First line of every text model.
const FIRST_LINE: &[u8] = b"tree";
const REMEDY: &str = "a text model begins with the line `tree`, as Booster.save_model writes it";

/// The text; each line ends in one `\n`.
///
/// A byte order mark is left out, and so are NULs behind the end: a buffer of C is often written with its terminator.
///
/// # Errors
/// What is no text model, by what it is instead; a NUL inside.
pub(super) fn unix(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ParseError> {
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    check_first_line(text)?;
    let end = text.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let text = &text[..end];
    if let Some(at) = text.iter().position(|&byte| byte == 0) {
        let before = unix_line_ends(&text[..at]);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        return Err(ParseError::new(line, "tree", "a NUL is no text: the file is damaged"));
    }
    Ok(unix_line_ends(text))
}

/// `\n` for every `\r\n`, also where the `\r` was doubled, and for a `\r` alone, at which LightGBM ends a line, too.
fn unix_line_ends(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\r') {
        return Cow::Borrowed(text);
    }
    let mut unix = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\r') {
        unix.extend_from_slice(&rest[..at]);
        let returns = rest[at..].iter().take_while(|&&byte| byte == b'\r').count();
        rest = &rest[at + returns..];
        match rest.strip_prefix(b"\n") {
            Some(behind) => {
                unix.push(b'\n');
                rest = behind;
            }
            None => unix.extend(core::iter::repeat_n(b'\n', returns)),
        }
    }
    unix.extend_from_slice(rest);
    Cow::Owned(unix)
}

fn check_first_line(text: &[u8]) -> Result<(), ParseError> {
    let mut lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
    let (number, first) = (1..)
        .zip(&mut lines)
        .find(|(_, line)| !line.trim_ascii().is_empty())
        .unwrap_or((1, b""));
    if first.trim_ascii_end() == FIRST_LINE {
        return Ok(());
    }
    let problem = match kind(text) {
        Some(kind) => format!("not a LightGBM text model but {kind}; {REMEDY}"),
        None => format!(
            "not a LightGBM text model: its first line is `{}`; {REMEDY}",
            excerpt(first)
        ),
    };
    Err(ParseError::new(number, "tree", problem))
}

/// What a file is, by its first bytes; `None` for other text.
fn kind(text: &[u8]) -> Option<String> {
    const KINDS: &[(&[u8], &str)] = &[
        (b"\x1F\x8B", "compressed by gzip: unpack it first"),
        (b"\x28\xB5\x2F\xFD", "compressed by zstd: unpack it first"),
        (b"\x04\x22\x4D\x18", "compressed by lz4: unpack it first"),
        (b"BZh", "compressed by bzip2: unpack it first"),
        (b"\xFD7zXZ\0", "compressed by xz: unpack it first"),
        (b"PK\x03\x04", "a zip archive: unpack it first"),
        (b"\xFF\xFE", "text in UTF-16: save it as UTF-8"),
        (b"\xFE\xFF", "text in UTF-16: save it as UTF-8"),
        (b"PAR1", "a Parquet file"),
        (b"\0asm", "a WebAssembly module: it is compiled already"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"______LightGBM_Binary_File_Token______", "a LightGBM data set"),
        (b"binf", "an XGBoost model"),
        (
            b"version https://git-lfs",
            "a pointer of Git LFS: fetch what it stands for (git lfs pull)",
        ),
        (b"<?xml", "XML"),
        (b"<!", "a web page"),
        (b"<html", "a web page"),
    ];
    if text.trim_ascii().is_empty() {
        return Some("an empty file".into());
    }
    let known = KINDS.iter().find(|(magic, _)| text.starts_with(magic));
    if let Some((_, kind)) = known {
        return Some((*kind).into());
    }
    match text.trim_ascii_start() {
        [0x80, 2..=5, ..] => Some("a Python pickle (joblib): load it in Python and save its booster_".into()),
        [b'{' | b'[', ..] => Some("JSON (dump_model?), which LightGBM itself cannot read back".into()),
        [b'"', ..] => Some("a quoted string (model_to_string in JSON?): write the string itself".into()),
        text if text.contains(&0) => Some("a binary file".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn every_kind_of_line_end_becomes_a_newline() {
        for (given, unix) in [
            ("tree\na\n\nb", "tree\na\n\nb"),
            ("tree\r\na\r\n\r\nb", "tree\na\n\nb"),
            ("tree\ra\r\rb", "tree\na\n\nb"),
            ("tree\r\r\na\r\r\n\r\r\nb\r", "tree\na\n\nb\n"),
            ("tree\r\na\n\r\nb", "tree\na\n\nb"),
            ("\u{feff}tree\n\0\0", "tree\n"),
        ] {
            assert_eq!(super::unix(given.as_bytes()).unwrap(), unix.as_bytes(), "{given:?}");
        }
    }
}
