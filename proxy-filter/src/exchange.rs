//! One request, from its headers to its end.

use std::rc::Rc;

use api::headers::{EDGE_COPY, FRACTION, SHADOW};

use crate::bypass::MARK;
use crate::config::Config;
use crate::mirror::{Draft, Mirror};
use crate::proxy::{Counter, Next, Proxy};
use crate::route::Route;
use crate::score::{Held, Model};

/// A configuration in force on one worker, and what it has under way.
#[derive(Debug)]
pub struct Filter {
    config: Config,
    mirror: Option<Mirror>,
    model: Option<Model>,
}

impl Filter {
    /// Without a model, nothing is scored.
    pub fn new(config: Config, model: Option<Model>) -> Filter {
        Filter {
            mirror: config.mirror.clone().map(Mirror::new),
            config,
            model,
        }
    }

    /// Does what waits to be done outside of requests.
    pub fn tick(&self, proxy: &impl Proxy) {
        if let Some(mirror) = &self.mirror {
            mirror.tick(proxy);
        }
    }

    /// A request of the filter's own has come to its end, with this status or without an answer.
    pub fn answered(&self, proxy: &impl Proxy, status: Option<u16>) {
        if let Some(mirror) = &self.mirror {
            mirror.answered(proxy, status);
        }
    }

    /// The configuration is replaced, and nothing that is under way will be heard of again.
    pub fn leave(&self, proxy: &impl Proxy) {
        if let Some(mirror) = &self.mirror {
            mirror.leave(proxy);
        }
    }

    /// Takes what only trusted peers may say off a request of any other, on every route, so that no hop behind this one
    /// believes a stranger because it trusts this one.
    fn admit(&self, proxy: &impl Proxy) -> Said {
        let mut trusted = None;
        let mut said = |name| {
            let value = proxy.header(name)?;
            if *trusted.get_or_insert_with(|| self.config.trusted.has_peer(proxy)) {
                return Some(value);
            }
            proxy.remove_header(name);
            proxy.count(Counter::Stripped);
            None
        };
        said(SHADOW);
        Said {
            copy: said(EDGE_COPY).is_some_and(|value| value == b"1"),
            fraction: said(FRACTION),
        }
    }

    fn route(&self, proxy: &impl Proxy) -> Option<&Route> {
        let method = proxy.header(":method")?;
        let path = proxy.header(":path")?;
        self.config.routes.iter().find(|route| route.has(&method, &path))
    }
}

/// What a trusted peer says of a request.
struct Said {
    /// It is a copy already.
    copy: bool,
    fraction: Option<Vec<u8>>,
}

/// A request that passes.
#[derive(Debug)]
pub struct Exchange {
    filter: Rc<Filter>,
    doing: Doing,
}

/// What is being done about a request.
#[derive(Debug)]
enum Doing {
    /// Nothing, or nothing more.
    Nothing,
    Copying(Draft),
    Scoring(Held),
}

impl Exchange {
    pub fn new(filter: Rc<Filter>) -> Exchange {
        Exchange {
            filter,
            doing: Doing::Nothing,
        }
    }

    /// The headers have come; `end`: and that is all.
    pub fn headers(&mut self, proxy: &impl Proxy, end: bool) -> Next {
        let filter = self.filter.clone();
        let said = filter.admit(proxy);
        if said.copy {
            return Next::Continue;
        }
        let Some(route) = filter.route(proxy) else {
            return Next::Continue;
        };
        if route.score {
            return self.begin_score(proxy, route, end);
        }
        let sampling = filter.config.sampling.as_ref();
        if !sampling.is_some_and(|sampling| sampling.chooses(proxy, said.fraction.as_deref())) {
            return Next::Continue;
        }
        if route.mark {
            proxy.set_header(MARK.0, MARK.1);
            proxy.count(Counter::Marked);
        }
        if route.mirror
            && let Some(mirror) = &filter.mirror
            && let Some(draft) = mirror.begin(proxy)
        {
            self.doing = Doing::Copying(draft);
        }
        self.part(proxy, 0, end)
    }

    /// A part of the body has come: `bytes` of it, or of all that is held up. `end`: and that is all.
    pub fn body(&mut self, proxy: &impl Proxy, bytes: usize, end: bool) -> Next {
        self.part(proxy, bytes, end)
    }

    /// The trailers have come, and that is all.
    pub fn trailers(&mut self, proxy: &impl Proxy) -> Next {
        let held = match &self.doing {
            Doing::Scoring(held) => held.bytes,
            Doing::Nothing | Doing::Copying(_) => 0,
        };
        self.part(proxy, held, true)
    }

    /// The request is over, in whatever way.
    pub fn over(&mut self, proxy: &impl Proxy) {
        if let (Doing::Copying(_), Some(mirror)) = (self.take(), &self.filter.mirror) {
            mirror.end(proxy, Counter::MirrorIncomplete);
        }
    }

    fn part(&mut self, proxy: &impl Proxy, bytes: usize, end: bool) -> Next {
        match self.take() {
            Doing::Nothing => Next::Continue,
            Doing::Copying(draft) => {
                self.copy(proxy, draft, bytes, end);
                Next::Continue
            }
            Doing::Scoring(held) => self.score(proxy, held, bytes, end),
        }
    }

    fn copy(&mut self, proxy: &impl Proxy, mut draft: Draft, bytes: usize, end: bool) {
        let Some(mirror) = &self.filter.mirror else {
            return;
        };
        match draft.add(proxy, bytes, mirror.max_body_bytes()) {
            Err(reason) => mirror.end(proxy, reason),
            Ok(()) if end => mirror.enqueue(proxy, draft),
            Ok(()) => self.doing = Doing::Copying(draft),
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

    /// Holds the request up until its body is complete, and answers it.
    fn score(&mut self, proxy: &impl Proxy, mut held: Held, bytes: usize, end: bool) -> Next {
        let (Some(settings), Some(model)) = (&self.filter.config.score, &self.filter.model) else {
            return self.pass(proxy);
        };
        if bytes > settings.max_body_bytes {
            return self.pass(proxy);
        }
        if !end {
            held.bytes = bytes;
            self.doing = Doing::Scoring(held);
            return Next::Hold;
        }
        let body = match bytes {
            0 => Some(Vec::new()),
            _ => proxy.body(bytes),
        };
        match body.is_some_and(|body| held.answer(proxy, &body, model, settings)) {
            true => Next::Hold,
            false => self.pass(proxy),
        }
    }

    fn pass(&self, proxy: &impl Proxy) -> Next {
        proxy.count(Counter::ScorePassed);
        Next::Continue
    }

    fn take(&mut self) -> Doing {
        std::mem::replace(&mut self.doing, Doing::Nothing)
    }
}

#[cfg(test)]
mod tests;
