//! The sections that the trainer alone reads.

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
        about: "Training; the cases are split by time.",
        keys: &[
            key(
                "objective",
                "What the published model is trained to do: lambdarank (LambdaMART, pairs of lawyers), rank_xendcg (whole\n\
                 cases) or regression (the label of each lawyer alone). evaluate judges the others beside it.",
                OneOf(&["lambdarank", "rank_xendcg", "regression"]),
            ),
            key("max_rounds", "Most boosting rounds.", Whole(1, 100_000)),
            key(
                "valid_fraction",
                "Share of the cases, after training's, that early stopping watches.",
                Between(0.0, 1.0),
            ),
            key(
                "test_fraction",
                "Share of the newest cases, that only evaluation sees.",
                Between(0.0, 1.0),
            ),
            key(
                "position_bias",
                "Model examination bias with LightGBM's position field (lambdarank only), and stop the training by clicks\n\
                 that are weighted by how often their position is looked at.",
                Flag,
            ),
        ],
    },
    Section {
        name: PARAMS,
        about: "LightGBM's parameters, under LightGBM's names: numbers, text, true or false, or lists of these.\n\
                A file adds to these and overrides them one by one.",
        keys: &[],
    },
    Section {
        name: "evaluate",
        about: "Offline evaluation.",
        keys: &[
            key("resamples", "Bootstrap draws.", RESAMPLES),
            key("confidence", "Level of the intervals.", CONFIDENCE),
            key("seed", "Seed of the bootstrap.", SEED),
            key(
                "mrr_min_grade",
                "Least grade that MRR counts: 1 click, 2 contact, 3 contract.",
                Whole(1, 3),
            ),
            key(
                "fair_min_rows",
                "Groups with fewer rows are left out of the fair gap.",
                ROWS,
            ),
            key(
                "latency_calls",
                "Scorer calls that latency is taken over.",
                Whole(20, 1_000_000),
            ),
            key("latency_rows", "Lawyers in each of those calls.", Whole(1, 10_000)),
        ],
    },
    Section {
        name: "gate",
        about: "What a model must reach offline to be published.",
        keys: &[
            key(
                "ndcg5_gain",
                "Least gain in nDCG@5 over legacy, as a share.",
                Number(-1.0, 1.0),
            ),
            key(
                "mrr5_gain",
                "The gain in MRR@5 over legacy lies above this.",
                Number(-1.0, 1.0),
            ),
            key("fair_gap", "Largest fair gap.", SHARE),
            key(
                "latency_p95_ms",
                "The 95th percentile of scoring lies below this.",
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
                "Called after a publication; empty calls nobody.",
                Words("empty, or http[s]://HOST[:PORT]/PATH"),
            ),
            key(
                "edge_dir",
                "Directory that Envoys watch: a publication writes the filter and ecds.json there, made of ecds.template.json; empty: none.",
                Words("a path, or empty"),
            ),
        ],
    },
];
