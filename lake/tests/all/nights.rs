//! Nights that fail anywhere: the next one makes the matrices of a night that nothing disturbed.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use object_store_lake::memory::InMemory;
use object_store_lake::path::Path as Location;
use object_store_lake::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::*;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The store does not get this request, nor any that follows: it is away, or the program was killed before.
    Away(usize),
    /// The store does what this request asks, and nobody hears of it, nor of any that follows.
    Unheard(usize),
    /// From this request on everything can be read, and nothing written: no room, or no right to write.
    Full(usize),
    /// A list leaves out what was put within the last so many requests.
    ListsLate(usize),
}

/// A store with a fault.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    /// Requests so far.
    requests: usize,
    /// What was put, and by which request.
    put: VecDeque<(usize, Location)>,
}

impl Faulty {
    fn with(inner: InMemory) -> Arc<Faulty> {
        Arc::new(Faulty {
            inner,
            state: Mutex::new(State {
                fault: Fault::None,
                requests: 0,
                put: VecDeque::new(),
            }),
        })
    }

    /// From now on. The count of requests begins again.
    fn set(&self, fault: Fault) {
        let mut state = self.state.lock();
        state.fault = fault;
        state.requests = 0;
        state.put.clear();
    }

    fn requests(&self) -> usize {
        self.state.lock().requests
    }

    /// Counts a request. Returns whether its answer is lost.
    fn ask(&self, writes: bool) -> Result<bool> {
        let mut state = self.state.lock();
        state.requests += 1;
        match state.fault {
            Fault::Away(from) if state.requests >= from => Err(away()),
            Fault::Unheard(at) if state.requests > at => Err(away()),
            Fault::Full(from) if writes && state.requests >= from => Err(away()),
            Fault::Unheard(at) => Ok(state.requests == at),
            _ => Ok(false),
        }
    }

    fn is_listed(&self, location: &Location) -> bool {
        let state = self.state.lock();
        let Fault::ListsLate(by) = state.fault else { return true };
        let mut late = state.put.iter().filter(|(request, _)| request + by > state.requests);
        late.all(|(_, other)| other != location)
    }
}

fn away() -> Error {
    Error::Generic {
        store: "faulty",
        source: "the store is away".into(),
    }
}

fn heard<T>(answer: T, lost: bool) -> Result<T> {
    if lost { Err(away()) } else { Ok(answer) }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Location, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let lost = self.ask(true)?;
        let done = self.inner.put_opts(location, payload, options).await?;
        let mut state = self.state.lock();
        let request = state.requests;
        state.put.push_back((request, location.clone()));
        heard(done, lost)
    }

    async fn put_multipart_opts(&self, _: &Location, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("files are put whole")
    }

    async fn get_opts(&self, location: &Location, options: GetOptions) -> Result<GetResult> {
        let lost = self.ask(false)?;
        heard(self.inner.get_opts(location, options).await?, lost)
    }

    async fn get_ranges(&self, location: &Location, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let lost = self.ask(false)?;
        heard(self.inner.get_ranges(location, ranges).await?, lost)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Location>>) -> BoxStream<'static, Result<Location>> {
        match self.ask(true) {
            Ok(lost) => {
                let deleted = self.inner.delete_stream(locations);
                deleted.map(move |done| done.and_then(|done| heard(done, lost))).boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    /// A list whose end is lost has its first half.
    fn list(&self, prefix: Option<&Location>) -> BoxStream<'static, Result<ObjectMeta>> {
        let lost = match self.ask(false) {
            Ok(lost) => lost,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let listed: Vec<_> = futures_util::FutureExt::now_or_never(self.inner.list(prefix).collect()).unwrap();
        let mut listed: Vec<_> = listed
            .into_iter()
            .filter(|object: &Result<ObjectMeta>| object.as_ref().is_ok_and(|object| self.is_listed(&object.location)))
            .collect();
        if lost {
            listed.truncate(listed.len() / 2);
            listed.push(Err(away()));
        }
        stream::iter(listed).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Location>) -> Result<ListResult> {
        unreachable!("folders are listed whole")
    }

    async fn copy_opts(&self, _: &Location, _: &Location, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

/// A log of some days. A part of it comes after the first night.
struct Nights {
    place: Place,
    store: Arc<Faulty>,
    lake: Lake,
}

/// The rows of all days, and the impressions and actions that each day of the raw tables has.
type Outcome = (Vec<Row>, Vec<(Option<NaiveDate>, u64, u64)>);

/// When the night is that may fail, and the one behind it.
const FAILING: i64 = 80;
const NEXT: i64 = 104;

impl Nights {
    /// After the first night, with what the second one finds.
    async fn begun() -> Nights {
        let store = Faulty::with(InMemory::new());
        let nights = Nights {
            place: Place::new().await,
            lake: Lake::on(store.clone(), "memory://lake"),
            store,
        };
        nights.place.log(sinking::some_events(0..30)).await;
        nights.night(later(40)).await.unwrap();
        // Also late ones: of days that have a matrix.
        nights.place.log(sinking::some_events(30..60)).await;
        let late = (0..4).map(|at| event(900 + at, 2, later(5), act(ActionKind::ContactMade, "b", 2)));
        nights.place.log(late).await;
        nights
    }

    /// The same, on a copy of the lake. Nobody writes into the database any more.
    fn copy(&self) -> Nights {
        let store = Faulty::with(self.store.inner.fork());
        Nights {
            place: Place {
                dir: tempfile::tempdir().unwrap(),
                store: self.place.store.clone(),
                lake: self.place.lake.clone(),
                rules: self.place.rules.clone(),
            },
            lake: Lake::on(store.clone(), "memory://lake"),
            store,
        }
    }

    async fn night(&self, as_of: DateTime<Utc>) -> Result<(), lake::LakeError> {
        places::night(&self.place, &self.lake, as_of).await?;
        // What follows a night: few files of many.
        lake::compact(&self.lake, as_of.date_naive(), as_of).await.map(drop)
    }

    /// The rows of all days, and how many records the raw tables have.
    async fn outcome(&self, as_of: DateTime<Utc>) -> Outcome {
        let rows = places::rows(&self.place, &self.lake, as_of).await;
        let days = lake::inspect(&self.lake).await.unwrap();
        (
            rows,
            days.iter().map(|day| (day.day, day.impressions, day.actions)).collect(),
        )
    }

    /// Whether the night with the fault ended well, and what the next one leaves.
    async fn after(&self, fault: Fault) -> (bool, Outcome) {
        let nights = self.copy();
        nights.store.set(fault);
        let ended = nights.night(later(FAILING)).await;
        nights.store.set(Fault::None);
        nights.night(later(NEXT)).await.unwrap();
        (ended.is_ok(), nights.outcome(later(NEXT)).await)
    }
}

async fn each(fault: fn(usize) -> Fault) {
    let begun = Nights::begun().await;
    let undisturbed = begun.after(Fault::None).await.1;
    assert_eq!(undisturbed.0.len(), 2 * 20);
    let counting = begun.copy();
    counting.night(later(FAILING)).await.unwrap();
    let requests = counting.store.requests();
    assert!(requests > 20, "{requests}");
    let mut failed = 0;
    for fault in (1..=requests).map(fault) {
        let (ended, outcome) = begun.after(fault).await;
        assert_eq!(outcome, undisturbed, "{fault:?} of {requests}");
        failed += u32::from(!ended);
    }
    assert!(failed > 10, "the fault is none: {failed} of {requests} nights failed");
}

#[tokio::test]
async fn a_night_whose_store_goes_away_at_any_request_is_made_good() {
    each(Fault::Away).await;
}

#[tokio::test]
async fn a_night_whose_request_was_done_and_not_answered_is_made_good() {
    each(Fault::Unheard).await;
}

#[tokio::test]
async fn a_night_that_finds_no_room_at_any_write_is_made_good() {
    each(Fault::Full).await;
}

#[tokio::test]
async fn a_store_that_lists_late_gets_no_record_twice() {
    let begun = Nights::begun().await;
    let undisturbed = begun.after(Fault::None).await.1;
    for by in [1, 2, 5, 10, 1000] {
        let (_, outcome) = begun.after(Fault::ListsLate(by)).await;
        assert_eq!(outcome, undisturbed, "late by {by} requests");
    }
}

#[tokio::test]
async fn a_night_that_is_left_out_repeated_or_run_twice_at_once_changes_nothing() {
    let begun = Nights::begun().await;
    let undisturbed = begun.after(Fault::None).await.1;
    let nights = begun.copy();
    nights.night(later(NEXT)).await.unwrap();
    assert_eq!(nights.outcome(later(NEXT)).await, undisturbed, "left out");
    let nights = begun.copy();
    let (one, other) = tokio::join!(nights.night(later(FAILING)), nights.night(later(FAILING)));
    // Of two that write the same matrix at once, one may say that it was not the last.
    assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
    for _ in 0..2 {
        nights.night(later(NEXT)).await.unwrap();
        assert_eq!(nights.outcome(later(NEXT)).await, undisturbed);
    }
}
