//! Scores many rows for `/ltr/score` in pieces, so that no call holds its turn for long.
//!
//! The first piece shows the time per row. A call that cannot end in time is refused then, not at
//! its deadline.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::histogram;
use ranking::Unscored;

use super::lane::{Failure, Scored, TimeBudget};
use super::model::Model;
use super::registry::Models;

/// Target time of one piece.
const PIECE_TIME: Duration = Duration::from_millis(10);
/// Rows of the first piece while the time per row is not known.
const FIRST_PIECE: usize = 32;

/// Why rows got no scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// The component gave no scores, or was not asked.
    Unscored(Unscored),
    /// The rows cannot all be scored in time.
    TooMany {
        /// Number of rows that can.
        fit: usize,
        /// Measured time per row.
        per_row: Duration,
    },
}

impl Models {
    /// Scores all of `rows` or none (schema order, NaN for missing). The limit `within` includes
    /// waiting for turns.
    ///
    /// # Errors
    /// Why there are no scores. After several failures in a row the breaker refuses calls at once,
    /// as for [`Models::score`]. `/rank` has a breaker of its own.
    pub async fn score_batch(
        &self,
        model: &Arc<Model>,
        rows: &[Vec<f64>],
        within: Duration,
    ) -> Result<Scored, BatchError> {
        let start = Instant::now();
        let time = TimeBudget {
            until: start + within,
            total: within,
        };
        let call = model.score.breaker.admit(start).map_err(BatchError::Unscored)?;
        let values = model.values(rows.iter().map(Vec::as_slice));
        let outcome = model.score_in_pieces(Arc::new(values), time).await;
        match outcome {
            Ok(scored) => {
                call.succeeded();
                histogram!("ltr_score_seconds").record(scored.took);
                Ok(scored)
            }
            Err(Interrupted::Failed(failure)) => {
                if let Failure::Fault(reason) = failure
                    && call.failed(reason, Instant::now())
                {
                    self.report_opened(model, "ltr_score_breaker_opened_total", reason);
                }
                Err(BatchError::Unscored(failure.reason()))
            }
            Err(Interrupted::TooMany { fit, per_row }) => Err(BatchError::TooMany { fit, per_row }),
        }
    }
}

/// Why not all pieces were scored.
enum Interrupted {
    Failed(Failure),
    TooMany { fit: usize, per_row: Duration },
}

/// A range of a call's values.
struct Piece {
    all: Arc<Vec<f64>>,
    range: Range<usize>,
}

impl AsRef<[f64]> for Piece {
    fn as_ref(&self) -> &[f64] {
        &self.all[self.range.clone()]
    }
}

impl Model {
    async fn score_in_pieces(&self, values: Arc<Vec<f64>>, time: TimeBudget) -> Result<Scored, Interrupted> {
        let (width, pace) = (self.columns.len(), &self.score.pace);
        let count = values.len() / width;
        let mut all = Scored {
            scores: Vec::with_capacity(count),
            took: Duration::ZERO,
        };
        while all.scores.len() < count {
            let done = all.scores.len();
            // Every call scores its first piece and so measures the time again: one busy moment
            // does not shut out later calls.
            if let Some(per_row) = pace.per_row().filter(|_| done > 0)
                && per_row.saturating_mul(u32::try_from(count - done).unwrap_or(u32::MAX)) > time.left()
            {
                let fit = rows_in(time.total, per_row);
                return Err(if count > fit {
                    Interrupted::TooMany { fit, per_row }
                } else {
                    // The rows would have fit, had the call not waited for others.
                    Interrupted::Failed(Failure::Busy)
                });
            }
            let rows = pace
                .per_row()
                .map_or(FIRST_PIECE, |per_row| rows_in(PIECE_TIME, per_row));
            let piece = Piece {
                all: values.clone(),
                range: done * width..count.min(done.saturating_add(rows)) * width,
            };
            let scored = self.score.call(&self.scorer, piece, time).await;
            let scored = scored.map_err(Interrupted::Failed)?;
            all.scores.extend(scored.scores);
            all.took += scored.took;
        }
        Ok(all)
    }
}

/// How many rows fit into `time`; at least one.
fn rows_in(time: Duration, per_row: Duration) -> usize {
    let rows = time.as_nanos() / per_row.as_nanos().max(1);
    usize::try_from(rows).unwrap_or(usize::MAX).max(1)
}
