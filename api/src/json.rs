//! JSON from strangers: bounded, with no name twice in an object, and read field by field so that an error
//! can say where it is.
//!
//! A body is one list of its values in the order they come, names among them. A case of a hundred lawyers has two
//! thousand: as a tree they would be hundreds of allocations.

mod reason;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::refusal::{Invalid, Malformed, shortened};

/// Values in one body, names included. A body of 8 MiB can hold four million, which as a tree would take half a
/// gigabyte; the largest honest one (10,000 lawyers with eleven features each) has less than 300,000.
const MAX_VALUES: usize = 1_000_000;
/// Below this many names, comparing them with each other is faster than hashing them.
const FEW: usize = 24;

/// The values of a body, which borrow its text.
pub struct Document<'a> {
    entries: Vec<Entry<'a>>,
}

/// One value. What an array or an object holds follows it.
#[derive(Clone, Debug)]
enum Entry<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// How many elements, and how many entries they and this one are.
    Array {
        len: u32,
        span: u32,
    },
    /// How many names, each of which is followed by its value; and as of an array.
    Object {
        len: u32,
        span: u32,
    },
}

impl Entry<'_> {
    /// This entry, and what it holds.
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
    /// This value, and all after it.
    entries: &'d [Entry<'d>],
}

impl<'a> Document<'a> {
    /// Reads one value that fills the body.
    ///
    /// # Errors
    /// 400 for what is not UTF-8 or not JSON, nests deeper than `max_depth` (`host.max_json_depth`), or names
    /// something twice.
    pub fn parse(body: &'a [u8], max_depth: usize) -> Result<Document<'a>, Malformed> {
        Document::read(body, max_depth, |text, reader| {
            let mut deserializer = sonic_rs::Deserializer::from_str(text);
            let read = reader.value(&mut deserializer).and_then(|()| deserializer.end());
            read.map_err(|error| (error.line(), error.column()))
        })
    }

    /// Reads any number of values, one after the other with white space between them (NDJSON among others).
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn parse_many(body: &'a [u8], max_depth: usize) -> Result<Document<'a>, Malformed> {
        Document::read(body, max_depth, |text, reader| {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            // The only thing that `end` can miss is the end.
            while deserializer.end().is_err() {
                let read = reader.value(&mut deserializer);
                read.map_err(|error| (error.line(), error.column()))?;
            }
            Ok(())
        })
    }

    /// Where `read` fails, it says in which line and column.
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
            // Names and numbers mostly take more text than that.
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
    /// If there is none, which [`Document::parse`] does not let through.
    pub fn root(&self) -> Json<'_> {
        self.roots().next().expect("a document has a value")
    }

    /// The values one after the other.
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

    /// What follows this value, and what it holds.
    fn next(self) -> Json<'d> {
        Json {
            entries: &self.entries[self.entry().span()..],
        }
    }

    /// What follows the entry, which is what it holds if it holds anything.
    fn inner(self) -> Json<'d> {
        Json {
            entries: &self.entries[1..],
        }
    }

    /// The same value as the tree that the domain reads.
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

    pub fn string(self) -> Result<&'d str, Invalid> {
        match self.entry() {
            Entry::Text(text) => Ok(text),
            _ => Err(Invalid::new(self, "a string")),
        }
    }

    pub fn array(self) -> Result<impl ExactSizeIterator<Item = Json<'d>>, Invalid> {
        match self.entry() {
            Entry::Array { len, .. } => Ok(elements(self.inner(), *len)),
            _ => Err(Invalid::new(self, "an array")),
        }
    }

    /// Names and values in the order they came.
    pub fn object(self) -> Result<impl ExactSizeIterator<Item = (&'d str, Json<'d>)>, Invalid> {
        match self.entry() {
            Entry::Object { len, .. } => Ok(fields(self.inner(), *len)),
            _ => Err(Invalid::new(self, "an object")),
        }
    }

    /// The values of an object by the names that it may have, in their order; `null` is as good as absent.
    ///
    /// # Errors
    /// For a value that is no object, and for a name that is not among `names`.
    pub fn fields<const N: usize>(self, names: &[&'static str; N]) -> Result<[Field<'d>; N], Invalid> {
        let mut found = names.map(|name| Field { name, json: None });
        for (at, (name, json)) in self.object()?.enumerate() {
            let Some(at) = position(names, at, name) else {
                let allowed = format!("no such field; the fields are {}", names.join(", "));
                return Err(Invalid::new(json, allowed).under(name));
            };
            found[at].json = Some(json);
        }
        Ok(found)
    }

    pub fn unsigned(self, most: u64) -> Result<u64, Invalid> {
        match self.entry() {
            Entry::Unsigned(value) if *value <= most => Ok(*value),
            _ => Err(Invalid::new(self, format!("an integer from 0 to {most}"))),
        }
    }

    /// A number as the grammar has it, or `NaN` for `null`.
    pub fn number_or_missing(self) -> Result<f64, Invalid> {
        let number = match self.entry() {
            Entry::Null => return Ok(f64::NAN),
            Entry::Float(value) => *value,
            Entry::Unsigned(value) => *value as f64,
            Entry::Signed(value) => *value as f64,
            _ => return Err(Invalid::new(self, "a number, or null where it is missing")),
        };
        match grammar::is_number(number) {
            true => Ok(number),
            false => Err(Invalid::new(
                self,
                format!("{}, or null where it is missing", grammar::NUMBER),
            )),
        }
    }

    pub fn is_null(self) -> bool {
        matches!(self.entry(), Entry::Null)
    }
}

/// As much of a value as an error message can hold.
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
    /// # Errors
    /// The object does not have it.
    pub fn required(self) -> Result<Json<'d>, Invalid> {
        self.json.ok_or_else(|| Invalid::missing().under(self.name))
    }

    /// Unless it is absent or `null`.
    pub fn optional(self) -> Option<Json<'d>> {
        self.json.filter(|json| !json.is_null())
    }

    /// What `read` makes of it. Its errors are told where they are.
    ///
    /// # Errors
    /// The object does not have it, or `read` refuses it.
    pub fn read<T>(self, read: impl FnOnce(Json<'d>) -> Result<T, Invalid>) -> Result<T, Invalid> {
        read(self.required()?).map_err(|invalid| invalid.under(self.name))
    }

    /// As [`Field::read`], unless it is absent or `null`.
    ///
    /// # Errors
    /// `read` refuses it.
    pub fn read_optional<T>(self, read: impl FnOnce(Json<'d>) -> Result<T, Invalid>) -> Result<Option<T>, Invalid> {
        let json = self.optional().map(read).transpose();
        json.map_err(|invalid| invalid.under(self.name))
    }
}

/// Where `name` is among `names`. Senders keep to an order, as a rule that of the documentation, so that the one at
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

/// What is being read.
struct Reader<'a> {
    entries: Vec<Entry<'a>>,
    max_depth: usize,
    /// Where a rule is broken that JSON has not: what it says.
    refused: Option<Malformed>,
}

impl<'a> Reader<'a> {
    /// Reads one value.
    fn value<D: Deserializer<'a>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        Node { reader: self, depth: 0 }.deserialize(deserializer)
    }
}

/// The place of a value that is being read.
struct Node<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// Arrays and objects around this value.
    depth: usize,
}

impl<'a> Node<'_, 'a> {
    // Left alone, the compiler makes it a call for each value, which takes a tenth of the time of reading.
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

    /// Keeps a place for an array or an object, and gives it. Both readers have a limit of their own for the depth, 127
    /// and 255, beyond the most that can be configured and long before the end of the stack.
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
            if names.is_double(&self.reader.entries, name) {
                let name = shortened(self::name(&self.reader.entries[name]));
                let message = format!("doubled name {name:?}; allowed: each name once in an object");
                return self.inner().refuse("doubled_name", message);
            }
            entries.next_value_seed(self.inner())?;
            len += 1;
        }
        self.close(at, |span| Entry::Object { len, span });
        Ok(())
    }
}

/// The names of an object that is being read.
struct Names<'a> {
    /// Where the first one is.
    first: usize,
    count: usize,
    /// A bit for each kind of name that was met, see [`kind`].
    kinds: u64,
    /// All of them, once they are many.
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    fn new(first: usize) -> Names<'a> {
        Names {
            first,
            count: 0,
            kinds: 0,
            many: HashSet::new(),
        }
    }

    /// Whether the name at `at`, the last of the entries, was met before. Remembers it.
    #[inline]
    fn is_double(&mut self, entries: &[Entry<'a>], at: usize) -> bool {
        let kind = 1 << kind(name(&entries[at]));
        let new = self.kinds & kind == 0;
        self.kinds |= kind;
        self.count += 1;
        match self.count <= FEW {
            true => !new && self.is_among_few(entries, at),
            false => self.is_among_many(entries, at),
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

/// The text of an entry that is a name.
fn name<'e, 'a>(entry: &'e Entry<'a>) -> &'e Cow<'a, str> {
    match entry {
        Entry::Text(name) => name,
        _ => unreachable!("a name is a text"),
    }
}

/// A number below 64 that differs for most names, of which only those with the same one need be compared.
fn kind(name: &str) -> u32 {
    let (first, last) = match name.as_bytes() {
        [] => return 0,
        &[only] => (only, only),
        &[first, .., last] => (first, last),
    };
    let mixed = u32::from(first) | u32::from(last) << 8 | (name.len() as u32) << 16;
    // Fibonacci hashing: the upper bits depend on all of them.
    mixed.wrapping_mul(0x9E37_79B9) >> 26
}

#[cfg(test)]
mod tests;
