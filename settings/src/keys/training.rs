//! The sections that only the trainer reads.

use super::names::PARAMS;
use super::rule::Rule::{Between, Flag, Number, OneOf, Whole, Words};
use super::rule::{CONFIDENCE, MILLISECONDS, PATH, RESAMPLES, ROWS, SEED, SHARE, Section, key};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "lake",
        about: "Training data.",
        keys: &[key("dir", "Where matrices are written.", PATH)],
    },
    Section {
        name: "train",
        about: "Training. The cases are split by time: training, validation, test.",
        keys: &[
            key(
                "objective",
                "Objective of the published model: lambdarank (LambdaMART, pairs of lawyers), rank_xendcg (whole\n\
                 cases) or regression (the label of each lawyer alone). evaluate compares it with the other two.",
                OneOf(&["lambdarank", "rank_xendcg", "regression"]),
            ),
            key("max_rounds", "Maximum number of boosting rounds.", Whole(1, 100_000)),
            key(
                "valid_fraction",
                "Share of the cases for early stopping; they follow the training cases in time.",
                Between(0.0, 1.0),
            ),
            key(
                "test_fraction",
                "Share of the cases held out for evaluation: the newest ones.",
                Between(0.0, 1.0),
            ),
            key(
                "position_bias",
                "Correct for position bias (lambdarank only): train with LightGBM's position field, and stop early\n\
                 on clicks weighted by the inverse of how often their position is looked at.",
                Flag,
            ),
        ],
    },
    Section {
        name: PARAMS,
        about: "LightGBM's parameters by LightGBM's names: numbers, text, true or false, or lists of these.\n\
                A file adds parameters and overrides these one by one.",
        keys: &[],
    },
    Section {
        name: "evaluate",
        about: "Offline evaluation.",
        keys: &[
            key("resamples", "Bootstrap draws.", RESAMPLES),
            key("confidence", "Confidence level of the intervals.", CONFIDENCE),
            key("seed", "Seed of the bootstrap.", SEED),
            key(
                "mrr_min_grade",
                "Minimum grade that MRR counts: 1 click, 2 contact, 3 contract.",
                Whole(1, 3),
            ),
            key(
                "fair_min_rows",
                "Groups with fewer rows are left out of the fair gap.",
                ROWS,
            ),
            key(
                "latency_calls",
                "Number of scorer calls that latency is measured over.",
                Whole(20, 1_000_000),
            ),
            key("latency_rows", "Lawyers in each of those calls.", Whole(1, 10_000)),
        ],
    },
    Section {
        name: "gate",
        about: "Offline gate: a model is published only if it passes.",
        keys: &[
            key(
                "ndcg5_gain",
                "Minimum gain in nDCG@5 over legacy, as a share.",
                Number(-1.0, 1.0),
            ),
            key(
                "mrr5_gain",
                "The gain in MRR@5 over legacy must exceed this.",
                Number(-1.0, 1.0),
            ),
            key("fair_gap", "Maximum fair gap.", SHARE),
            key(
                "latency_p95_ms",
                "The 95th percentile of the scoring time must be below this.",
                MILLISECONDS,
            ),
        ],
    },
    Section {
        name: "publish",
        about: "Publication.",
        keys: &[
            key(
                "signing_key",
                "Private key (64 hex characters) that signs the manifest.",
                PATH,
            ),
            key(
                "notify_url",
                "URL that publish calls to tell the gateway of a new model; empty: none.",
                Words("empty, or http[s]://HOST[:PORT]/PATH"),
            ),
            key(
                "edge_dir",
                "Directory that Envoys watch: publish writes the filter and ecds.json there, from ecds.template.json; empty: none.",
                Words("a path, or empty"),
            ),
        ],
    },
];
