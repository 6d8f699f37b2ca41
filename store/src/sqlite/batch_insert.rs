//! Inserts many rows with few statements.

use std::sync::OnceLock;

/// The most rows per statement, as a power of two: 128. SQLite takes 32,766 values.
const MOST_ROWS: usize = 7;

/// Statements for 1, 2, 4, ... rows. For any number of rows, only these are prepared, each once.
/// Parameters are unnumbered: SQLite searches numbered ones linearly.
pub(super) struct Insert {
    /// The table, and its columns in parentheses.
    into: &'static str,
    /// The parameters of one row in parentheses.
    row: &'static str,
    /// The SQL after the rows.
    then: &'static str,
    statements: OnceLock<[String; MOST_ROWS + 1]>,
}

impl Insert {
    pub(super) const fn new(into: &'static str, row: &'static str, then: &'static str) -> Insert {
        Insert {
            into,
            row,
            then,
            statements: OnceLock::new(),
        }
    }

    /// The statements that insert `rows` in order, each with its own slice of them.
    pub(super) fn statements<'r, T>(&'static self, mut rows: &'r [T]) -> impl Iterator<Item = (&'static str, &'r [T])> {
        let statements = self.statements.get_or_init(|| {
            std::array::from_fn(|power| {
                let more = format!(", {}", self.row).repeat((1 << power) - 1);
                format!("INSERT INTO {} VALUES {}{more}{}", self.into, self.row, self.then)
            })
        });
        std::iter::from_fn(move || {
            let power = (rows.len().checked_ilog2()? as usize).min(MOST_ROWS);
            let (now, later) = rows.split_at(1 << power);
            rows = later;
            Some((statements[power].as_str(), now))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_statement_and_in_order() {
        static INSERT: Insert = Insert::new("t (a)", "(?)", " THEN");
        let rows: Vec<usize> = (0..300).collect();
        let statements: Vec<_> = INSERT.statements(&rows).collect();
        let lengths: Vec<usize> = statements.iter().map(|(_, rows)| rows.len()).collect();
        assert_eq!(lengths, [128, 128, 32, 8, 4]);
        assert_eq!(
            statements
                .iter()
                .flat_map(|(_, rows)| *rows)
                .copied()
                .collect::<Vec<_>>(),
            rows
        );
        for (statement, rows) in statements {
            assert_eq!(statement.matches('?').count(), rows.len());
            assert!(statement.starts_with("INSERT INTO t (a) VALUES (?), ") && statement.ends_with("(?) THEN"));
        }
        assert_eq!(INSERT.statements::<u8>(&[]).count(), 0);
    }
}
