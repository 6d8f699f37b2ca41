//! [`section!`] declares each key once: name, type, default, meaning and allowed values. Parsing, the
//! refusal of unknown names, the checks, their error texts and `--print-config` follow from that.
//!
//! The macro is our own. Crates that derive a configuration (confique, schematic, clap) know names,
//! defaults and documentation. They know no ranges, and their errors do not name the file or variable
//! of a wrong value.

use std::fmt;

use Rule::{Between, Number, Text, Whole};

/// What a key takes.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// An integer from the first to the second, both included.
    Whole(i64, i64),
    /// A number from the first to the second, both included.
    Number(f64, f64),
    /// A number between the two, neither included.
    Between(f64, f64),
    OneOf(&'static [&'static str]),
    Flag,
    /// Text that is not empty.
    Text(&'static str),
    /// Described in words; `validate` has the check.
    Words(&'static str),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whole(least, most) => write!(f, "an integer, {least} to {most}"),
            Number(least, most) => write!(f, "a number, {least} to {most}"),
            Between(above, below) => write!(f, "a number above {above} and below {below}"),
            Rule::OneOf(names) => write!(f, "{}", names.join(" or ")),
            Rule::Flag => write!(f, "true or false"),
            Text(what) | Rule::Words(what) => write!(f, "{what}"),
        }
    }
}

pub(crate) const SHARE: Rule = Number(0.0, 1.0);
pub(crate) const HOURS: Rule = Whole(1, 8760);
pub(crate) const RESAMPLES: Rule = Whole(100, 100_000);
pub(crate) const CONFIDENCE: Rule = Between(0.5, 1.0);
pub(crate) const SEED: Rule = Whole(0, i64::MAX);
pub(crate) const ROWS: Rule = Whole(1, 1_000_000_000);
pub(crate) const MILLISECONDS: Rule = Between(0.0, 60_000.0);
/// A timeout in milliseconds; a shorter one would cut off well-behaved clients.
pub(crate) const TIMEOUT: Rule = Whole(100, 3_600_000);
pub(crate) const PATH: Rule = Text("a path, absolute or from the working directory");
pub(crate) const SALT: Rule = Text("text that no other sampler uses");
pub(crate) const REDIS_KEY: Rule = Text("the name of a key");

/// The fault of a name that [`is_name`] does not take.
pub(crate) const NAME_FAULT: &str = "the name is not 1 to 64 characters of A-Z a-z 0-9 . _ -";

/// Whether a text can be a name in headers, logs and metrics.
pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(is_plain)
}

/// A key of a section.
pub(crate) struct Key {
    pub name: &'static str,
    /// As a doc comment has it: each line begins with a blank.
    pub about: &'static [&'static str],
    pub rule: Rule,
}

/// A section of `ltr.toml`. In a section without keys, the user names them.
pub(crate) struct Section {
    /// The `name` in the header `[name]`.
    pub name: &'static str,
    /// As [`Key::about`].
    pub about: &'static [&'static str],
    pub keys: &'static [Key],
}

/// Declares a section with its type: `["name"] Type { key: type = default, rule; }`, then sub-sections, if there are any.
/// The documentation of section and keys is also what `--print-config` says.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        [$name:literal] $Type:ident {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde($($serde:tt)+)])?
                $key:ident: $kind:ty = $default:expr, $rule:expr;
            )*
        }
        $(sections { $($(#[doc = $sub_doc:literal])+ $sub:ident: $sub_kind:ty = $sub_default:expr;)+ })?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $Type {
            $($(#[doc = $doc])+ $(#[serde($($serde)+)])? pub $key: $kind,)*
            $($($(#[doc = $sub_doc])+ pub $sub: $sub_kind,)+)?
        }

        impl Default for $Type {
            fn default() -> $Type {
                $Type {
                    $($key: $default,)*
                    $($($sub: $sub_default,)+)?
                }
            }
        }

        impl $Type {
            pub(crate) const SECTION: $crate::section::Section = $crate::section::Section {
                name: $name,
                about: &[$($about),+],
                keys: &[$($crate::section::Key {
                    name: stringify!($key),
                    about: &[$($doc),+],
                    rule: $rule,
                }),*],
            };
        }
    };
}

/// Declares the section of a type that belongs to the domain, with its defaults: `["name"] CONST: Type { key, rule; }`.
/// Does not compile unless it names every field of the type.
macro_rules! section_of {
    (
        $(#[doc = $about:literal])+
        [$name:literal] $CONST:ident: $Type:ident {
            $($(#[doc = $doc:literal])+ $key:ident, $rule:expr;)+
        }
    ) => {
        $(#[doc = $about])+
        pub(crate) const $CONST: $crate::section::Section = $crate::section::Section {
            name: $name,
            about: &[$($about),+],
            keys: &[$($crate::section::Key {
                name: stringify!($key),
                about: &[$($doc),+],
                rule: $rule,
            }),+],
        };

        const _: fn($Type) = |$Type { $($key: _),+ }| ();
    };
}

/// Declares a choice: an enum with the words that stand for it in `ltr.toml`. `NAMES` has them for [`Rule::OneOf`].
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        $Type:ident {
            $($(#[doc = $doc:literal])+ $Variant:ident = $word:literal;)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $Type {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $Variant,)+
        }

        impl $Type {
            /// All of them, in the order of [`Self::NAMES`].
            pub const ALL: &[$Type] = &[$($Type::$Variant),+];
            /// The words of the configuration.
            pub const NAMES: &[&str] = &[$($word),+];

            /// As it is configured.
            pub fn name(self) -> &'static str {
                match self {
                    $($Type::$Variant => $word,)+
                }
            }

            /// The choice with this name.
            pub fn from_name(name: &str) -> Option<$Type> {
                $Type::ALL.iter().copied().find(|choice| choice.name() == name)
            }
        }
    };
}

pub(crate) use {choice, section, section_of};
