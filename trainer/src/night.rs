//! Where the files of a night's run are in the lake. All steps of a night are given the same time
//! (`--as-of`), so each finds what the one before it wrote, and a step that is repeated writes the same
//! files again.

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};

use crate::matrix::days::DAYS;
use crate::outcome::Permanent;

/// The name of a version made at this time, e.g. `20261123T021500Z`.
pub fn version_of(as_of: DateTime<Utc>) -> String {
    as_of.format("%Y%m%dT%H%M%SZ").to_string()
}

/// The list of days that a run of this date leaves in the lake.
pub fn days_path(lake: &Path, date: NaiveDate) -> PathBuf {
    lake.join("ltr/processed").join(date.to_string()).join(DAYS)
}

/// The directory with the results of a run as of this time.
pub fn run_dir(lake: &Path, as_of: DateTime<Utc>) -> PathBuf {
    lake.join("ltr/runs").join(version_of(as_of))
}

/// The path that option `name` gives, or else `of_night`'s, which is that of `--as-of`.
///
/// # Errors
/// Neither is there.
pub fn given_or(given: Option<&Path>, name: &str, of_night: Option<PathBuf>) -> Result<PathBuf, Permanent> {
    given
        .map(Path::to_owned)
        .or(of_night)
        .ok_or_else(|| Permanent::Usage(format!("{name}: not given; needed: {name}, or --as-of")))
}
