//! The types of the key tables, and the rules that several keys share.

use std::fmt;

use Rule::{Between, Number, Text, Whole};

/// The values that a key takes.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// An integer between two bounds, both included.
    Whole(i64, i64),
    /// A number between two bounds, both included.
    Number(f64, f64),
    /// A number between two bounds, both excluded.
    Between(f64, f64),
    OneOf(&'static [&'static str]),
    Flag,
    /// Non-empty text, described for the user.
    Text(&'static str),
    /// A rule described in words; `validate` holds its code.
    Words(&'static str),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Whole(least, most) => write!(f, "an integer, {least} to {most}"),
            Rule::Number(least, most) => write!(f, "a number, {least} to {most}"),
            Rule::Between(above, below) => {
                write!(f, "a number above {above} and below {below}")
            }
            Rule::OneOf(names) => write!(f, "{}", names.join(" or ")),
            Rule::Flag => write!(f, "true or false"),
            Rule::Text(what) | Rule::Words(what) => write!(f, "{what}"),
        }
    }
}

pub(crate) struct Key {
    pub name: &'static str,
    pub about: &'static str,
    pub rule: Rule,
}

pub(crate) struct Section {
    /// The `name` in the header `[name]`.
    pub name: &'static str,
    pub about: &'static str,
    pub keys: &'static [Key],
}

pub(super) const fn key(name: &'static str, about: &'static str, rule: Rule) -> Key {
    Key { name, about, rule }
}

pub(super) const SHARE: Rule = Number(0.0, 1.0);
pub(super) const HOURS: Rule = Whole(1, 8760);
pub(super) const RESAMPLES: Rule = Whole(100, 100_000);
pub(super) const CONFIDENCE: Rule = Between(0.5, 1.0);
pub(super) const SEED: Rule = Whole(0, i64::MAX);
pub(super) const ROWS: Rule = Whole(1, 1_000_000_000);
pub(super) const MILLISECONDS: Rule = Between(0.0, 60_000.0);
/// A timeout in milliseconds; a shorter one would cut off well-behaved clients.
pub(super) const TIMEOUT: Rule = Whole(100, 3_600_000);
pub(super) const PATH: Rule = Text("a path, absolute or from the working directory");
pub(super) const SALT: Rule = Text("text that no other sampler uses");
pub(super) const REDIS_KEY: Rule = Text("the name of a key");
