//! The names in the lake.

use std::fmt;

use chrono::NaiveDate;
use object_store_lake::path::Path;

use crate::LakeError;

/// Digits of a row number, so that names are in the order of rows.
const DIGITS: usize = 10;

/// The tables of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// A row for each ranking that was shown.
    Impressions,
    /// A row for each lawyer of such a ranking.
    ImpressionLawyers,
    /// A row for each click, contact and contract.
    Actions,
    /// A row for each event that no reader understands.
    Rejected,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 4] = [
        Table::Impressions,
        Table::ImpressionLawyers,
        Table::Actions,
        Table::Rejected,
    ];

    /// As paths and SQL spell it.
    pub fn name(self) -> &'static str {
        match self {
            Table::Impressions => "impressions",
            Table::ImpressionLawyers => "impression_lawyers",
            Table::Actions => "actions",
            Table::Rejected => "rejected",
        }
    }

    /// The folder of a day. `None`: of events whose time is none of the calendar's.
    pub(crate) fn folder(self, day: Option<NaiveDate>) -> String {
        let day = day.map_or_else(|| "undated".to_owned(), |day| day.format("%Y/%m/%d").to_string());
        match self {
            Table::Rejected => format!("ltr/rejected/{day}"),
            table => format!("ltr/raw/{day}/{}", table.name()),
        }
    }
}

/// One file of a table: the events `from..to` of its day, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFile {
    /// The table.
    pub table: Table,
    /// The day, in UTC; `None`: of no day of the calendar.
    pub day: Option<NaiveDate>,
    /// Number of its first event among those of the day's table.
    pub from: u64,
    /// Behind its last event.
    pub to: u64,
    /// Bytes.
    pub size: u64,
}

impl RawFile {
    /// Where it is in the lake.
    pub fn path(&self) -> Path {
        let Self { from, to, .. } = self;
        let folder = self.table.folder(self.day);
        Path::from(format!("{folder}/{from:0DIGITS$}-{to:0DIGITS$}.parquet"))
    }

    /// The file at this path; `None`: it is none of the raw tables'.
    pub(crate) fn parse(path: &Path, size: u64) -> Option<RawFile> {
        let parts: Vec<&str> = path.as_ref().split('/').collect();
        let (table, day, name) = match parts[..] {
            ["ltr", "raw", year, month, day, table, name] => {
                let table = Table::ALL.into_iter().find(|known| known.name() == table)?;
                (table, Some(read_day(year, month, day)?), name)
            }
            ["ltr", "rejected", "undated", name] => (Table::Rejected, None, name),
            ["ltr", "rejected", year, month, day, name] => (Table::Rejected, Some(read_day(year, month, day)?), name),
            _ => return None,
        };
        let (from, to) = name.strip_suffix(".parquet")?.split_once('-')?;
        let file = RawFile {
            table,
            day,
            from: from.parse().ok()?,
            to: to.parse().ok()?,
            size,
        };
        // Nothing but the one way of writing it.
        (file.from < file.to && file.path() == *path).then_some(file)
    }
}

impl fmt::Display for RawFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().fmt(f)
    }
}

fn read_day(year: &str, month: &str, day: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(&format!("{year}-{month}-{day}"), "%Y-%m-%d").ok()
}

/// The files of one table and day that together have each event once. While small files are being
/// replaced by a larger one, both are there: the larger one counts.
///
/// # Errors
/// Files that leave events out, or overlap.
pub(crate) fn cover(mut files: Vec<RawFile>) -> Result<Vec<RawFile>, LakeError> {
    files.sort_by_key(|file| (file.from, std::cmp::Reverse(file.to)));
    let mut chosen: Vec<RawFile> = Vec::new();
    for file in files {
        let end = chosen.last().map_or(0, |last| last.to);
        if file.to <= end {
            continue;
        }
        if file.from != end {
            return Err(LakeError::File {
                path: file.to_string(),
                problem: format!("the file of its table before it ends with event {end}"),
                remedy: "put the missing file back, or remove the files of that day and table, and run the sink again",
            });
        }
        chosen.push(file);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(from: u64, to: u64) -> RawFile {
        RawFile {
            table: Table::Actions,
            day: NaiveDate::from_ymd_opt(2026, 10, 1),
            from,
            to,
            size: 7,
        }
    }

    #[test]
    fn a_name_is_read_as_it_is_written_and_no_other_way() {
        for table in Table::ALL {
            let file = RawFile { table, ..file(3, 12) };
            assert_eq!(RawFile::parse(&file.path(), 7), Some(file));
        }
        let undated = RawFile {
            table: Table::Rejected,
            day: None,
            ..file(0, 1)
        };
        assert_eq!(RawFile::parse(&undated.path(), 7), Some(undated));
        assert_eq!(
            file(3, 12).path().as_ref(),
            "ltr/raw/2026/10/01/actions/0000000003-0000000012.parquet"
        );
        for other in [
            "ltr/raw/2026/10/01/actions/3-12.parquet",
            "ltr/raw/2026/10/01/actions/0000000012-0000000003.parquet",
            "ltr/raw/2026/13/01/actions/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/1/actions/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/01/others/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/01/rejected/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/01/actions/0000000003-0000000012.parquet.tmp",
        ] {
            assert_eq!(RawFile::parse(&Path::from(other), 7), None, "{other}");
        }
    }

    #[test]
    fn each_event_is_in_one_of_the_chosen_files() {
        let chosen = |files: &[(u64, u64)]| {
            let files = files.iter().map(|&(from, to)| file(from, to)).collect();
            cover(files).map(|files| files.iter().map(|file| (file.from, file.to)).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[]).unwrap(), []);
        assert_eq!(chosen(&[(5, 9), (0, 5)]).unwrap(), [(0, 5), (5, 9)]);
        assert_eq!(chosen(&[(0, 5), (5, 9), (0, 9), (9, 10)]).unwrap(), [(0, 9), (9, 10)]);
        for broken in [&[(1, 5)][..], &[(0, 5), (6, 9)], &[(0, 5), (3, 9)]] {
            chosen(broken).unwrap_err();
        }
    }
}
