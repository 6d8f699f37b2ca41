//! One line.

use crate::error::ReadError;
use crate::number;

/// What a line has beside its entries.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    pub label: Option<f64>,
    pub qid: Option<u64>,
    /// One more than the largest column kept.
    pub width: usize,
}

/// Which columns the current row has had.
#[derive(Default)]
pub(super) struct Seen {
    row: u64,
    /// The row that last had a column.
    last: Vec<u64>,
}

impl Seen {
    fn again(&mut self, column: usize) -> bool {
        if column >= self.last.len() {
            self.last.resize(column + 1, 0);
        }
        std::mem::replace(&mut self.last[column], self.row) == self.row
    }
}

/// Why a token is refused.
#[derive(Debug)]
pub(super) struct TokenError {
    column: Option<String>,
    value: String,
    allowed: String,
}

impl TokenError {
    pub(super) fn at(self, line: u64) -> ReadError {
        ReadError::refused(line, self.column, &self.value, self.allowed)
    }
}

/// Adds a line's entries, of columns below `below`; `None`: it holds no row (blank, or a comment only).
pub(super) fn parse(
    line: &str,
    below: usize,
    entries: &mut Vec<(u32, f64)>,
    seen: &mut Seen,
) -> Result<Option<Parsed>, TokenError> {
    let row = line.split_once('#').map_or(line, |(row, _)| row);
    let mut tokens = row.split_ascii_whitespace().peekable();
    if tokens.peek().is_none() {
        return Ok(None);
    }
    seen.row += 1;
    let label = tokens.next_if(|token| !token.contains(':')).map(label).transpose()?;
    let qid = tokens.next_if(|token| token.starts_with("qid:")).map(qid).transpose()?;
    let mut parsed = Parsed { label, qid, width: 0 };
    for token in tokens {
        let (index, value) = entry(token)?;
        if index >= below as u64 {
            return Err(refuse(token, format!("an index below {below}; the first column is 0")));
        }
        let column = index as usize;
        if seen.again(column) {
            return Err(TokenError {
                column: Some(index.to_string()),
                value: token.to_owned(),
                allowed: "each index once in a row".to_owned(),
            });
        }
        parsed.width = parsed.width.max(column + 1);
        entries.push((column as u32, value));
    }
    Ok(Some(parsed))
}

fn label(token: &str) -> Result<f64, TokenError> {
    let label = token.parse().ok().filter(|label: &f64| label.is_finite());
    let columns = if token.contains([',', ';']) {
        "; columns between commas are not SVMlight"
    } else {
        ""
    };
    label.ok_or_else(|| refuse(token, format!("a label, which is a finite number{columns}")))
}

fn qid(token: &str) -> Result<u64, TokenError> {
    let qid = token.strip_prefix("qid:").and_then(|id| id.parse().ok());
    qid.ok_or_else(|| refuse(token, "qid:N, N an integer of at least 0"))
}

fn entry(token: &str) -> Result<(u64, f64), TokenError> {
    let wanted = "index:value, index an integer of at least 0, value a number or nan";
    let no_pair = || refuse(token, format!("{wanted}; columns without an index are not SVMlight"));
    let (index, value) = token.split_once(':').ok_or_else(no_pair)?;
    let index: u64 = index.parse().map_err(|_| refuse(token, wanted))?;
    let number = number::parse(value.as_bytes()).filter(|_| !value.is_empty());
    let value = number.ok_or_else(|| TokenError {
        column: Some(index.to_string()),
        value: value.to_owned(),
        allowed: "a number, or na, nan or null where the value is missing".to_owned(),
    })?;
    Ok((index, value))
}

fn refuse(token: &str, allowed: impl Into<String>) -> TokenError {
    TokenError {
        column: None,
        value: token.to_owned(),
        allowed: allowed.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: usize = 1000;

    fn entries(line: &str) -> Option<(Parsed, Vec<(u32, f64)>)> {
        let mut entries = Vec::new();
        let parsed = parse(line, ALL, &mut entries, &mut Seen::default()).unwrap();
        parsed.map(|parsed| (parsed, entries))
    }

    #[test]
    fn a_line_is_label_qid_entries_and_comment() {
        let (parsed, row) = entries("2 qid:7 1:0.5\t3:-1e2 # doc 4:4").unwrap();
        assert_eq!(
            parsed,
            Parsed {
                label: Some(2.0),
                qid: Some(7),
                width: 4
            }
        );
        assert_eq!(row, [(1, 0.5), (3, -100.0)]);
        let (bare, row) = entries("0:1").unwrap();
        assert_eq!((bare.label, bare.qid, row), (None, None, vec![(0, 1.0)]));
        assert_eq!(entries("1").unwrap().1, []);
        assert!(entries(" \r\n").is_none() && entries("# only this").is_none());
    }

    #[test]
    fn a_bad_token_is_refused_with_what_it_could_be() {
        for (line, allowed) in [
            ("x 1:2", "a label, which is a finite number"),
            ("nan 1:2", "a label, which is a finite number"),
            ("1 qid:-1 1:2", "qid:N"),
            ("1 1:2 qid:3", "index:value"),
            ("1 2", "index:value"),
            ("1 -1:2", "index:value"),
            ("1 1:x", "a number, or na"),
            ("1 1:", "a number, or na"),
            ("1 1:2 1:3", "each index once in a row"),
            ("1 1000:2", "an index below 1000"),
            ("1 99999999999999999999:2", "index:value"),
        ] {
            let error = parse(line, ALL, &mut Vec::new(), &mut Seen::default()).unwrap_err();
            assert!(error.allowed.contains(allowed), "{line}: {error:?}");
        }
    }

    #[test]
    fn the_same_column_in_the_next_row_is_no_doubled_one() {
        let (mut entries, mut seen) = (Vec::new(), Seen::default());
        for _ in 0..3 {
            assert!(parse("1 5:1", ALL, &mut entries, &mut seen).is_ok());
        }
    }

    proptest! {
        #[test]
        fn entries_come_back_to_the_last_bit(
            row in proptest::collection::btree_map(0u32..1000, proptest::num::f64::NORMAL, 0..30)
        ) {
            let text: String = row.iter().map(|(i, v)| format!(" {i}:{v}")).collect();
            let (_, read) = entries(&format!("0{text}")).unwrap();
            prop_assert_eq!(read, row.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn no_line_makes_it_panic(line in "[0-9:. qid#naife+-]{0,60}|\\PC{0,60}") {
            let mut entries = Vec::new();
            if let Ok(Some(parsed)) = parse(&line, ALL, &mut entries, &mut Seen::default()) {
                prop_assert!(entries.iter().all(|(c, _)| (*c as usize) < parsed.width));
            }
        }
    }
}
