//! Shadow comparisons, and who serves.

use std::path::{Path, PathBuf};

use ranking::Criteria;

use crate::section::Rule::{Number, Whole, Words};
use crate::section::{CONFIDENCE, MILLISECONDS, RESAMPLES, ROWS, SALT, SEED, SHARE, section, section_of};

section! {
    /// Which requests the challenger scores in shadow, without serving.
    ["shadow"] Shadow {
        /// Share of the requests.
        fraction: f64 = 0.10, SHARE;
        /// Salt of the sampling hash.
        salt: String = "ltr-shadow-v1".into(), SALT;
    }
}

section! {
    /// Which requests the champion serves.
    ["rollout"] Rollout {
        /// Salt of the sampling hash.
        salt: String = "ltr-rollout-v1".into(), SALT;
        /// Directory that Envoys watch: the gateway writes the champion's filter and ecds.json there, from
        /// ecds.template.json; empty: none.
        edge_dir: PathBuf = PathBuf::new(), Words("a path, or empty");
    } sections {
        /// What the shadow evidence must show before a promotion.
        criteria: Criteria = Criteria::default();
    }
}

impl Rollout {
    /// The directory where Envoys watch for the filter, if configured.
    pub fn edge_dir(&self) -> Option<&Path> {
        let set = !self.edge_dir.as_os_str().is_empty();
        set.then_some(&self.edge_dir)
    }
}

section_of! {
    /// Shadow evidence required for a promotion.
    ["rollout.criteria"] CRITERIA: Criteria {
        /// Minimum days between the first and the last case; this or min_cases is enough.
        min_days, Number(0.0, 3650.0);
        /// Minimum number of compared cases.
        min_cases, Whole(1, 1_000_000_000);
        /// Minimum gain in Hit@3 over legacy, as a share.
        hit3_gain, Number(-1.0, 1.0);
        /// Confidence level of the intervals.
        confidence, CONFIDENCE;
        /// Maximum excess of the fair gap over legacy's.
        fair_gap_worsening, SHARE;
        /// The 95th percentile of the scoring time must be below this.
        latency_p95_ms, MILLISECONDS;
        /// Bootstrap draws.
        resamples, RESAMPLES;
        /// Seed of the bootstrap.
        seed, SEED;
        /// Groups with fewer rows are left out of the fair gap.
        fair_min_rows, ROWS;
    }
}
