//! The names in the lake.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Duration, NaiveDate, Utc};
use object_store_lake::ObjectMeta;
use object_store_lake::path::Path;

use crate::LakeError;

/// Digits of a row number, so that names are in the order of rows.
const DIGITS: usize = 10;
/// Records that come so long after their day are late.
const LATE: Duration = Duration::days(2);

/// The tables of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// A row for each ranking that was shown.
    Impressions,
    /// A row for each lawyer of such a ranking.
    ImpressionLawyers,
    /// A row for each click, contact and contract.
    Actions,
    /// A row for each lawyer of a request that a challenger was compared on.
    Comparisons,
    /// A row for each record that no reader understands.
    Rejected,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 5] = [
        Table::Impressions,
        Table::ImpressionLawyers,
        Table::Actions,
        Table::Comparisons,
        Table::Rejected,
    ];

    /// As paths and SQL spell it.
    pub fn name(self) -> &'static str {
        match self {
            Table::Impressions => "impressions",
            Table::ImpressionLawyers => "impression_lawyers",
            Table::Actions => "actions",
            Table::Comparisons => "comparisons",
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

/// One file of a table: the records `from..to` of its day, in the order of arrival.
///
/// The name of a file that adds records says only where it begins, so that of two writers who continue at the same place
/// one alone gets the name. A file that replaces others says where it ends, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFile {
    /// The table.
    pub table: Table,
    /// The day, in UTC; `None`: of no day of the calendar.
    pub day: Option<NaiveDate>,
    /// Number of its first record among those of the day's table.
    pub from: u64,
    /// Behind its last record.
    pub to: u64,
    /// Whether it has the records of several files that were there before.
    pub is_merged: bool,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the clock of the disk or store.
    pub written: DateTime<Utc>,
}

impl RawFile {
    /// Where it is in the lake.
    pub fn path(&self) -> Path {
        let Self { from, to, .. } = self;
        let folder = self.table.folder(self.day);
        Path::from(if self.is_merged {
            format!("{folder}/{from:0DIGITS$}-{to:0DIGITS$}.parquet")
        } else {
            format!("{folder}/{from:0DIGITS$}.parquet")
        })
    }

    /// Whether what it adds came two days after its day or later.
    pub(crate) fn is_late(&self) -> bool {
        let written = self.written.date_naive();
        !self.is_merged && self.day.is_some_and(|day| written - day >= LATE)
    }

    /// The file at this path, as far as its name tells: without a name that says so, `to` is `from`. `None`: it is none of
    /// the raw tables'.
    pub(crate) fn parse(object: &ObjectMeta) -> Option<RawFile> {
        let parts: Vec<&str> = object.location.as_ref().split('/').collect();
        let (table, day, name) = match parts[..] {
            ["ltr", "raw", year, month, day, table, name] => {
                let table = Table::ALL.into_iter().find(|known| known.name() == table)?;
                (table, Some(read_day(year, month, day)?), name)
            }
            ["ltr", "rejected", "undated", name] => (Table::Rejected, None, name),
            ["ltr", "rejected", year, month, day, name] => (Table::Rejected, Some(read_day(year, month, day)?), name),
            _ => return None,
        };
        let name = name.strip_suffix(".parquet")?;
        let (from, to) = name.split_once('-').unwrap_or((name, name));
        let file = RawFile {
            table,
            day,
            from: from.parse().ok()?,
            to: to.parse().ok()?,
            is_merged: name.contains('-'),
            size: object.size,
            written: object.last_modified,
        };
        // Nothing but the one way of writing it.
        let is_one = file.path() == object.location && (file.from < file.to || !file.is_merged);
        is_one.then_some(file)
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

/// The files of one table and day that together have each record once, in order. A file that a larger one replaces is
/// still there for a while, for those who read it, and two that replace others may overlap: of the ways to put files end to
/// end from the first record on, the one that gets furthest counts, with as large files as there are.
///
/// # Errors
/// Files that leave records out.
pub(crate) fn cover(files: Vec<RawFile>) -> Result<Vec<RawFile>, LakeError> {
    let mut by_start: BTreeMap<u64, Vec<RawFile>> = BTreeMap::new();
    for file in files {
        by_start.entry(file.from).or_default().push(file);
    }
    // How far one gets from a start, and by which file: of those behind it, that is known already.
    let mut best: BTreeMap<u64, (u64, RawFile)> = BTreeMap::new();
    for (start, files) in by_start.iter().rev() {
        let far = |file: &RawFile| best.get(&file.to).map_or(file.to, |(end, _)| *end);
        let furthest = files.iter().max_by_key(|file| (far(file), file.to, file.is_merged));
        if let Some(file) = furthest {
            best.insert(*start, (far(file), file.clone()));
        }
    }
    let mut chosen: Vec<RawFile> = Vec::new();
    let end = |chosen: &[RawFile]| chosen.last().map_or(0, |last| last.to);
    while let Some((_, file)) = best.remove(&end(&chosen)) {
        chosen.push(file);
    }
    let end = end(&chosen);
    // What is added where others were merged meanwhile came too late: its writer sees that it does not count.
    let is_late = |file: &RawFile| {
        let inside = |other: &RawFile| other.is_merged && other.from <= file.from && file.from < other.to;
        !file.is_merged && chosen.iter().any(inside)
    };
    let mut rest = by_start.into_values().flatten();
    match rest.find(|file| file.to > end && !is_late(file)) {
        None => Ok(chosen),
        Some(file) => Err(LakeError::File {
            path: file.to_string(),
            problem: format!("the file of its table before it ends with record {end}"),
            remedy: "put the missing file back, or remove the files of that day and table, and run sink --from-start",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(from: u64, to: u64, is_merged: bool) -> RawFile {
        RawFile {
            table: Table::Actions,
            day: NaiveDate::from_ymd_opt(2026, 10, 1),
            from,
            to,
            is_merged,
            size: 7,
            written: DateTime::UNIX_EPOCH,
        }
    }

    fn parse(path: &str) -> Option<RawFile> {
        RawFile::parse(&ObjectMeta {
            location: Path::from(path),
            last_modified: DateTime::UNIX_EPOCH,
            size: 7,
            e_tag: None,
            version: None,
        })
    }

    #[test]
    fn a_name_is_read_as_it_is_written_and_no_other_way() {
        for table in Table::ALL {
            let merged = RawFile {
                table,
                ..file(3, 12, true)
            };
            assert_eq!(parse(merged.path().as_ref()), Some(merged));
            let added = RawFile {
                table,
                ..file(3, 3, false)
            };
            assert_eq!(parse(added.path().as_ref()), Some(added));
        }
        let undated = RawFile {
            table: Table::Rejected,
            day: None,
            ..file(0, 0, false)
        };
        assert_eq!(parse(undated.path().as_ref()), Some(undated));
        assert_eq!(
            file(3, 12, false).path().as_ref(),
            "ltr/raw/2026/10/01/actions/0000000003.parquet"
        );
        for other in [
            "ltr/raw/2026/10/01/actions/3-12.parquet",
            "ltr/raw/2026/10/01/actions/3.parquet",
            "ltr/raw/2026/10/01/actions/0000000012-0000000003.parquet",
            "ltr/raw/2026/10/01/actions/0000000003-0000000003.parquet",
            "ltr/raw/2026/13/01/actions/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/1/actions/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/01/others/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/01/rejected/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/01/actions/0000000003-0000000012.parquet.tmp",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn each_record_is_in_one_of_the_chosen_files() {
        let chosen = |files: &[(u64, u64, bool)]| {
            let files = files.iter().map(|&(from, to, is_merged)| file(from, to, is_merged));
            cover(files.collect()).map(|files| files.iter().map(|file| (file.from, file.to)).collect::<Vec<_>>())
        };
        let (added, merged) = (false, true);
        assert_eq!(chosen(&[]).unwrap(), []);
        assert_eq!(chosen(&[(5, 9, added), (0, 5, added)]).unwrap(), [(0, 5), (5, 9)]);
        let replaced = [(0, 5, added), (5, 9, added), (0, 9, merged), (9, 10, added)];
        assert_eq!(chosen(&replaced).unwrap(), [(0, 9), (9, 10)]);
        // Somebody was slow, and put a file where others were merged and removed meanwhile.
        let late = [(0, 9, merged), (5, 12, added), (9, 10, added)];
        assert_eq!(chosen(&late).unwrap(), [(0, 9), (9, 10)]);
        // Two compacted at once, and began at different places.
        let twice = [
            (0, 4, added),
            (4, 5, added),
            (5, 9, added),
            (9, 11, added),
            (0, 9, merged),
            (5, 11, merged),
        ];
        assert_eq!(chosen(&twice).unwrap(), [(0, 9), (9, 11)]);
        assert_eq!(
            chosen(&[(0, 5, added), (0, 7, merged), (5, 9, merged)]).unwrap(),
            [(0, 5), (5, 9)]
        );
        for broken in [
            &[(1, 5, added)][..],
            &[(0, 5, added), (6, 9, added)],
            &[(0, 5, added), (3, 9, merged)],
            &[(0, 5, merged), (3, 9, merged)],
        ] {
            chosen(broken).unwrap_err();
        }
    }
}
