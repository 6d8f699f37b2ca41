//! From the sum of the trees to what LightGBM's `predict` returns (`src/objective/*.hpp`, `ConvertOutput`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::math;

/// The conversion of an objective. Objectives of one output convert `scores[0]` alone, as LightGBM does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Conversion {
    Identity,
    /// `1 / (1 + exp(-sigma * x))`: `binary`, `cross_entropy` (sigma 1).
    Sigmoid(f64),
    /// The same for every class: `multiclassova`.
    SigmoidEach(f64),
    /// `poisson`, `gamma`, `tweedie`.
    Exp,
    /// `log1p(exp(x))`: `cross_entropy_lambda`.
    Log1pExp,
    Softmax,
    /// `sign(x) * x * x`: regression with `reg_sqrt`.
    SignedSquare,
}

/// What an objective does with a score, by LightGBM's main name (`objective_function.cpp`,
/// `CreateObjectiveFunction`) and its aliases (`config.h`, `ParseObjectiveAlias`).
const OBJECTIVES: &[(&str, &[&str], Kind)] = &[
    (
        "regression",
        &[
            "regression_l2",
            "mean_squared_error",
            "mse",
            "l2",
            "l2_root",
            "root_mean_squared_error",
            "rmse",
        ],
        Kind::Regression,
    ),
    ("regression_l1", &["mean_absolute_error", "l1", "mae"], Kind::Regression),
    ("huber", &[], Kind::Identity),
    ("fair", &[], Kind::Regression),
    ("quantile", &[], Kind::Regression),
    ("mape", &["mean_absolute_percentage_error"], Kind::Regression),
    ("poisson", &[], Kind::Exp),
    ("gamma", &[], Kind::Exp),
    ("tweedie", &[], Kind::Exp),
    ("binary", &[], Kind::Sigmoid),
    ("multiclass", &["softmax"], Kind::Softmax),
    ("multiclassova", &["multiclass_ova", "ova", "ovr"], Kind::SigmoidEach),
    ("cross_entropy", &["xentropy"], Kind::UnitSigmoid),
    ("cross_entropy_lambda", &["xentlambda"], Kind::Log1pExp),
    ("lambdarank", &[], Kind::Identity),
    (
        "rank_xendcg",
        &["xendcg", "xe_ndcg", "xe_ndcg_mart", "xendcg_mart"],
        Kind::Identity,
    ),
    ("custom", &["none", "null", "na"], Kind::Identity),
];

/// A conversion before its parameters are read.
#[derive(Clone, Copy)]
enum Kind {
    Identity,
    /// The identity; with the flag `sqrt` the signed square. Huber regression drops the flag, the others keep it.
    Regression,
    Exp,
    Sigmoid,
    SigmoidEach,
    UnitSigmoid,
    Log1pExp,
    Softmax,
}

impl Conversion {
    /// The conversion that a model's objective line stands for. Parameters that no conversion needs are passed over,
    /// as LightGBM does.
    ///
    /// # Errors
    /// An objective LightGBM does not know, or a parameter that the conversion needs and the line does not have: what
    /// is allowed instead.
    pub(crate) fn from_objective(line: &str, outputs: usize) -> Result<Conversion, String> {
        let tokens = || line.split(' ').filter(|token| !token.is_empty());
        let name = tokens().next().unwrap_or("");
        let known = OBJECTIVES
            .iter()
            .find(|(main, aliases, _)| *main == name || aliases.contains(&name));
        let Some((_, _, kind)) = known else {
            let names: Vec<&str> = OBJECTIVES.iter().map(|(main, _, _)| *main).collect();
            return Err(format!(
                "an objective that LightGBM knows ({}); where scores are to stay as they are, write objective=custom",
                names.join(", ")
            ));
        };
        let parameter = |key: &str| {
            let pairs = tokens().filter_map(|token| token.split_once(':'));
            pairs
                .filter(|(name, _)| *name == key)
                .map(|(_, value)| value)
                .next_back()
        };
        let sigma = || match parameter("sigmoid").and_then(legacy_number) {
            Some(sigma) if sigma > 0.0 && sigma.is_finite() => Ok(sigma),
            _ => Err("a parameter sigmoid:S with S greater than 0"),
        };
        let classes = || match parameter("num_class").and_then(|value| value.parse().ok()) {
            Some(classes) if outputs == classes => Ok(()),
            _ => Err(format!(
                "a parameter num_class:N with N equal to num_tree_per_iteration, which is {outputs}"
            )),
        };
        Ok(match kind {
            Kind::Identity => Conversion::Identity,
            Kind::Regression if tokens().skip(1).any(|token| token == "sqrt") => Conversion::SignedSquare,
            Kind::Regression => Conversion::Identity,
            Kind::Exp => Conversion::Exp,
            Kind::Sigmoid => Conversion::Sigmoid(sigma()?),
            Kind::SigmoidEach => {
                classes()?;
                Conversion::SigmoidEach(sigma()?)
            }
            Kind::UnitSigmoid => Conversion::Sigmoid(1.0),
            Kind::Log1pExp => Conversion::Log1pExp,
            Kind::Softmax => {
                classes()?;
                Conversion::Softmax
            }
        })
    }

    /// Converts one row's scores in place.
    pub(crate) fn apply(self, scores: &mut [f64]) {
        match self {
            Conversion::Identity => {}
            Conversion::Sigmoid(sigma) => scores[0] = sigmoid(sigma, scores[0]),
            Conversion::SigmoidEach(sigma) => {
                for score in scores {
                    *score = sigmoid(sigma, *score);
                }
            }
            Conversion::Exp => scores[0] = math::exp(scores[0]),
            Conversion::Log1pExp => scores[0] = math::log1p(math::exp(scores[0])),
            Conversion::Softmax => softmax(scores),
            Conversion::SignedSquare => {
                let x = scores[0];
                let sign = f64::from(i32::from(x > 0.0) - i32::from(x < 0.0));
                scores[0] = sign * x * x;
            }
        }
    }
}

fn sigmoid(sigma: f64, x: f64) -> f64 {
    1.0 / (1.0 + math::exp(-sigma * x))
}

/// `Common::Softmax` (`utils/common.h`): the largest score is found as `std::max(score, largest)` does.
fn softmax(scores: &mut [f64]) {
    let mut largest = scores[0];
    for &score in &scores[1..] {
        // std::max(a, b) is `a < b ? b : a`: a NaN score is kept, a NaN maximum is replaced.
        largest = if score < largest { largest } else { score };
    }
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = math::exp(*score - largest);
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
}

/// `Common::Atof` for a plain positive decimal without exponent, rounding where LightGBM rounds: it
/// reads objective parameters with this imprecise routine, so a correctly rounded sigma would be
/// another number. `None` for anything but digits, one point and a small exponent.
fn legacy_number(text: &str) -> Option<f64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| {
        text.bytes().try_fold(0.0_f64, |value, byte| {
            byte.is_ascii_digit().then(|| value * 10.0 + f64::from(byte - b'0'))
        })
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = digits(whole)?;
    if mantissa.contains('.') {
        value += digits(fraction)? / power(10.0, u32::try_from(fraction.len()).ok()?);
    }
    let scale = scale(exponent.unsigned_abs().min(308));
    Some(if exponent < 0 { value / scale } else { value * scale })
}

/// `Common::Pow`: the order of its multiplications decides the rounding.
fn power(base: f64, exponent: u32) -> f64 {
    match exponent {
        0 => 1.0,
        n if n % 2 == 0 => power(base * base, n / 2),
        n if n % 3 == 0 => power(base * base * base, n / 3),
        n => base * power(base, n - 1),
    }
}

/// The scaling factor of `Common::Atof`, built in its order: 1e50, 1e8, then tens.
fn scale(mut exponent: u32) -> f64 {
    let mut scale = 1.0;
    for (step, factor) in [(50, 1e50), (8, 1e8), (1, 10.0)] {
        while exponent >= step {
            scale *= factor;
            exponent -= step;
        }
    }
    scale
}
