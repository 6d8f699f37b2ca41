//! The affine scaling of a feature map.

use alloc::vec::Vec;
use core::fmt;

/// Per-feature scaling `y = (x - offset) / scale`; NaN stays NaN.
///
/// Scoring applies it before anything else, so that a scaled forest scores exactly as scaling first
/// and predicting then.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaler {
    offset: Vec<f64>,
    scale: Vec<f64>,
}

/// Why a scaler was refused.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalerError {
    /// `offset` and `scale` have these different lengths.
    Length {
        /// How many offsets were given.
        offset: usize,
        /// How many scales were given.
        scale: usize,
    },
    /// `offset[feature]` is NaN or infinite.
    Offset {
        /// Column of the first such offset, from 0.
        feature: usize,
        /// The offset as given.
        value: f64,
    },
    /// `scale[feature]` is not a finite number above 0.
    Scale {
        /// Column of the first such scale, from 0.
        feature: usize,
        /// The scale as given.
        value: f64,
    },
}

impl Scaler {
    /// One offset and one scale a feature.
    ///
    /// # Errors
    /// Different lengths, an offset that is not finite, a scale that is not finite or not above 0.
    pub fn new(offset: Vec<f64>, scale: Vec<f64>) -> Result<Scaler, ScalerError> {
        if offset.len() != scale.len() {
            return Err(ScalerError::Length {
                offset: offset.len(),
                scale: scale.len(),
            });
        }
        for (feature, &value) in offset.iter().enumerate() {
            if !value.is_finite() {
                return Err(ScalerError::Offset { feature, value });
            }
        }
        for (feature, &value) in scale.iter().enumerate() {
            if !value.is_finite() || value <= 0.0 {
                return Err(ScalerError::Scale { feature, value });
            }
        }
        Ok(Scaler { offset, scale })
    }

    /// Scales the first [`len`](Scaler::len) values of a row in place.
    pub fn apply(&self, row: &mut [f64]) {
        for (x, (offset, scale)) in row.iter_mut().zip(self.pairs()) {
            *x = (*x - offset) / scale;
        }
    }

    /// Features scaled.
    pub fn len(&self) -> usize {
        self.offset.len()
    }

    /// Whether no feature is scaled.
    pub fn is_empty(&self) -> bool {
        self.offset.is_empty()
    }

    /// `(offset, scale)` of a feature.
    pub(crate) fn pair(&self, feature: usize) -> (f64, f64) {
        (self.offset[feature], self.scale[feature])
    }

    /// `(offset, scale)` in feature order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        self.offset.iter().copied().zip(self.scale.iter().copied())
    }
}

impl fmt::Display for ScalerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScalerError::Length { offset, scale } => {
                write!(
                    f,
                    "{offset} offsets but {scale} scales: one of each a feature is needed"
                )
            }
            ScalerError::Offset { feature, value } => {
                write!(f, "offset of feature {feature} is {value}: a finite number is needed")
            }
            ScalerError::Scale { feature, value } => {
                write!(
                    f,
                    "scale of feature {feature} is {value}: a finite number above 0 is needed"
                )
            }
        }
    }
}

impl core::error::Error for ScalerError {}
