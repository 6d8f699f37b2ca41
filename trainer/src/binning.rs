//! Turns rows of a stored matrix into LightGBM's bins. The values are in memory only as bins, but
//! for one batch and the sample that the bins are found from.

use std::ops::Range;

use crate::lightgbm::{Dataset, Filling, Parameters, bin_rows};
use crate::machines::Share;
use crate::matrix::{IndexedCase, StoredMatrix};

/// Those of the cases that belong to the share.
pub fn cases_of(share: Share, matrix: &StoredMatrix, cases: Range<usize>) -> Vec<&IndexedCase> {
    let numbers = cases.filter(|case| share.has(*case));
    numbers.map(|case| &matrix.index().cases[case]).collect()
}

/// The rows of some cases, and what a model sees of them.
pub struct Rows<'a, F> {
    /// The matrix.
    pub matrix: &'a StoredMatrix,
    /// The cases.
    pub cases: Range<usize>,
    /// Columns of a row that `columns` makes.
    pub width: usize,
    /// Appends the columns of the row of this number, which has these features.
    pub columns: F,
}

impl<F: Fn(usize, &[f64], &mut Vec<f64>)> Rows<'_, F> {
    /// The data set of the share. Its bins are found from a sample of all rows, so they are the same
    /// on all machines.
    ///
    /// # Errors
    /// A matrix that cannot be read, or a failure of LightGBM.
    pub fn bin(&self, share: Share, parameters: &Parameters) -> anyhow::Result<Dataset> {
        let all = self.matrix.index().rows(&self.cases);
        let mut sampled = bin_rows(all.len(), parameters)?;
        sampled.iter_mut().for_each(|row| *row += all.start);
        let features = self.matrix.features(&sampled)?;
        let mut sample = Vec::with_capacity(sampled.len() * self.width);
        for (row, features) in sampled.iter().zip(features.chunks_exact(self.matrix.schema().len())) {
            (self.columns)(*row, features, &mut sample);
        }
        drop(features);
        let cases = cases_of(share, self.matrix, self.cases.clone());
        let rows = cases.iter().map(|case| case.rows).sum();
        let filling = Filling::new(&sample, self.width, rows, all.len(), parameters)?;
        drop(sample);
        self.fill(filling, share)
    }

    /// The data set of all rows, with the bins of `reference`.
    ///
    /// # Errors
    /// As [`Rows::bin`].
    pub fn bin_like(&self, reference: &Dataset, parameters: &Parameters) -> anyhow::Result<Dataset> {
        let rows = self.matrix.index().rows(&self.cases).len();
        self.fill(Filling::like(reference, rows, parameters)?, Share::WHOLE)
    }

    fn fill(&self, mut filling: Filling, share: Share) -> anyhow::Result<Dataset> {
        let index = self.matrix.index();
        let mut case = self.cases.start;
        let mut columns = Vec::with_capacity(self.width);
        self.matrix.each_row(index.rows(&self.cases), |row, features| {
            while row >= index.cases[case].first_row + index.cases[case].rows {
                case += 1;
            }
            if share.has(case) {
                columns.clear();
                (self.columns)(row, features, &mut columns);
                filling.push(&columns)?;
            }
            Ok(())
        })?;
        Ok(filling.finish()?)
    }
}
