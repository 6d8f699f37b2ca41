//! Parser of LightGBM's text model (`src/boosting/gbdt_model_text.cpp`, `src/io/tree.cpp`).
//!
//! A header of `key=value` lines and bare flags, the trees one after the other (at the byte offsets
//! `tree_sizes` gives, where it is present), then sections that predicting does not need. What
//! LightGBM itself would read out of bounds, or would guess at, is refused here.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::Model;
use crate::model::Tree;
use crate::objective::Conversion;

mod fields;
mod tree;

use fields::{Field, Fields};

/// Longest text accepted, so that every count fits 32 bits.
const MAX_TEXT_BYTES: usize = 1 << 30;
/// Most outputs a row accepted: bounds what a caller allocates for a model of few trees.
pub(crate) const MAX_OUTPUTS: usize = 1 << 16;

/// Why a text is not a model: where, which key, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    line: usize,
    key: String,
    problem: String,
}

impl ParseError {
    pub(crate) fn new(line: usize, key: &str, problem: impl Into<String>) -> ParseError {
        ParseError {
            line,
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// Line of the text, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The key (or `Tree=`, `tree`) that is wrong or missing.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.key, self.problem)
    }
}

impl core::error::Error for ParseError {}

/// The lines of a text. Ends of line are `\n` or `\r\n`.
struct Lines<'t> {
    text: &'t [u8],
    /// Byte offset of the next line.
    offset: usize,
    /// Number of the next line, from 1.
    number: usize,
}

impl<'t> Lines<'t> {
    /// The next line without moving on: the line, and the offset behind its end.
    fn peek(&self) -> Option<(&'t [u8], usize)> {
        let rest = &self.text[self.offset..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.iter().position(|&byte| byte == b'\n');
        let line = &rest[..length.unwrap_or(rest.len())];
        let next = self.offset + length.map_or(rest.len(), |length| length + 1);
        Some((line.strip_suffix(b"\r").unwrap_or(line), next))
    }

    fn advance(&mut self, next: usize) {
        self.offset = next;
        self.number += 1;
    }

    fn skip_blank(&mut self) {
        while let Some((b"", next)) = self.peek() {
            self.advance(next);
        }
    }
}

pub(crate) fn model(text: &[u8]) -> Result<Model, ParseError> {
    if text.len() > MAX_TEXT_BYTES {
        let problem = format!("{} bytes: at most {MAX_TEXT_BYTES} are read", text.len());
        return Err(ParseError::new(1, "tree", problem));
    }
    let mut lines = Lines {
        text,
        offset: 0,
        number: 1,
    };
    check_first_line(&mut lines)?;
    let header = read_header(&mut lines)?;
    let outputs = read_outputs(&header)?;
    let feature_names = read_feature_names(&header)?;
    let (objective, conversion) = read_objective(&header, outputs)?;
    let trees = match header.get("tree_sizes") {
        Some(sizes) => trees_by_size(&mut lines, &sizes, feature_names.len())?,
        None => trees_by_scan(&mut lines, feature_names.len())?,
    };
    if !trees.len().is_multiple_of(outputs) {
        let problem = format!("{} trees are no multiple of {outputs} outputs", trees.len());
        return Err(ParseError::new(lines.number, "Tree=", problem));
    }
    let average_output = header.get("average_output").is_some();
    Ok(Model {
        text_bytes: text.len(),
        outputs,
        feature_names,
        objective,
        conversion,
        average_output,
        trees,
    })
}

fn check_first_line(lines: &mut Lines) -> Result<(), ParseError> {
    lines.skip_blank();
    match lines.peek() {
        Some((b"tree", next)) => {
            lines.advance(next);
            Ok(())
        }
        _ => Err(ParseError::new(
            lines.number,
            "tree",
            "not a LightGBM text model: its first line must be `tree`",
        )),
    }
}

/// Everything before the first tree; the reader is left at that tree.
fn read_header<'t>(lines: &mut Lines<'t>) -> Result<Fields<'t>, ParseError> {
    const KEYS: &[&str] = &[
        "num_class",
        "num_tree_per_iteration",
        "max_feature_idx",
        "objective",
        "average_output",
        "feature_names",
        "tree_sizes",
    ];
    let mut header = Fields::new(KEYS, lines.number);
    while let Some((line, next)) = lines.peek() {
        if line.starts_with(b"Tree=") || line == b"end of trees" {
            break;
        }
        header.add(line, lines.number)?;
        lines.advance(next);
    }
    Ok(header)
}

fn read_outputs(header: &Fields) -> Result<usize, ParseError> {
    let class = header.require("num_class")?;
    let classes: usize = class.number("a number of classes")?;
    let field = header.get("num_tree_per_iteration").unwrap_or(class);
    let outputs: usize = field.number("a number of trees an iteration")?;
    if outputs == 0 || outputs > MAX_OUTPUTS {
        return Err(field.error(format!("{outputs}: expected 1 to {MAX_OUTPUTS}")));
    }
    if outputs != classes {
        return Err(field.error(format!("{outputs}: expected num_class, which is {classes}")));
    }
    Ok(outputs)
}

fn read_feature_names(header: &Fields) -> Result<Vec<String>, ParseError> {
    let last: usize = header.require("max_feature_idx")?.number("a feature number")?;
    let field = header.require("feature_names")?;
    let text = field.text()?;
    let names: Vec<String> = text
        .split(' ')
        .filter(|name| !name.is_empty())
        .map(ToString::to_string)
        .collect();
    if last.checked_add(1) != Some(names.len()) {
        let found = names.len();
        return Err(field.error(format!(
            "{found} names: expected max_feature_idx + 1 of them, with max_feature_idx {last}"
        )));
    }
    Ok(names)
}

fn read_objective(header: &Fields, outputs: usize) -> Result<(String, Conversion), ParseError> {
    let Some(field) = header.get("objective") else {
        return Ok((String::new(), Conversion::Identity));
    };
    let text = field.text()?;
    let conversion = Conversion::from_objective(text, outputs)
        .map_err(|expected| field.error(format!("`{text}`: expected {expected}")))?;
    Ok((text.to_owned(), conversion))
}

/// Trees at the offsets the header promises: a file cut short or edited is noticed.
fn trees_by_size(lines: &mut Lines, field: &Field, features: usize) -> Result<Vec<Tree>, ParseError> {
    let sizes: Vec<usize> = field.numbers(None, "a size in bytes")?;
    let mut start = lines.offset;
    let mut trees = Vec::with_capacity(sizes.len());
    for (number, size) in sizes.iter().enumerate() {
        lines.skip_blank();
        if start != lines.offset || lines.peek().is_none() {
            let at = lines.number;
            let problem = format!(
                "tree {number} must start at byte {start}, the text goes on at byte {} (line {at}): the model is cut short or was edited",
                lines.offset
            );
            return Err(field.error(problem));
        }
        trees.push(next_tree(lines, features)?);
        start = start.saturating_add(*size);
    }
    // The last tree, too, must be as long as promised: it is what a truncation hits.
    if start > lines.text.len() {
        let length = lines.text.len();
        let problem = format!("the trees end at byte {start}, the text at byte {length}: the model is cut short");
        return Err(field.error(problem));
    }
    if trees.is_empty() {
        // Nothing but its end tells a model without trees from a text cut inside this line.
        return trees_by_scan(lines, features);
    }
    lines.skip_blank();
    if lines.peek().is_some_and(|(line, _)| line.starts_with(b"Tree=")) {
        let problem = format!("expected no further tree: tree_sizes lists {}", trees.len());
        return Err(ParseError::new(lines.number, "Tree=", problem));
    }
    Ok(trees)
}

/// Trees one after the other, to the line `end of trees`.
fn trees_by_scan(lines: &mut Lines, features: usize) -> Result<Vec<Tree>, ParseError> {
    let mut trees = Vec::new();
    loop {
        lines.skip_blank();
        match lines.peek() {
            Some((line, _)) if line.starts_with(b"Tree=") => {
                trees.push(next_tree(lines, features)?);
            }
            Some((b"end of trees" | b"feature importances:" | b"feature_importances:", _)) => {
                return Ok(trees);
            }
            _ => {
                let problem = "expected a line `Tree=N` or `end of trees`: the model is cut short";
                return Err(ParseError::new(lines.number, "end of trees", problem));
            }
        }
    }
}

/// The tree whose `Tree=` line comes next; its lines end at the first blank one.
fn next_tree(lines: &mut Lines, features: usize) -> Result<Tree, ParseError> {
    match lines.peek() {
        Some((line, next)) if line.starts_with(b"Tree=") => lines.advance(next),
        _ => {
            return Err(ParseError::new(lines.number, "Tree=", "expected a line `Tree=N`"));
        }
    }
    let mut fields = Fields::new(tree::KEYS, lines.number);
    while let Some((line, next)) = lines.peek() {
        if line.is_empty() {
            break;
        }
        fields.add(line, lines.number)?;
        lines.advance(next);
    }
    tree::tree(&fields, features)
}
