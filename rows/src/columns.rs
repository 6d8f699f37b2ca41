//! Which of a file's columns are the wanted ones.

use std::collections::HashMap;

use crate::Expect;
use crate::error::ReadError;

/// A column that is read.
pub(crate) struct Column<'a> {
    /// Where it is in the file, from 0.
    pub at: usize,
    /// As the caller calls it.
    pub wanted: &'a str,
}

/// The wanted columns in the caller's order. `header`: what the file calls its columns, where it does.
pub(crate) fn choose<'a>(
    header: Option<&[String]>,
    columns: usize,
    expect: &Expect<'a>,
    line: u64,
) -> Result<Vec<Column<'a>>, ReadError> {
    let places = match header {
        Some(header) if !expect.by_position => by_name(header, expect.names, line)?,
        _ if columns == expect.names.len() => (0..columns).collect(),
        _ => {
            let allowed = format!("exactly {} columns", expect.names.len());
            return Err(ReadError::refused(line, None, &format!("{columns} columns"), allowed));
        }
    };
    let columns = places.into_iter().zip(expect.names);
    Ok(columns.map(|(at, wanted)| Column { at, wanted }).collect())
}

/// By their names, where LightGBM wrote each blank as `_`.
fn by_name(header: &[String], wanted: &[String], line: u64) -> Result<Vec<usize>, ReadError> {
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, name) in header.iter().enumerate() {
        let trimmed = name.trim_ascii();
        let mut spellings = [trimmed.to_owned(), trimmed.replace(' ', "_"), name.replace(' ', "_")].to_vec();
        spellings.sort();
        spellings.dedup();
        for spelling in spellings {
            places.entry(spelling).or_default().push(at);
        }
    }
    let missing: Vec<String> = wanted
        .iter()
        .filter(|name| !places.contains_key(*name))
        .cloned()
        .collect();
    if !missing.is_empty() {
        let found = header.to_vec();
        return Err(ReadError::MissingColumns { missing, found });
    }
    let one = |name: &String| match places[name][..] {
        [at] => Ok(at),
        ref several => {
            let called: Vec<String> = several.iter().map(|at| format!("{:?}", header[*at])).collect();
            let value = format!("{} columns of this name: {}", several.len(), called.join(", "));
            Err(ReadError::refused(
                line,
                Some(name.clone()),
                &value,
                "each needed column once",
            ))
        }
    };
    wanted.iter().map(one).collect()
}

/// Whether the wanted columns are all among these, even if one is there twice.
pub(crate) fn has_all(header: &[String], wanted: &[String]) -> bool {
    !matches!(by_name(header, wanted, 0), Err(ReadError::MissingColumns { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(header: &[&str], wanted: &[&str]) -> Result<Vec<usize>, String> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        by_name(&owned(header), &owned(wanted), 1).map_err(|error| error.in_file("f.csv".as_ref()).to_string())
    }

    #[test]
    fn blanks_in_names_are_what_lightgbm_makes_of_them() {
        assert_eq!(found(&["age", "body mass index"], &["body_mass_index"]), Ok(vec![1]));
        assert_eq!(found(&[" age ", "x"], &["age", "x"]), Ok(vec![0, 1]));
        assert_eq!(found(&[" age", "x"], &["_age"]), Ok(vec![0]));
        let both = found(&["a b", "c", "a_b"], &["a_b"]).unwrap_err();
        assert!(
            both.contains(r#"column a_b: "2 columns of this name: \"a b\", \"a_b\"""#),
            "{both}"
        );
    }

    #[test]
    fn a_needed_name_that_stands_twice_or_not_at_all_is_named() {
        let twice = found(&["a", "b", "a"], &["b", "a"]).unwrap_err();
        assert!(
            twice.contains("f.csv:1, column a") && twice.contains("each needed column once"),
            "{twice}"
        );
        assert_eq!(found(&["a", "b", "a"], &["b"]), Ok(vec![1]));
        let missing = found(&["a", "c"], &["a", "b"]).unwrap_err();
        assert_eq!(missing, "f.csv lacks 1 needed columns: b; it has 2 columns: a, c");
    }
}
