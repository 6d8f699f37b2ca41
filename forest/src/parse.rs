//! Parser of LightGBM's text model (`src/boosting/gbdt_model_text.cpp`, `src/io/tree.cpp`).
//!
//! A header of `key=value` lines and bare flags, the trees one after the other (at the byte offsets
//! `tree_sizes` gives, where it is present), then sections that predicting does not need. What
//! LightGBM itself would read out of bounds, or would guess at, is refused here.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::Model;
use crate::model::Tree;
use crate::objective::Conversion;

mod error;
mod fields;
mod text;
mod tree;

pub use error::ParseError;
use error::excerpt;
use fields::{Field, Fields};

/// Longest text accepted, so that every count fits 32 bits.
const MAX_TEXT_BYTES: usize = 1 << 30;
/// Most outputs a row accepted: bounds what a caller allocates for a model of few trees.
pub(crate) const MAX_OUTPUTS: usize = 1 << 16;

/// How a tree's first line begins.
const TREE: &[u8] = b"Tree=";
/// The line behind the last tree; the older formats go on with the importances.
const END_OF_TREES: [&[u8]; 3] = [b"end of trees", b"feature importances:", b"feature_importances:"];

/// The lines of a text, each without its `\n` and without the blanks around it.
#[derive(Clone, Copy)]
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
        Some((line.trim_ascii(), next))
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

impl Model {
    /// Parses the text LightGBM writes with `save_model` (versions 3 and 4; files of version 2 too).
    ///
    /// Memory is bounded by a small multiple of the text's length.
    ///
    /// # Errors
    /// Says the line, the key and what was expected there.
    pub fn parse(text: &[u8]) -> Result<Model, ParseError> {
        model(text)
    }
}

fn model(text: &[u8]) -> Result<Model, ParseError> {
    if text.len() > MAX_TEXT_BYTES {
        let problem = format!("{} bytes: at most {MAX_TEXT_BYTES} are read", text.len());
        return Err(ParseError::new(1, "tree", problem));
    }
    let text = &text::unix(text)?;
    let mut lines = Lines {
        text,
        offset: 0,
        number: 1,
    };
    let header = read_header(&mut lines)?;
    let outputs = read_outputs(&header)?;
    let feature_names = read_feature_names(&header)?;
    let (objective, conversion) = read_objective(&header, outputs)?;
    check_version(&header)?;
    let trees = read_trees(&mut lines, header.get("tree_sizes"), feature_names.len())?;
    if !trees.len().is_multiple_of(outputs) {
        let problem = format!("{} trees are no multiple of {outputs} outputs", trees.len());
        return Err(ParseError::new(lines.number, "Tree=", problem));
    }
    check_parameters(lines)?;
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
        "version",
    ];
    let mut header = Fields::new(KEYS, lines.number);
    while let Some((line, next)) = lines.peek() {
        if line.starts_with(TREE) || END_OF_TREES.contains(&line) {
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
    // LightGBM trains on no such names, and rows could not be matched to them.
    let mut columns = BTreeMap::new();
    for (column, name) in names.iter().enumerate() {
        if let Some(first) = columns.insert(name.as_str(), column) {
            let name = excerpt(name.as_bytes());
            return Err(field.error(format!(
                "`{name}` is column {first} and column {column}: expected names that differ"
            )));
        }
    }
    Ok(names)
}

fn read_objective(header: &Fields, outputs: usize) -> Result<(String, Conversion), ParseError> {
    let Some(field) = header.get("objective") else {
        return Ok((String::new(), Conversion::Identity));
    };
    let text = field.text()?;
    let conversion = Conversion::from_objective(text, outputs).map_err(|expected| field.expected(&expected))?;
    Ok((text.to_owned(), conversion))
}

/// LightGBM does not look at the version. What a later one means by its keys cannot be known, though.
fn check_version(header: &Fields) -> Result<(), ParseError> {
    match header.get("version") {
        Some(field) if !matches!(field.value, b"v2" | b"v3" | b"v4") => {
            Err(field.expected("v2, v3 or v4, the formats that are known"))
        }
        _ => Ok(()),
    }
}

/// What is there between the header and the line that ends the trees.
struct Extent {
    /// Lines `Tree=N`.
    trees: usize,
    ended: bool,
    /// The text's last line, or the one that ends the trees.
    last_line: usize,
}

impl Extent {
    fn of(mut lines: Lines) -> Extent {
        let mut extent = Extent {
            trees: 0,
            ended: false,
            last_line: lines.number,
        };
        while let (false, Some((line, next))) = (extent.ended, lines.peek()) {
            extent.trees += usize::from(line.starts_with(TREE));
            extent.ended = END_OF_TREES.contains(&line);
            extent.last_line = lines.number;
            lines.advance(next);
        }
        extent
    }
}

/// The trees, one after the other, to the line that ends them. Sizes in bytes, where the header has them, and the
/// trees' numbers tell a text that was cut or edited.
fn read_trees(lines: &mut Lines, sizes: Option<Field>, features: usize) -> Result<Vec<Tree>, ParseError> {
    lines.skip_blank();
    let extent = Extent::of(*lines);
    let sizes: Option<(Field, Vec<usize>)> = match sizes {
        Some(field) => Some((field, field.numbers(None, "a size in bytes")?)),
        None => None,
    };
    if let Some((field, sizes)) = &sizes
        && sizes.len() != extent.trees
    {
        let (listed, found) = (sizes.len(), extent.trees);
        return Err(field.error(format!(
            "lists {listed} trees, the text has {found}: trees were taken out, put in or cut off; save the model once more"
        )));
    }
    if !extent.ended {
        let problem = "no such line behind the last tree: the model is cut short";
        return Err(ParseError::new(extent.last_line, "end of trees", problem));
    }
    let mut trees = Vec::new();
    for number in 0..extent.trees {
        let (start, first_line) = (lines.offset, lines.number);
        trees.push(next_tree(lines, number, features)?);
        let end = lines.offset;
        lines.skip_blank();
        if let Some((field, sizes)) = &sizes {
            let promised = start.saturating_add(sizes[number]);
            // LightGBM goes to where the next tree must begin. The last one ends in two blank lines, like every other,
            // whatever follows.
            let fits = promised == lines.offset || number + 1 == sizes.len() && promised == end.saturating_add(2);
            if !fits {
                return Err(field.error(format!(
                    "says that tree {number} (line {first_line}) has {} bytes, it has {}: the text was edited; \
                     save the model once more, or take the line tree_sizes out if the change was meant",
                    sizes[number],
                    lines.offset - start
                )));
            }
        }
    }
    match lines.peek() {
        Some((line, _)) if END_OF_TREES.contains(&line) => Ok(trees),
        other => Err(stray_line(lines.number, other, "`end of trees`")),
    }
}

/// The tree whose `Tree=` line comes next; its lines end at the first blank one.
fn next_tree(lines: &mut Lines, number: usize, features: usize) -> Result<Tree, ParseError> {
    match lines.peek() {
        Some((line, next)) if line.strip_prefix(TREE).is_some_and(|found| is_number(found, number)) => {
            lines.advance(next);
        }
        other => return Err(stray_line(lines.number, other, &format!("`Tree={number}`"))),
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

fn is_number(text: &[u8], number: usize) -> bool {
    core::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) == Some(number)
}

fn stray_line(number: usize, line: Option<(&[u8], usize)>, expected: &str) -> ParseError {
    let line = line.map_or(String::new(), |(line, _)| excerpt(line));
    let problem =
        format!("`{line}`: expected {expected}: trees are missing, doubled or out of order, or the text was edited");
    ParseError::new(number, "Tree=", problem)
}

/// LightGBM's own sections behind the trees are not needed, but what stands behind them in turn may be: a text that
/// ends inside them is cut short.
fn check_parameters(mut lines: Lines) -> Result<(), ParseError> {
    let mut open = false;
    while let Some((line, next)) = lines.peek() {
        open = match line {
            b"parameters:" => true,
            b"end of parameters" => false,
            _ => open,
        };
        lines.advance(next);
    }
    if open {
        let problem = "no such line behind `parameters:`: the model is cut short";
        return Err(ParseError::new(lines.number - 1, "end of parameters", problem));
    }
    Ok(())
}
