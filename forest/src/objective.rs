//! From the sum of the trees to what LightGBM's `predict` returns (`src/objective/*.hpp`, `ConvertOutput`).

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

impl Conversion {
    /// The conversion the objective line stands for; unknown objectives are not converted.
    ///
    /// # Errors
    /// What is wrong with a parameter of the line.
    pub fn from_objective(line: &str, outputs: usize) -> Result<Conversion, &'static str> {
        let mut tokens = line.split(' ').filter(|token| !token.is_empty());
        let name = tokens.next().unwrap_or("");
        let parameter = |key: &str| {
            let pairs = line.split(' ').filter_map(|token| token.split_once(':'));
            pairs
                .filter(|(name, _)| *name == key)
                .map(|(_, value)| value)
                .next_back()
        };
        let sigma = || match parameter("sigmoid").and_then(legacy_number) {
            Some(sigma) if sigma > 0.0 => Ok(sigma),
            _ => Err("a parameter sigmoid:S with S greater than 0"),
        };
        let classes = || match parameter("num_class").and_then(|value| value.parse().ok()) {
            Some(classes) if outputs == classes => Ok(()),
            _ => Err("a parameter num_class:N with N equal to num_tree_per_iteration"),
        };
        Ok(match name {
            "binary" => Conversion::Sigmoid(sigma()?),
            "cross_entropy" | "xentropy" => Conversion::Sigmoid(1.0),
            "cross_entropy_lambda" | "xentlambda" => Conversion::Log1pExp,
            "multiclass" | "softmax" => {
                classes()?;
                Conversion::Softmax
            }
            "multiclassova" | "multiclass_ova" | "ova" | "ovr" => {
                classes()?;
                Conversion::SigmoidEach(sigma()?)
            }
            "poisson" | "gamma" | "tweedie" => Conversion::Exp,
            // Huber regression drops the square root; every other regression keeps it.
            "regression" | "regression_l1" | "fair" | "quantile" | "mape" if tokens.any(|token| token == "sqrt") => {
                Conversion::SignedSquare
            }
            _ => Conversion::Identity,
        })
    }

    /// Converts one row's scores in place.
    pub fn apply(self, scores: &mut [f64]) {
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
