//! The models that are compared: trained anew in each run, on rows of the shape they will score.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use gbdt::config::Config;
use gbdt::decision_tree::{Data, DataVec};
use gbdt::gradient_boost::GBDT;
use lightgbm3::Booster;
use ltr_trainer::lightgbm;
use serde_json::json;

use crate::data::{Columns, Shape, Source, generator};

/// Enough for every tree to grow all its leaves.
const TRAINING_ROWS: usize = 20_000;
/// `gbdt` sorts every column at every node: with more rows it trains for minutes. What counts here is how long it
/// takes to walk its trees, and that goes with their number and depth.
const GBDT_TRAINING_ROWS: usize = 500;
/// Values in each categorical column.
const CATEGORIES: [u32; 5] = [5, 12, 30, 80, 200];

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// 200 trees, 48 leaves, 11 features
    #[value(name = "200x48x11")]
    Small,
    /// 500 trees, 64 leaves, 136 features
    #[value(name = "500x64x136")]
    Wide,
    /// 1000 trees, 255 leaves, 50 features
    #[value(name = "1000x255x50")]
    Large,
    /// 300 trees, 64 leaves, 20 features, five of them categories, 15 % of the values missing
    Categorical,
    /// LightGBM's example of that name, with its parameters; needs --lambdarank
    Lambdarank,
}

/// One model and the rows it is for.
#[derive(Debug)]
pub(crate) struct Case {
    /// As the report names it.
    pub name: String,
    pub trees: usize,
    leaves: usize,
    pub source: Source,
    training: Training,
}

#[derive(Debug)]
enum Training {
    Synthetic(Columns),
    /// Labels of the source's rows, and how many rows each query has.
    Ranking {
        labels: Vec<f32>,
        groups: Vec<u32>,
    },
}

impl Case {
    pub(crate) fn synthetic(name: Name, shape: Shape) -> Case {
        let (title, trees, leaves, width) = match name {
            Name::Small => ("200x48x11", 200, 48, 11),
            Name::Wide => ("500x64x136", 500, 64, 136),
            Name::Large => ("1000x255x50", 1000, 255, 50),
            Name::Categorical | Name::Lambdarank => ("300x64x20 categorical+NaN", 300, 64, 20),
        };
        let categorical = name == Name::Categorical;
        let columns = Columns {
            width,
            shape,
            categories: if categorical { CATEGORIES.to_vec() } else { Vec::new() },
            missing: if categorical { 0.15 } else { 0.0 },
        };
        Case {
            name: format!("{title} {}", shape.name()),
            trees,
            leaves,
            source: Source::Synthetic(columns.clone()),
            training: Training::Synthetic(columns),
        }
    }

    /// LightGBM's example: `rank.train` and `rank.train.query` in `folder`.
    pub(crate) fn lambdarank(folder: &Path) -> Result<Case> {
        let path = folder.join("rank.train");
        let ranking = rows::svmlight::read_ranking(&path)
            .with_context(|| format!("reading LightGBM's example from {}", path.display()))?;
        ensure!(ranking.width > 0, "{}: no features", path.display());
        Ok(Case {
            name: format!("100x31x{} lambdarank example", ranking.width),
            trees: 100,
            leaves: 31,
            source: Source::Crossed {
                values: ranking.values,
                width: ranking.width,
            },
            training: Training::Ranking {
                labels: ranking.labels.into_iter().map(|label| label as f32).collect(),
                groups: ranking.groups,
            },
        })
    }

    /// The model's text. The same seed gives the same text.
    pub(crate) fn train(&self, seed: u64) -> Result<String> {
        let mut parameters = json!({
            "num_leaves": self.leaves, "verbosity": -1, "num_threads": 2,
            "deterministic": true, "force_row_wise": true,
        });
        let own = match &self.training {
            Training::Synthetic(columns) => {
                let categorical: Vec<String> = (0..columns.categories.len()).map(|c| c.to_string()).collect();
                json!({ "objective": "regression", "min_data_in_leaf": 5, "categorical_feature": categorical.join(",") })
            }
            Training::Ranking { .. } => {
                json!({ "objective": "lambdarank", "min_data_in_leaf": 50, "min_sum_hessian_in_leaf": 5.0 })
            }
        };
        let parameters = parameters.as_object_mut().context("the parameters are an object")?;
        parameters.extend(own.as_object().context("the parameters are an object")?.clone());
        parameters.retain(|_, value| value != "");
        let parameters = lightgbm::Parameters::from_json(parameters)?;
        let (values, labels) = self.training_rows(seed, TRAINING_ROWS);
        let mut data = lightgbm::Dataset::new(&values, self.source.width(), &parameters, None)?;
        data.set_labels(&labels)?;
        if let Training::Ranking { groups, .. } = &self.training {
            data.set_groups(groups)?;
        }
        let mut booster = lightgbm::Booster::new(data, &parameters)?;
        for _ in 0..self.trees {
            booster.update()?;
        }
        Ok(booster.to_text(self.trees)?)
    }

    /// A model of `gbdt`'s own, with as many trees and the depth that holds as many leaves: it does not read LightGBM's.
    pub(crate) fn train_gbdt(&self, seed: u64) -> GBDT {
        let width = self.source.width();
        let (values, labels) = self.training_rows(seed, GBDT_TRAINING_ROWS);
        let mut rows: DataVec = values
            .chunks_exact(width)
            .zip(labels)
            .take(GBDT_TRAINING_ROWS)
            .map(|(row, label)| Data::new_training_data(gbdt_row(row), 1.0, label, None))
            .collect();
        let mut config = Config::new();
        config.set_feature_size(width);
        config.set_feature_sample_ratio(0.3);
        config.set_iterations(self.trees);
        config.set_max_depth(self.leaves.next_power_of_two().ilog2());
        config.set_shrinkage(0.1);
        config.set_min_leaf_size(1);
        config.set_loss("SquaredError");
        let mut model = GBDT::new(&config);
        model.fit(&mut rows);
        model
    }

    fn training_rows(&self, seed: u64, n: usize) -> (Vec<f64>, Vec<f32>) {
        match (&self.training, &self.source) {
            (Training::Ranking { labels, .. }, Source::Crossed { values, .. }) => (values.clone(), labels.clone()),
            (Training::Synthetic(columns), source) => {
                let mut rng = generator(seed, &self.name, 0);
                let values = source.draw(&mut rng, n);
                let labels = values
                    .chunks_exact(columns.width)
                    .map(|row| columns.target(row, &mut rng))
                    .collect();
                (values, labels)
            }
            (Training::Ranking { .. }, Source::Synthetic(_)) => unreachable!("rankings come from files"),
        }
    }
}

/// LightGBM's text in the hands of its C API.
pub(crate) fn booster(text: &str) -> Result<Booster> {
    let mut booster = Booster::from_string(text)?;
    booster.single_row_fast_init::<f64>(Some(&json!({ "num_threads": 1 })))?;
    Ok(booster)
}

/// `gbdt` works in f32. It has a mark for missing values, but its trees hardly grow beside them: a number that no other
/// value has stands for them.
pub(crate) fn gbdt_row(row: &[f64]) -> Vec<f32> {
    row.iter().map(|&x| if x.is_nan() { -1.0 } else { x as f32 }).collect()
}

/// Leaves of all trees together, from a model's text.
pub(crate) fn leaves(text: &str) -> usize {
    text.lines()
        .filter_map(|line| line.strip_prefix("num_leaves=")?.parse::<usize>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_counted_over_all_trees() {
        assert_eq!(leaves("tree\nnum_leaves=3\nnum_cat=0\nnum_leaves=5\nnum_leaves=x\n"), 8);
    }

    #[test]
    fn a_missing_value_reaches_gbdt_as_a_number() {
        assert_eq!(gbdt_row(&[0.5, f64::NAN]), [0.5, -1.0]);
    }

    #[test]
    fn the_same_seed_gives_the_same_model_and_its_trees_are_full() {
        let case = Case {
            trees: 3,
            ..Case::synthetic(Name::Categorical, Shape::Lognormal)
        };
        let text = case.train(7).unwrap();
        assert_eq!(text, case.train(7).unwrap());
        assert_eq!(leaves(&text), 3 * 64);
        assert!(
            text.lines()
                .any(|line| line.starts_with("num_cat=") && line != "num_cat=0")
        );
    }
}
