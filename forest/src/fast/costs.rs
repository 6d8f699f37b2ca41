//! Which kernel when: what each takes for so many rows of a model, in tenths of nanoseconds, rounded, from what profiles of
//! the sandbox say that its pieces take.

use super::sizes::{bytes, sliced};

/// Multiplexers of a megabyte.
const LARGE: usize = 1 << 16;

/// How much there is of what kernels work on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Costs {
    pub trees: usize,
    pub columns: usize,
    pub questions: usize,
    /// Questions that are category sets.
    pub sets: usize,
    /// Steps of a walk through all trees; 0 where there is no walk.
    pub steps: usize,
    /// Whether there are masks.
    pub masks: bool,
    /// Turns; 0 where there are none.
    pub turns: usize,
    pub muxes: usize,
    /// Of trees' parts.
    pub groups: usize,
}

impl Costs {
    /// Rows from which on the kernel with a byte a row is the fastest, and from which on the bit-sliced one.
    pub(super) fn borders(&self) -> (usize, usize) {
        let fastest = |rows: usize| self.sliced(rows) <= self.row_by_row(rows).min(self.bytes(rows));
        let many = (1..sliced::ROWS).find(|&rows| fastest(rows)).unwrap_or(sliced::ROWS);
        let dozen = (1..many).find(|&rows| self.bytes(rows) < self.row_by_row(rows));
        (dozen.unwrap_or(many), many)
    }

    fn row_by_row(&self, rows: usize) -> usize {
        match self {
            Costs { masks: true, .. } => rows * ((2 * self.columns + 5) * self.trees + 80 * self.columns),
            // What cannot be walked is bit-sliced, however few rows there are.
            Costs { steps: 0, .. } => usize::MAX,
            _ => rows * (13 * self.steps + 85 * self.columns),
        }
    }

    fn bytes(&self, rows: usize) -> usize {
        if self.turns == 0 {
            return usize::MAX;
        }
        let pass = 5 * self.turns + 80 * self.columns + 33 * self.sets;
        rows.div_ceil(bytes::ROWS) * pass + rows * (4 * self.trees + 25 * self.columns)
    }

    fn sliced(&self, rows: usize) -> usize {
        // Multiplexers and values of larger models do not stay in the second cache.
        let (mux, value) = if self.muxes < LARGE { (6, 5) } else { (9, 25) };
        let columns = 300 * self.columns + 30 * self.sets;
        let pass = mux * self.muxes + 3 * self.questions + 640 * self.groups + columns;
        pass + rows * (value * self.trees + 15 * self.columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Costs = Costs {
        trees: 500,
        columns: 136,
        questions: 19_400,
        sets: 0,
        steps: 2_300,
        masks: false,
        turns: 41_000,
        muxes: 33_000,
        groups: 63,
    };

    #[test]
    fn few_rows_walk_a_dozen_has_bytes_and_many_have_bits() {
        let (dozen, many) = WIDE.borders();
        assert!((3..=9).contains(&dozen), "{dozen}");
        assert!((12..=40).contains(&many), "{many}");
    }

    #[test]
    fn what_a_model_does_not_have_is_not_picked() {
        let (dozen, many) = Costs { turns: 0, ..WIDE }.borders();
        assert!(dozen == many && many > 1, "{many}");
        assert_eq!(
            Costs {
                turns: 0,
                steps: 0,
                ..WIDE
            }
            .borders(),
            (1, 1)
        );
    }
}
