//! Golden rows: a gateway uses a component only if it reproduces their scores bit for bit.

use anyhow::{Context, ensure};
use runtime::artefact::{GOLDEN_TIMEOUT, Golden};
use runtime::{Output, Scorer};

use super::Publication;
use crate::lightgbm::Predictor;

/// Maximum number of real rows, spread over those that the model never learned from.
const REAL_ROWS: usize = 16;

/// Scores real and hostile rows with the component, and checks each score against LightGBM's own
/// prediction for the scaled row.
///
/// # Errors
/// A score that differs from LightGBM's in any bit.
pub(super) fn golden(scorer: &Scorer, of: &Publication<'_>) -> anyhow::Result<Golden> {
    let rows = rows(of);
    let flat = rows.concat();
    let scores = scorer
        .score(&flat, Output::Converted, GOLDEN_TIMEOUT)
        .context("scoring the golden rows")?;
    let text = std::str::from_utf8(of.model).context("the model is not UTF-8")?;
    let mut scaled = flat;
    of.feature_map.scale(&mut scaled);
    let expected = Predictor::from_text(text)?.predict(&scaled)?;
    ensure!(
        scores.len() == expected.len(),
        "the component gives {} scores for {} golden rows, LightGBM {}",
        scores.len(),
        rows.len(),
        expected.len()
    );
    for (at, (ours, theirs)) in scores.iter().zip(&expected).enumerate() {
        ensure!(
            ours.to_bits() == theirs.to_bits(),
            "golden row {at} {:?}: the component scores {ours:e}, LightGBM {theirs:e}; they must agree to the last bit",
            rows[at]
        );
    }
    let present = |row: &Vec<f64>| row.iter().map(|&x| (!x.is_nan()).then_some(x)).collect();
    Ok(Golden {
        rows: rows.iter().map(present).collect(),
        scores,
    })
}

fn rows(of: &Publication<'_>) -> Vec<Vec<f64>> {
    let step = of.rows.len().div_ceil(REAL_ROWS).max(1);
    let real = of.rows.iter().step_by(step).cloned();
    real.chain(hostile(of.feature_map.names().len())).collect()
}

/// Unusual rows that reveal a wrong evaluator: all features or every other one missing, signed
/// zeros, LightGBM's zero threshold and a neighbour, denormal and huge values.
fn hostile(width: usize) -> Vec<Vec<f64>> {
    /// LightGBM's `kZeroThreshold`: the f32 1e-35, as f64.
    const ZERO_THRESHOLD: f64 = 1e-35_f32 as f64;
    let mut rows: Vec<Vec<f64>> = [
        f64::NAN,
        0.0,
        -0.0,
        1.0,
        0.5,
        -1.0,
        ZERO_THRESHOLD,
        -ZERO_THRESHOLD,
        ZERO_THRESHOLD.next_up(),
        f64::MIN_POSITIVE / 2.0,
        1e300,
        -1e300,
    ]
    .into_iter()
    .map(|value| vec![value; width])
    .collect();
    for missing in 0..2 {
        let value = |at: usize| if at % 2 == missing { f64::NAN } else { 0.5 };
        rows.push((0..width).map(value).collect());
    }
    rows
}
