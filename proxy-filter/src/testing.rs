//! An in-memory proxy for tests.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::proxy::{Call, Counter, Gauge, Proxy};

/// The state of a request, and what the filter did with it.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) headers: RefCell<BTreeMap<String, Vec<u8>>>,
    pub(crate) attributes: HashMap<String, Vec<u8>>,
    /// The current part of the body, or the whole body if the request is held.
    pub(crate) body: RefCell<Vec<u8>>,
    pub(crate) answers: RefCell<Vec<(u32, Vec<u8>)>>,
    /// The headers of the latest answer.
    pub(crate) answer_headers: RefCell<BTreeMap<String, String>>,
    pub(crate) counts: RefCell<BTreeMap<&'static str, u64>>,
    pub(crate) in_flight: RefCell<i64>,
    pub(crate) ticks: RefCell<u32>,
    pub(crate) sent: RefCell<Vec<Sent>>,
    /// Calls fail, as if the cluster were unknown.
    pub(crate) unsendable: bool,
}

/// A request of the filter's own.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) cluster: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Fake {
    /// A POST from 127.0.0.1, with an id.
    pub(crate) fn post(path: &str) -> Fake {
        let fake = Fake {
            attributes: HashMap::from([("source.address".into(), b"127.0.0.1:40000".to_vec())]),
            ..Fake::default()
        };
        fake.with(":method", "POST")
            .with(":path", path)
            .with("x-request-id", "6f1b1a34-3c1e-4c5a-9e0d-2f5b8c7d9e10")
    }

    pub(crate) fn with(self, name: &str, value: impl AsRef<[u8]>) -> Fake {
        self.headers
            .borrow_mut()
            .insert(name.to_owned(), value.as_ref().to_vec());
        self
    }

    pub(crate) fn without(self, name: &str) -> Fake {
        self.headers.borrow_mut().remove(name);
        self
    }

    pub(crate) fn counted(&self, counter: Counter) -> u64 {
        self.counts.borrow().get(counter.name()).copied().unwrap_or(0)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.borrow().contains_key(name)
    }
}

impl Proxy for Fake {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.headers.borrow().get(name).cloned()
    }

    fn set_header(&self, name: &str, value: &str) {
        self.headers.borrow_mut().insert(name.to_owned(), value.into());
    }

    fn remove_header(&self, name: &str) {
        self.headers.borrow_mut().remove(name);
    }

    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>> {
        self.attributes.get(&path.join(".")).cloned()
    }

    fn body(&self, bytes: usize) -> Option<Vec<u8>> {
        self.body.borrow().get(..bytes).map(<[u8]>::to_vec)
    }

    fn answer(&self, status: u32, headers: &[(&str, &str)], body: &[u8]) {
        let headers = headers.iter();
        *self.answer_headers.borrow_mut() = headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.answers.borrow_mut().push((status, body.to_vec()));
    }

    fn tick_soon(&self) {
        *self.ticks.borrow_mut() += 1;
    }

    fn send(&self, call: &Call) -> bool {
        if self.unsendable {
            return false;
        }
        let headers = call.headers.iter();
        self.sent.borrow_mut().push(Sent {
            cluster: call.cluster.to_owned(),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: call.body.to_vec(),
        });
        true
    }

    fn count(&self, counter: Counter) {
        *self.counts.borrow_mut().entry(counter.name()).or_default() += 1;
    }

    fn gauge(&self, Gauge::InFlight: Gauge, by: i64) {
        *self.in_flight.borrow_mut() += by;
    }
}
