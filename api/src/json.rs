//! A parser for untrusted JSON: it limits depth and size, refuses duplicate names, and gives each
//! field separately, so that an error can name its place.
//!
//! A parsed body is one flat list of its values and names, in the order of the text. A request with
//! a hundred lawyers has two thousand of them; a tree would need hundreds of allocations.
//!
//! The text is read by sonic-rs; the list is our own. The libraries fill types or build trees. None
//! of them limits depth by a setting, counts values before they are allocated, and refuses a
//! duplicate name wherever it is.

mod reason;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::refusal::{Invalid, Malformed, shortened};

/// Maximum number of values in one body, names included. A body of 8 MiB can hold four million,
/// which take half a gigabyte as a tree. The largest well-formed request (10,000 lawyers with
/// eleven features) has less than 300,000.
const MAX_VALUES: usize = 1_000_000;
/// Up to this many names, comparing them with each other is faster than hashing them.
const FEW: usize = 24;

/// A parsed body. Its values borrow the text.
pub struct Document<'a> {
    entries: Vec<Entry<'a>>,
}

/// One value. The contents of an array or an object follow it in the list.
#[derive(Clone, Debug)]
enum Entry<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// `len` counts the elements, `span` the entries of the whole array, this one included.
    Array {
        len: u32,
        span: u32,
    },
    /// `len` counts the names, each followed by its value; `span` is as for an array.
    Object {
        len: u32,
        span: u32,
    },
}

impl Entry<'_> {
    /// The number of entries of this value, contents included.
    fn span(&self) -> usize {
        match self {
            Entry::Array { span, .. } | Entry::Object { span, .. } => *span as usize,
            _ => 1,
        }
    }
}

/// A value of a [`Document`].
#[derive(Clone, Copy)]
pub struct Json<'d> {
    /// This value and all entries after it.
    entries: &'d [Entry<'d>],
}

impl<'a> Document<'a> {
    /// Parses a body of exactly one value.
    ///
    /// # Errors
    /// 400 for a body that is not UTF-8 or not JSON, nests deeper than `max_depth`
    /// (`host.max_json_depth`), has more than `MAX_VALUES` values, or has a name twice in an
    /// object.
    pub fn parse(body: &'a [u8], max_depth: usize) -> Result<Document<'a>, Malformed> {
        Document::read(body, max_depth, |text, reader| {
            let mut deserializer = sonic_rs::Deserializer::from_str(text);
            let read = reader.value(&mut deserializer).and_then(|()| deserializer.end());
            read.map_err(|error| (error.line(), error.column()))
        })
    }

    /// Parses any number of values separated by white space, such as NDJSON.
    ///
    /// # Errors
    /// Like [`Document::parse`].
    pub fn parse_many(body: &'a [u8], max_depth: usize) -> Result<Document<'a>, Malformed> {
        Document::read(body, max_depth, |text, reader| {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            // `end` fails only if more than white space follows.
            while deserializer.end().is_err() {
                let read = reader.value(&mut deserializer);
                read.map_err(|error| (error.line(), error.column()))?;
            }
            Ok(())
        })
    }

    /// Parses `body` with `read`, whose error is a line and a column.
    fn read(
        body: &'a [u8],
        max_depth: usize,
        read: impl FnOnce(&'a str, &mut Reader<'a>) -> Result<(), (usize, usize)>,
    ) -> Result<Document<'a>, Malformed> {
        let text = std::str::from_utf8(body).map_err(|error| {
            Malformed::new(
                "invalid_utf8",
                format!("the body is not UTF-8 at byte {}", error.valid_up_to()),
            )
        })?;
        let mut reader = Reader {
            // An estimate: most names and numbers take more than 8 bytes of text.
            entries: Vec::with_capacity((body.len() / 8).min(MAX_VALUES)),
            max_depth,
            refused: None,
        };
        match read(text, &mut reader) {
            Ok(()) => Ok(Document {
                entries: reader.entries,
            }),
            Err((line, column)) => Err(match reader.refused {
                Some(Malformed { code, message }) => {
                    Malformed::new(code, format!("{message} at line {line} column {column}"))
                }
                None => reason::malformed(text),
            }),
        }
    }

    /// The first value.
    ///
    /// # Panics
    /// If there is none; a document from [`Document::parse`] has one.
    pub fn root(&self) -> Json<'_> {
        self.roots().next().expect("a document has a value")
    }

    /// All top-level values, in order.
    pub fn roots(&self) -> impl Iterator<Item = Json<'_>> {
        let mut next = Json { entries: &self.entries };
        std::iter::from_fn(move || {
            let json = next;
            (!json.entries.is_empty()).then(|| {
                next = json.next();
                json
            })
        })
    }
}

impl<'d> Json<'d> {
    fn entry(&self) -> &'d Entry<'d> {
        &self.entries[0]
    }

    /// The entries after this value and its contents.
    fn next(self) -> Json<'d> {
        Json {
            entries: &self.entries[self.entry().span()..],
        }
    }

    /// The entries after this one, beginning with its contents if it has any.
    fn inner(self) -> Json<'d> {
        Json {
            entries: &self.entries[1..],
        }
    }

    /// Converts the value to a tree.
    pub fn to_value(self) -> Value {
        match self.entry() {
            Entry::Null => Value::Null,
            Entry::Bool(value) => Value::Bool(*value),
            Entry::Unsigned(value) => Value::from(*value),
            Entry::Signed(value) => Value::from(*value),
            Entry::Float(value) => Value::from(*value),
            Entry::Text(text) => Value::String(text.clone().into_owned()),
            Entry::Array { len, .. } => elements(self.inner(), *len).map(Json::to_value).collect(),
            Entry::Object { len, .. } => {
                let fields = fields(self.inner(), *len);
                Value::Object(fields.map(|(name, json)| (name.to_owned(), json.to_value())).collect())
            }
        }
    }

    /// The text of a string, with its escapes resolved.
    ///
    /// # Errors
    /// The value is not a string.
    pub fn string(self) -> Result<&'d str, Invalid> {
        match self.entry() {
            Entry::Text(text) => Ok(text),
            _ => Err(Invalid::new(self, "a string")),
        }
    }

    /// The elements of an array, in the order of the text.
    ///
    /// # Errors
    /// The value is not an array.
    pub fn array(self) -> Result<impl ExactSizeIterator<Item = Json<'d>>, Invalid> {
        match self.entry() {
            Entry::Array { len, .. } => Ok(elements(self.inner(), *len)),
            _ => Err(Invalid::new(self, "an array")),
        }
    }

    /// Names and values, in the order of the text.
    ///
    /// # Errors
    /// The value is not an object.
    pub fn object(self) -> Result<impl ExactSizeIterator<Item = (&'d str, Json<'d>)>, Invalid> {
        match self.entry() {
            Entry::Object { len, .. } => Ok(fields(self.inner(), *len)),
            _ => Err(Invalid::new(self, "an object")),
        }
    }

    /// The fields of an object, in the order of `names`, which lists all allowed names.
    ///
    /// # Errors
    /// For a value that is not an object, and for a name that is not among `names`.
    pub fn fields<const N: usize>(self, names: &[&'static str; N]) -> Result<[Field<'d>; N], Invalid> {
        let mut found = names.map(|name| Field { name, json: None });
        self.find(names, &mut found)?;
        Ok(found)
    }

    /// Like [`Json::fields`], for names that are not known to the compiler.
    ///
    /// # Errors
    /// Those of [`Json::fields`].
    pub fn fields_of(self, names: &[&'static str]) -> Result<Vec<Field<'d>>, Invalid> {
        let mut found: Vec<Field<'d>> = names.iter().map(|&name| Field { name, json: None }).collect();
        self.find(names, &mut found)?;
        Ok(found)
    }

    fn find(self, names: &[&'static str], found: &mut [Field<'d>]) -> Result<(), Invalid> {
        for (at, (name, json)) in self.object()?.enumerate() {
            let Some(at) = position(names, at, name) else {
                let allowed = format!("only the fields {}", names.join(", "));
                return Err(Invalid::new(json, allowed).under(name));
            };
            found[at].json = Some(json);
        }
        Ok(())
    }

    /// An integer from 0 to `most`, both included. `1.0` and `1e3` are not integers.
    ///
    /// # Errors
    /// The value is not a number, is not written as an integer, or is out of range.
    pub fn unsigned(self, most: u64) -> Result<u64, Invalid> {
        match self.entry() {
            Entry::Unsigned(value) if *value <= most => Ok(*value),
            _ => Err(Invalid::new(self, format!("an integer from 0 to {most}"))),
        }
    }

    /// A number that `grammar::is_number` allows, or `NaN` for `null`.
    ///
    /// # Errors
    /// The value is neither a number nor `null`, or the number is out of range.
    pub fn number_or_missing(self) -> Result<f64, Invalid> {
        let number = match self.entry() {
            Entry::Null => return Ok(f64::NAN),
            Entry::Float(value) => *value,
            Entry::Unsigned(value) => *value as f64,
            Entry::Signed(value) => *value as f64,
            _ => return Err(Invalid::new(self, "a number, or null where it is missing")),
        };
        if grammar::is_number(number) {
            Ok(number)
        } else {
            Err(Invalid::new(
                self,
                format!("{}, or null where it is missing", grammar::NUMBER),
            ))
        }
    }

    /// Whether the value is `null`. For fields, see [`Field::optional`].
    pub fn is_null(self) -> bool {
        matches!(self.entry(), Entry::Null)
    }
}

/// Formats a value for an error message: text is cut, arrays and objects show only their length.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Entry::Null => f.write_str("null"),
            Entry::Bool(value) => write!(f, "{value}"),
            Entry::Unsigned(value) => write!(f, "{value}"),
            Entry::Signed(value) => write!(f, "{value}"),
            Entry::Float(value) => write!(f, "{}", Value::from(*value)),
            Entry::Text(value) => write!(f, "{:?}", value.chars().take(100).collect::<String>()),
            Entry::Array { len, .. } => write!(f, "an array of {len}"),
            Entry::Object { len, .. } => write!(f, "an object of {len}"),
        }
    }
}

/// A field that an object may have.
#[derive(Clone, Copy)]
pub struct Field<'d> {
    name: &'static str,
    json: Option<Json<'d>>,
}

impl<'d> Field<'d> {
    /// The value, which may be `null`.
    ///
    /// # Errors
    /// The object does not have the field.
    pub fn required(self) -> Result<Json<'d>, Invalid> {
        self.json.ok_or_else(|| Invalid::missing().under(self.name))
    }

    /// The value; `None` if it is absent or `null`.
    pub fn optional(self) -> Option<Json<'d>> {
        self.json.filter(|json| !json.is_null())
    }

    /// Converts the value with `read`, and adds the field's name to an error of `read`.
    ///
    /// # Errors
    /// The object does not have the field, or `read` refuses it.
    pub fn read<T>(self, read: impl FnOnce(Json<'d>) -> Result<T, Invalid>) -> Result<T, Invalid> {
        read(self.required()?).map_err(|invalid| invalid.under(self.name))
    }

    /// Like [`Field::read`]; `None` if the field is absent or `null`.
    ///
    /// # Errors
    /// `read` refuses it.
    pub fn read_optional<T>(self, read: impl FnOnce(Json<'d>) -> Result<T, Invalid>) -> Result<Option<T>, Invalid> {
        let json = self.optional().map(read).transpose();
        json.map_err(|invalid| invalid.under(self.name))
    }
}

/// The index of `name` in `names`. Most senders keep the documented order, so the name at
/// `expected` is compared first.
pub fn position(names: &[impl AsRef<str>], expected: usize, name: &str) -> Option<usize> {
    if names.get(expected).is_some_and(|known| known.as_ref() == name) {
        return Some(expected);
    }
    names.iter().position(|known| known.as_ref() == name)
}

fn elements(mut next: Json<'_>, len: u32) -> impl ExactSizeIterator<Item = Json<'_>> {
    (0..len as usize).map(move |_| {
        let json = next;
        next = json.next();
        json
    })
}

fn fields(mut next: Json<'_>, len: u32) -> impl ExactSizeIterator<Item = (&str, Json<'_>)> {
    (0..len as usize).map(move |_| {
        let name = name(next.entry());
        let json = next.inner();
        next = json.next();
        (name.as_ref(), json)
    })
}

/// The state of parsing.
struct Reader<'a> {
    entries: Vec<Entry<'a>>,
    max_depth: usize,
    /// The broken rule, if it is one beyond JSON's grammar.
    refused: Option<Malformed>,
}

impl<'a> Reader<'a> {
    /// Reads one value.
    fn value<D: Deserializer<'a>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        Node { reader: self, depth: 0 }.deserialize(deserializer)
    }
}

/// The place of the value that is read next.
struct Node<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// Arrays and objects around this value.
    depth: usize,
}

impl<'a> Node<'_, 'a> {
    // Without this, the compiler emits a call per value, which takes a tenth of the parsing time.
    #[inline(always)]
    fn push<E: Error>(self, entry: Entry<'a>) -> Result<(), E> {
        if self.reader.entries.len() == MAX_VALUES {
            return self.refuse("too_many_values", format!("more than {MAX_VALUES} values"));
        }
        self.reader.entries.push(entry);
        Ok(())
    }

    #[cold]
    fn refuse<T, E: Error>(self, code: &'static str, message: String) -> Result<T, E> {
        self.reader.refused = Some(Malformed::new(code, message));
        Err(E::custom(code))
    }

    /// The place of a value inside this one.
    fn inner(&mut self) -> Node<'_, 'a> {
        Node {
            reader: self.reader,
            depth: self.depth + 1,
        }
    }

    /// Reserves the entry of an array or an object and returns its index. Both parsers also have
    /// depth limits of their own, 127 and 255: above the largest configurable depth, and far below
    /// a stack overflow.
    fn open<E: Error>(&mut self) -> Result<usize, E> {
        let max_depth = self.reader.max_depth;
        if self.depth == max_depth {
            let message = format!("nested deeper than {max_depth} levels (host.max_json_depth)");
            return self.inner().refuse("too_deep", message);
        }
        let at = self.reader.entries.len();
        self.inner().push(Entry::Null)?;
        Ok(at)
    }

    /// Fills the entry that [`Node::open`] reserved.
    fn close(self, at: usize, whole: impl FnOnce(u32) -> Entry<'a>) {
        let entries = &mut self.reader.entries;
        let span = u32::try_from(entries.len() - at).expect("there are at most MAX_VALUES");
        entries[at] = whole(span);
    }
}

impl<'a> DeserializeSeed<'a> for Node<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Node<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.push(Entry::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.push(Entry::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.push(Entry::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.push(Entry::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if !value.is_finite() {
            return self.refuse("invalid_json", reason::TOO_LARGE.to_owned());
        }
        self.push(Entry::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'a str) -> Result<(), E> {
        self.push(Entry::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.push(Entry::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let at = self.open()?;
        let mut len = 0;
        while elements.next_element_seed(self.inner())?.is_some() {
            len += 1;
        }
        self.close(at, |span| Entry::Array { len, span });
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let at = self.open()?;
        let mut names = Names::new(at + 1);
        let mut len = 0;
        loop {
            let name = self.reader.entries.len();
            if entries.next_key_seed(self.inner())?.is_none() {
                break;
            }
            if names.is_duplicate(&self.reader.entries, name) {
                let name = shortened(self::name(&self.reader.entries[name]));
                let message = format!("duplicate name {name:?}; allowed: each name once in an object");
                return self.inner().refuse("doubled_name", message);
            }
            entries.next_value_seed(self.inner())?;
            len += 1;
        }
        self.close(at, |span| Entry::Object { len, span });
        Ok(())
    }
}

/// The names of the object that is being read, to find duplicates.
struct Names<'a> {
    /// The index of the first name.
    first: usize,
    count: usize,
    /// A bit for the [`hash6`] of each name so far: a new bit proves a new name.
    hashes: u64,
    /// All names, once there are more than [`FEW`].
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    fn new(first: usize) -> Names<'a> {
        Names {
            first,
            count: 0,
            hashes: 0,
            many: HashSet::new(),
        }
    }

    /// Whether the name at `at`, the last entry, is a duplicate. Adds it to the names.
    #[inline]
    fn is_duplicate(&mut self, entries: &[Entry<'a>], at: usize) -> bool {
        let bit = 1 << hash6(name(&entries[at]));
        let new = self.hashes & bit == 0;
        self.hashes |= bit;
        self.count += 1;
        if self.count <= FEW {
            !new && self.is_among_few(entries, at)
        } else {
            self.is_among_many(entries, at)
        }
    }

    fn is_among_few(&self, entries: &[Entry<'a>], at: usize) -> bool {
        self.others(entries).any(|other| other == name(&entries[at]))
    }

    fn is_among_many(&mut self, entries: &[Entry<'a>], at: usize) -> bool {
        if self.many.is_empty() {
            self.many = self.others(entries).cloned().collect();
        }
        !self.many.insert(name(&entries[at]).clone())
    }

    /// The names before the last one.
    fn others<'e>(&self, entries: &'e [Entry<'a>]) -> impl Iterator<Item = &'e Cow<'a, str>> {
        std::iter::successors(Some(self.first), |&other| Some(other + 1 + entries[other + 1].span()))
            .take(self.count - 1)
            .map(|other| name(&entries[other]))
    }
}

/// The text of an entry that holds a name.
fn name<'e, 'a>(entry: &'e Entry<'a>) -> &'e Cow<'a, str> {
    match entry {
        Entry::Text(name) => name,
        _ => unreachable!("a name is a text"),
    }
}

/// A cheap 6-bit hash of a name. Only names with the same hash need comparing.
fn hash6(name: &str) -> u32 {
    let (first, last) = match name.as_bytes() {
        [] => return 0,
        &[only] => (only, only),
        &[first, .., last] => (first, last),
    };
    let mixed = u32::from(first) | u32::from(last) << 8 | (name.len() as u32) << 16;
    // Fibonacci hashing: the upper bits depend on all bits.
    mixed.wrapping_mul(0x9E37_79B9) >> 26
}

#[cfg(test)]
mod tests;
