//! The filter for one request, from its headers to its end.

use std::rc::Rc;

use api::headers::{EDGE_COPY, FRACTION, SHADOW};

use crate::config::Config;
use crate::mirror::{Draft, Mirror};
use crate::proxy::{Counter, Next, Proxy};
use crate::route::Route;
use crate::score::{Held, Model};

/// The state of one configuration on one worker.
#[derive(Debug)]
pub struct Filter {
    config: Config,
    mirror: Option<Mirror>,
    model: Option<Model>,
}

impl Filter {
    /// Without a model, requests to score go upstream.
    pub fn new(config: Config, model: Option<Model>) -> Filter {
        Filter {
            mirror: config.mirror.clone().map(Mirror::new),
            config,
            model,
        }
    }

    /// Sends the copies that are complete. Envoy calls this outside of requests.
    pub fn tick(&self, proxy: &impl Proxy) {
        if let Some(mirror) = &self.mirror {
            mirror.tick(proxy);
        }
    }

    /// A copy was answered with this status; `None`: it got no answer.
    pub fn answered(&self, proxy: &impl Proxy, status: Option<u16>) {
        if let Some(mirror) = &self.mirror {
            mirror.answered(proxy, status);
        }
    }

    /// The configuration is replaced: Envoy will not report the answers to copies that were sent.
    pub fn leave(&self, proxy: &impl Proxy) {
        if let Some(mirror) = &self.mirror {
            mirror.leave(proxy);
        }
    }

    /// Removes internal headers from requests of untrusted peers, on every route: later hops trust
    /// this Envoy, and so would trust those headers.
    fn admit(&self, proxy: &impl Proxy) -> Internal {
        let mut trusted = None;
        let mut admitted = |name| {
            let value = proxy.header(name)?;
            if *trusted.get_or_insert_with(|| self.config.trusted.has_peer(proxy)) {
                return Some(value);
            }
            proxy.remove_header(name);
            proxy.count(Counter::Stripped);
            None
        };
        admitted(SHADOW);
        Internal {
            copy: admitted(EDGE_COPY).is_some_and(|value| value == b"1"),
            fraction: admitted(FRACTION),
        }
    }

    fn route(&self, proxy: &impl Proxy) -> Option<&Route> {
        let method = proxy.header(":method")?;
        let path = proxy.header(":path")?;
        self.config.routes.iter().find(|route| route.has(&method, &path))
    }
}

/// The internal headers that a trusted peer set on a request.
struct Internal {
    /// The request is a copy already.
    copy: bool,
    fraction: Option<Vec<u8>>,
}

/// A request on its way through the filter.
#[derive(Debug)]
pub struct Exchange {
    filter: Rc<Filter>,
    task: Task,
}

/// What the filter still has to do for a request.
#[derive(Debug)]
enum Task {
    Nothing,
    Copying(Draft),
    Scoring(Held),
}

impl Exchange {
    /// A request that has just begun.
    pub fn new(filter: Rc<Filter>) -> Exchange {
        Exchange {
            filter,
            task: Task::Nothing,
        }
    }

    /// The headers have arrived. `end`: the request has no body.
    pub fn headers(&mut self, proxy: &impl Proxy, end: bool) -> Next {
        let filter = self.filter.clone();
        let internal = filter.admit(proxy);
        if internal.copy {
            return Next::Continue;
        }
        let Some(route) = filter.route(proxy) else {
            return Next::Continue;
        };
        if route.score {
            return self.begin_score(proxy, route, end);
        }
        let sampling = filter.config.sampling.as_ref();
        if !sampling.is_some_and(|sampling| sampling.chooses(proxy, internal.fraction.as_deref())) {
            return Next::Continue;
        }
        if route.mark {
            proxy.set_header(SHADOW, "1");
            proxy.count(Counter::Marked);
        }
        if route.mirror
            && let Some(mirror) = &filter.mirror
            && let Some(draft) = mirror.begin(proxy)
        {
            self.task = Task::Copying(draft);
        }
        self.part(proxy, 0, end)
    }

    /// A part of the body has arrived. `bytes` is its length, or the length of the whole body so
    /// far if the request is held. `end`: this is the last part.
    pub fn body(&mut self, proxy: &impl Proxy, bytes: usize, end: bool) -> Next {
        self.part(proxy, bytes, end)
    }

    /// The trailers have arrived; they end the request.
    pub fn trailers(&mut self, proxy: &impl Proxy) -> Next {
        let held = match &self.task {
            Task::Scoring(held) => held.bytes,
            Task::Nothing | Task::Copying(_) => 0,
        };
        self.part(proxy, held, true)
    }

    /// The request has ended, completely or not.
    pub fn over(&mut self, proxy: &impl Proxy) {
        if let (Task::Copying(_), Some(mirror)) = (self.take(), &self.filter.mirror) {
            mirror.end(proxy, Counter::MirrorIncomplete);
        }
    }

    fn part(&mut self, proxy: &impl Proxy, bytes: usize, end: bool) -> Next {
        match self.take() {
            Task::Nothing => Next::Continue,
            Task::Copying(draft) => {
                self.copy(proxy, draft, bytes, end);
                Next::Continue
            }
            Task::Scoring(held) => self.score(proxy, held, bytes, end),
        }
    }

    fn copy(&mut self, proxy: &impl Proxy, mut draft: Draft, bytes: usize, end: bool) {
        let Some(mirror) = &self.filter.mirror else {
            return;
        };
        match draft.add(proxy, bytes, mirror.max_body_bytes()) {
            Err(reason) => mirror.end(proxy, reason),
            Ok(()) if end => mirror.enqueue(proxy, draft),
            Ok(()) => self.task = Task::Copying(draft),
        }
    }

    fn begin_score(&mut self, proxy: &impl Proxy, route: &Route, end: bool) -> Next {
        let settings = self
            .filter
            .config
            .score
            .as_ref()
            .filter(|_| self.filter.model.is_some());
        match settings.and_then(|settings| Held::of(proxy, route, settings)) {
            Some(held) => self.score(proxy, held, 0, end),
            None => self.pass(proxy),
        }
    }

    /// Holds the request until its body is complete, then answers it.
    fn score(&mut self, proxy: &impl Proxy, mut held: Held, bytes: usize, end: bool) -> Next {
        let (Some(settings), Some(model)) = (&self.filter.config.score, &self.filter.model) else {
            return self.pass(proxy);
        };
        if bytes > settings.max_body_bytes {
            return self.pass(proxy);
        }
        if !end {
            held.bytes = bytes;
            self.task = Task::Scoring(held);
            return Next::Hold;
        }
        let body = match bytes {
            0 => Some(Vec::new()),
            _ => proxy.body(bytes),
        };
        if body.is_some_and(|body| held.answer(proxy, &body, model, settings)) {
            Next::Hold
        } else {
            self.pass(proxy)
        }
    }

    fn pass(&self, proxy: &impl Proxy) -> Next {
        proxy.count(Counter::ScorePassed);
        Next::Continue
    }

    fn take(&mut self) -> Task {
        std::mem::replace(&mut self.task, Task::Nothing)
    }
}

#[cfg(test)]
mod tests;
