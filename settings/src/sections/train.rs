//! Training: the data, the split, the objective and the parameters.

use std::path::PathBuf;

use crate::section::Rule::{Between, Flag, OneOf, Whole, Words};
use crate::section::{PATH, Section, choice, section};
use crate::url::is_place;

section! {
    /// The data lake, and what the trainer makes of it.
    ["lake"] Lake {
        /// Directory of the trainer's runs, and of the lake itself unless lake.url names another place.
        dir: PathBuf = "var/lake".into(), PATH;
        /// Where the lake is, if not in lake.dir: raw events and matrices, of which copies to train on go to
        /// lake.dir. S3 credentials, region and endpoint: AWS_* in the environment.
        url: String = String::new(), Words("empty, or s3://BUCKET[/PREFIX], or file:///PATH");
        /// A case that is shown again within this many days belongs to the day on which it was shown first;
        /// later it is another query.
        case_days: u32 = 30, Whole(1, 3_650);
    }
}

impl Lake {
    /// Where the lake is.
    pub fn address(&self) -> String {
        if self.url.is_empty() {
            self.dir.display().to_string()
        } else {
            self.url.clone()
        }
    }

    pub(crate) fn has_usable_url(&self) -> bool {
        is_place(&self.url)
    }
}

section! {
    /// Training. The cases are split by time: training, validation, test.
    ["train"] Train {
        /// Objective of the published model: lambdarank (LambdaMART, pairs of lawyers), rank_xendcg (whole
        /// cases) or regression (the label of each lawyer alone). evaluate compares it with the other two.
        objective: Objective = Objective::Lambdarank, OneOf(Objective::NAMES);
        /// Only cases first shown in the last so many days; 0: all.
        window_days: u32 = 0, Whole(0, 36_500);
        /// Maximum number of boosting rounds.
        max_rounds: u32 = 1000, Whole(1, 100_000);
        /// Share of the cases for early stopping; they follow the training cases in time.
        valid_fraction: f64 = 0.15, Between(0.0, 1.0);
        /// Share of the cases held out for evaluation: the newest ones.
        test_fraction: f64 = 0.2, Between(0.0, 1.0);
        /// Correct for position bias (lambdarank only): train with LightGBM's position field, and stop
        /// early on clicks weighted by the inverse of how often their position is looked at.
        position_bias: bool = true, Flag;
    } sections {
        /// LightGBM's parameters by LightGBM's names.
        params: toml::Table = default_params();
    }
}

/// LightGBM's parameters: a free section.
pub(crate) const PARAMS: Section = Section {
    name: super::PARAMS,
    about: &[
        " LightGBM's parameters by LightGBM's names: numbers, text, true or false, or lists of these.",
        " A file adds parameters and overrides these one by one.",
    ],
    keys: &[],
};

fn default_params() -> toml::Table {
    toml::toml! {
        metric = "ndcg"
        ndcg_eval_at = [5]
        learning_rate = 0.05
        num_leaves = 48
        min_data_in_leaf = 20
        feature_fraction = 0.9
        lambda_l1 = 0.2
        lambda_l2 = 0.2
        early_stopping_round = 100
        seed = 42
        deterministic = true
        force_row_wise = true
        num_threads = 1
    }
}

choice! {
    /// A training objective.
    Objective {
        /// Pairs of lawyers in the right order (LambdaMART).
        Lambdarank = "lambdarank";
        /// Whole cases in the right order.
        RankXendcg = "rank_xendcg";
        /// The label of each lawyer alone (pointwise).
        Regression = "regression";
    }
}
