//! Many rows for `/ltr/score`, piece by piece: no call holds its turn for long, and one that cannot end in its time is
//! told so after the first piece, by the pace that it showed.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::histogram;
use ranking::Unscored;

use super::lane::{Failure, Scored, Time};
use super::model::Model;
use super::registry::Models;

/// What one piece is to take.
const PIECE: Duration = Duration::from_millis(10);
/// Rows of the first piece while the pace is not known.
const FIRST_PIECE: usize = 32;

/// Why rows got no scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// The component gave no scores, or was not asked.
    Unscored(Unscored),
    /// So many rows cannot be scored in the time there is.
    TooMany {
        /// How many can.
        fit: usize,
        /// What each takes now.
        a_row: Duration,
    },
}

impl Models {
    /// Scores `rows` (schema order, NaN missing), all of them or none, `within` a time that includes waiting for turns.
    ///
    /// # Errors
    /// The reason, and after several failures of the component in a row the same at once, as for [`Models::score`]; this
    /// breaker is another than that of `/rank`.
    pub async fn score_batch(
        &self,
        model: &Arc<Model>,
        rows: &[Vec<f64>],
        within: Duration,
    ) -> Result<Scored, BatchError> {
        let start = Instant::now();
        let time = Time {
            until: start + within,
            whole: within,
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
            Err(Interrupted::By(failure)) => {
                if let Failure::Fault(reason) = failure
                    && call.failed(reason, Instant::now())
                {
                    self.opened(model, "ltr_score_breaker_opened_total", reason);
                }
                Err(BatchError::Unscored(failure.reason()))
            }
            Err(Interrupted::TooMany { fit, a_row }) => Err(BatchError::TooMany { fit, a_row }),
        }
    }
}

/// Why pieces were not scored to the last.
enum Interrupted {
    By(Failure),
    TooMany { fit: usize, a_row: Duration },
}

/// Some of the values that were sent.
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
    async fn score_in_pieces(&self, values: Arc<Vec<f64>>, time: Time) -> Result<Scored, Interrupted> {
        let (width, pace) = (self.columns.len(), &self.score.pace);
        let count = values.len() / width;
        let mut all = Scored {
            scores: Vec::with_capacity(count),
            took: Duration::ZERO,
        };
        while all.scores.len() < count {
            let done = all.scores.len();
            // Measured anew by every call, whose first piece is scored in any case: a busy moment shuts out nobody.
            if let Some(a_row) = pace.a_row().filter(|_| done > 0)
                && a_row.saturating_mul(u32::try_from(count - done).unwrap_or(u32::MAX)) > time.left()
            {
                let fit = rows_in(time.whole, a_row);
                return Err(if count > fit {
                    Interrupted::TooMany { fit, a_row }
                } else {
                    // It would have been in time, had it not waited for others.
                    Interrupted::By(Failure::Busy)
                });
            }
            let rows = pace.a_row().map_or(FIRST_PIECE, |a_row| rows_in(PIECE, a_row));
            let piece = Piece {
                all: values.clone(),
                range: done * width..count.min(done.saturating_add(rows)) * width,
            };
            let scored = self.score.call(&self.scorer, piece, time).await;
            let scored = scored.map_err(Interrupted::By)?;
            all.scores.extend(scored.scores);
            all.took += scored.took;
        }
        Ok(all)
    }
}

/// How many rows fit into a time; at least one.
fn rows_in(time: Duration, a_row: Duration) -> usize {
    let rows = time.as_nanos() / a_row.as_nanos().max(1);
    usize::try_from(rows).unwrap_or(usize::MAX).max(1)
}
