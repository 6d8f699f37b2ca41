//! Data checks before a training.

use crate::section::Rule::{Number, Whole};
use crate::section::{ROWS, SHARE, section};

section! {
    /// Data checks before a training. Beyond a `_warn` the run goes on and says so; beyond a limit or a
    /// `_stop` nothing is trained (exit code 3). The last run is the one of the newest published model, or
    /// else the newest run, whose checks passed.
    ["checks"] Checks {
        /// Stop with fewer cases than this.
        min_cases: u64 = 50, ROWS;
        /// Stop with fewer rows (lawyers shown) than this.
        min_rows: u64 = 200, ROWS;
        /// Stop with fewer rows with a label above 0 than this. A grade that fewer rows had in the last run is
        /// too rare to be compared.
        min_positives: u64 = 20, ROWS;
        /// Warn if more than this share of the last run's cases, or rows, is gone.
        shrink_warn: f64 = 0.1, SHARE;
        /// Stop if more than this share of them is gone.
        shrink_stop: f64 = 0.5, SHARE;
        /// Stop if more than so many days between the first and the last have no case, not counting those that
        /// the last run lacked, too. Any such day is a warning.
        missing_days_stop: u32 = 7, Whole(0, 36_500);
        /// Warn if a feature is missing in more than this share of the rows.
        null_warn: f64 = 0.5, SHARE;
        /// Stop if it is missing in more; 1: never.
        null_stop: f64 = 1.0, SHARE;
        /// Warn if the share of rows without a feature grew by more than this since the last run.
        null_rise_warn: f64 = 0.05, SHARE;
        /// Stop if it grew by more.
        null_rise_stop: f64 = 0.25, SHARE;
        /// The least value that a feature should have.
        value_least: f64 = 0.0, Number(-1e12, 1e12);
        /// The greatest value that a feature should have.
        value_most: f64 = 1.0, Number(-1e12, 1e12);
        /// Stop if more than this share of a feature's values lies outside of these; any is a warning.
        outside_stop: f64 = 0.01, SHARE;
        /// Warn if the share of rows with a label (a click, contact or contract at least) changed by more than
        /// this since the last run, as a share of what it was.
        label_shift_warn: f64 = 0.2, Number(0.0, 1_000.0);
        /// Stop if it changed by more.
        label_shift_stop: f64 = 0.5, Number(0.0, 1_000.0);
        /// Warn if a feature's population stability index against the last run is above this.
        psi_warn: f64 = 0.1, Number(0.0, 1_000.0);
        /// Stop if it is above this; 0: never.
        psi_stop: f64 = 0.25, Number(0.0, 1_000.0);
    }
}
