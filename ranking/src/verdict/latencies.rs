//! The scoring times of a log, in little memory and without rounding.

use crate::statistics::quantile_by;

/// Times below this many microseconds are counted, each value by itself; the budget for scoring is far below it.
const COUNTED: usize = 1 << 16;

/// Scoring times in microseconds: a quarter of a megabyte, and 4 bytes for each time above 65 ms.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    /// How often each time came; empty until one came.
    counts: Vec<u32>,
    counted: usize,
    /// The times that are not counted.
    long: Vec<u32>,
}

impl Latencies {
    pub(super) fn add(&mut self, micros: u32) {
        if micros as usize >= COUNTED {
            self.long.push(micros);
            return;
        }
        self.counts.resize(COUNTED, 0);
        self.counts[micros as usize] += 1;
        self.counted += 1;
    }

    /// The [`quantile`](crate::statistics::quantile) of the times, in milliseconds; `None` without times.
    pub(super) fn quantile_ms(mut self, p: f64) -> Option<f64> {
        self.long.sort_unstable();
        let n = self.counted + self.long.len();
        quantile_by(n, p, |at| f64::from(self.nth(at)) / 1000.0)
    }

    /// The time at an index of their ascending order.
    fn nth(&self, at: usize) -> u32 {
        if at >= self.counted {
            return self.long[at - self.counted];
        }
        let mut below = 0;
        let nth = self.counts.iter().position(|count| {
            below += *count as usize;
            below > at
        });
        nth.expect("the counts add up to `counted`") as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::quantile;

    proptest! {
        #[test]
        fn the_quantile_is_that_of_the_sorted_times(
            times in proptest::collection::vec(prop_oneof![0u32..50, 65_530u32..65_540, any::<u32>()], 0..50), p in 0.0..1.0f64
        ) {
            let mut latencies = Latencies::default();
            times.iter().for_each(|micros| latencies.add(*micros));
            let mut ms: Vec<f64> = times.iter().map(|micros| f64::from(*micros) / 1000.0).collect();
            ms.sort_by(f64::total_cmp);
            prop_assert_eq!(latencies.quantile_ms(p), quantile(&ms, p));
        }
    }
}
