//! Progress bars on standard error, hidden when it is not a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `length` steps: `what [####----] 12/100 text ETA`.
pub fn bar(what: &'static str, length: usize) -> ProgressBar {
    // indicatif draws to standard error and hides itself if that is not a terminal.
    let bar = ProgressBar::new(length as u64);
    bar.set_style(
        ProgressStyle::with_template("{prefix:>12} [{bar:30}] {pos}/{len} {msg} ETA {eta}")
            .expect("the template is a constant in indicatif's own syntax")
            .progress_chars("##-"),
    );
    bar.set_prefix(what);
    bar
}

/// A spinner for a step of unknown length: `what  / 3s`.
pub fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.set_style(
        ProgressStyle::with_template("{prefix:>12} {spinner} {elapsed}")
            .expect("the template is a constant in indicatif's own syntax"),
    );
    spinner.set_prefix(what);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
