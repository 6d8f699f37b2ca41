//! `key=value` lines of one section, and the numbers in them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;

use super::error::{ParseError, excerpt};

/// The known keys of a section, with the value and line of each that occurred.
pub(super) struct Fields<'t> {
    keys: &'static [&'static str],
    found: Vec<Option<Field<'t>>>,
    /// Where the section begins; named when a key is missing.
    first_line: usize,
}

/// One value as written.
#[derive(Clone, Copy)]
pub(super) struct Field<'t> {
    pub key: &'static str,
    pub value: &'t [u8],
    pub line: usize,
}

impl<'t> Fields<'t> {
    pub(super) fn new(keys: &'static [&'static str], first_line: usize) -> Fields<'t> {
        Fields {
            keys,
            found: keys.iter().map(|_| None).collect(),
            first_line,
        }
    }

    /// Takes one line in; keys that are not known are passed over.
    pub(super) fn add(&mut self, line: &'t [u8], number: usize) -> Result<(), ParseError> {
        let split = line.iter().position(|&byte| byte == b'=').unwrap_or(line.len());
        let key = line[..split].trim_ascii_end();
        let value = line.get(split + 1..).unwrap_or(b"").trim_ascii_start();
        let Some(index) = self.keys.iter().position(|known| known.as_bytes() == key) else {
            return Ok(());
        };
        let key = self.keys[index];
        if let Some(first) = &self.found[index] {
            let problem = format!("given twice, first on line {}", first.line);
            return Err(ParseError::new(number, key, problem));
        }
        self.found[index] = Some(Field {
            key,
            value,
            line: number,
        });
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Option<Field<'t>> {
        let index = self.keys.iter().position(|known| *known == key);
        index.and_then(|index| self.found[index])
    }

    pub(super) fn require(&self, key: &str) -> Result<Field<'t>, ParseError> {
        self.get(key).ok_or_else(|| {
            let problem = format!("missing in the section that begins on line {}", self.first_line);
            ParseError::new(self.first_line, key, problem)
        })
    }
}

impl<'t> Field<'t> {
    pub(super) fn error(&self, problem: impl Into<String>) -> ParseError {
        ParseError::new(self.line, self.key, problem)
    }

    /// An error that shows the value.
    pub(super) fn expected(&self, what: &str) -> ParseError {
        self.error(format!("`{}`: expected {what}", excerpt(self.value)))
    }

    pub(super) fn text(&self) -> Result<&'t str, ParseError> {
        core::str::from_utf8(self.value).map_err(|wrong| {
            let at = wrong.valid_up_to();
            let token = self.value[..at]
                .iter()
                .rposition(|&byte| byte == b' ')
                .map_or(0, |blank| blank + 1);
            let shown: String = self.value[token..]
                .iter()
                .take(80)
                .take_while(|&&byte| byte != b' ')
                .flat_map(|&byte| core::ascii::escape_default(byte))
                .map(char::from)
                .collect();
            self.error(format!(
                "byte {} of the line, in `{shown}`, is no UTF-8: expected UTF-8; if the file is in Latin-1, convert it \
                 (iconv -f LATIN1 -t UTF-8)",
                self.key.len() + "=".len() + at + 1
            ))
        })
    }

    /// The value as one number; `what` names it in the error.
    pub(super) fn number<T: FromStr>(&self, what: &str) -> Result<T, ParseError> {
        self.parse(self.value.trim_ascii(), what)
    }

    /// The value as numbers parted by spaces, exactly `count` of them if given.
    pub(super) fn numbers<T: FromStr>(&self, count: Option<usize>, what: &str) -> Result<Vec<T>, ParseError> {
        let tokens = self.value.split(|&byte| byte == b' ').filter(|token| !token.is_empty());
        // A number and its space take two bytes: the value's length bounds what is reserved.
        let mut numbers = Vec::with_capacity(count.unwrap_or(0).min(self.value.len() / 2 + 1));
        for token in tokens {
            numbers.push(self.parse(token, what)?);
        }
        match count {
            Some(count) if count != numbers.len() => {
                let found = numbers.len();
                Err(self.error(format!("{found} values: expected {count}")))
            }
            _ => Ok(numbers),
        }
    }

    /// `str::parse` is correctly rounded for `f64` and knows `nan`, `inf` and `infinity`, signed too.
    fn parse<T: FromStr>(&self, token: &[u8], what: &str) -> Result<T, ParseError> {
        let number = core::str::from_utf8(token).ok().and_then(|token| token.parse().ok());
        number.ok_or_else(|| self.error(format!("`{}`: expected {what}", excerpt(token))))
    }
}
