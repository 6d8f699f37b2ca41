//! Puts comparisons together, one at a time: from their own rows and from the lawyers' rows.

use chrono::{DateTime, Utc};
use futures_util::{Stream, TryStreamExt};
use ranking::verdict::{ShadowCase, ShadowRow};

use crate::{StoreError, Unreadable};

/// The most comparisons that one query reads; between two queries other calls get the connection. The lawyers' rows of a
/// page are streamed: no more than those of one comparison are in memory.
pub(crate) const PAGE: i64 = 500;

/// Comparisons that no reader here can use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAside {
    /// How many there are.
    pub count: u64,
    /// The first of them, at most [`SetAside::MOST_LISTED`].
    pub first: Vec<Unreadable>,
    /// The time of the earliest comparison that lacks labels; `None`: all that were asked for have theirs. Such comparisons
    /// are not counted here.
    pub unlabelled_from: Option<DateTime<Utc>>,
}

impl SetAside {
    /// The most comparisons in [`first`](SetAside::first).
    pub const MOST_LISTED: usize = 100;

    fn push(&mut self, error: StoreError) {
        self.count += 1;
        if self.first.len() < SetAside::MOST_LISTED {
            self.first.push(Unreadable::of(error));
        }
    }
}

/// Who wants the comparisons, and what could not be given to them.
pub(crate) struct Reading<'a> {
    take: &'a mut (dyn FnMut(ShadowCase) + Send),
    pub set_aside: SetAside,
}

/// A comparison without its lawyers' rows; an error sets it aside.
pub(crate) struct Head<K> {
    pub key: K,
    pub case: Result<ShadowCase, StoreError>,
}

/// A comparison whose rows are being read.
struct Open<K> {
    head: Head<K>,
    is_labelled: bool,
}

impl<K> Open<K> {
    /// Takes a lawyer's row; `None` for a row that has no label yet.
    fn take(&mut self, row: Result<Option<ShadowRow>, StoreError>) {
        match (&mut self.head.case, row) {
            (_, Ok(None)) => self.is_labelled = false,
            (Ok(case), Ok(Some(row))) => case.rows.push(row),
            (case @ Ok(_), Err(error)) => *case = Err(error),
            (Err(_), _) => {}
        }
    }
}

impl<'a> Reading<'a> {
    pub(crate) fn new(take: &'a mut (dyn FnMut(ShadowCase) + Send)) -> Reading<'a> {
        Reading {
            take,
            set_aside: SetAside::default(),
        }
    }

    /// Gives on the comparisons of a page whose every row has its label, or sets them aside. `rows` are the lawyers' rows
    /// in ascending order of the comparison's key; a comparison without any is left out.
    pub(crate) async fn page<K: Ord, R>(
        &mut self,
        mut heads: Vec<Head<K>>,
        mut rows: impl Stream<Item = Result<R, sqlx::Error>> + Unpin,
        key: impl Fn(&R) -> Result<K, StoreError>,
        lawyer: impl Fn(&R) -> Result<Option<ShadowRow>, StoreError>,
    ) -> Result<(), StoreError> {
        heads.sort_by(|a, b| a.key.cmp(&b.key));
        let mut heads = heads.into_iter();
        let mut open: Option<Open<K>> = None;
        while let Some(row) = rows.try_next().await? {
            let key = key(&row)?;
            if open.as_ref().is_none_or(|open| open.head.key != key) {
                self.close(open.take());
                open = heads.find(|head| head.key == key).map(|head| Open {
                    head,
                    is_labelled: true,
                });
            }
            if let Some(open) = &mut open {
                open.take(lawyer(&row));
            }
        }
        self.close(open);
        Ok(())
    }

    fn close<K>(&mut self, open: Option<Open<K>>) {
        let Some(Open { head, is_labelled }) = open else {
            return;
        };
        match head.case {
            Ok(case) if is_labelled => (self.take)(case),
            Ok(case) => {
                let earlier = self.set_aside.unlabelled_from.unwrap_or(case.ts_utc);
                self.set_aside.unlabelled_from = Some(earlier.min(case.ts_utc));
            }
            Err(error) if is_labelled => self.set_aside.push(error),
            Err(_) => {}
        }
    }
}
