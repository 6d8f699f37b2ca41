//! What counts as zero.

/// `|x|` up to this counts as zero: the *float* 1e-35 widened (`kZeroThreshold`, LightGBM `meta.h`).
pub(crate) const ZERO_THRESHOLD: f64 = 1e-35_f32 as f64;

/// Replaces what counts as zero (also -0.0) by +0.0; NaN and infinities stay.
#[inline(always)]
pub(crate) fn flush_zero(x: f64) -> f64 {
    if x.abs() <= ZERO_THRESHOLD { 0.0 } else { x }
}
