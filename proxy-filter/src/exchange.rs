//! One request, from its headers to its end.

use std::rc::Rc;

use crate::config::Config;
use crate::mirror::{Draft, EDGE_COPY, Mirror};
use crate::proxy::{Counter, Next, Proxy};
use crate::route::Route;

/// Asks the gateway for a comparison in shadow.
const MARK: &str = "x-shadow-ltr";

/// A configuration in force on one worker, and what it has under way.
#[derive(Debug)]
pub struct Filter {
    config: Config,
    mirror: Option<Mirror>,
}

impl Filter {
    pub fn new(config: Config) -> Filter {
        Filter {
            mirror: config.mirror.clone().map(Mirror::new),
            config,
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

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.mirror.as_ref().is_none_or(|mirror| mirror.in_flight() == 0)
    }

    /// Takes what only trusted peers may say off a request of any other. `true`: this is a copy already.
    fn admit(&self, proxy: &impl Proxy, trusted: &mut impl FnMut() -> bool) -> bool {
        let mut copy = false;
        for name in [EDGE_COPY, MARK] {
            let Some(value) = proxy.header(name) else {
                continue;
            };
            if !trusted() {
                proxy.remove_header(name);
                proxy.count(Counter::Stripped);
            } else if name == EDGE_COPY {
                copy = value == b"1";
            }
        }
        copy
    }

    fn route(&self, proxy: &impl Proxy) -> Option<&Route> {
        let method = proxy.header(":method")?;
        let path = proxy.header(":path")?;
        self.config.routes.iter().find(|route| route.has(&method, &path))
    }
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
        let mut known = None;
        let mut trusted = || *known.get_or_insert_with(|| filter.config.trusted.has_peer(proxy));
        if filter.admit(proxy, &mut trusted) {
            return Next::Continue;
        }
        let Some(route) = filter.route(proxy) else {
            return Next::Continue;
        };
        let chosen = filter
            .config
            .sampling
            .as_ref()
            .is_some_and(|sampling| sampling.chooses(proxy, trusted));
        if chosen && route.mark {
            proxy.set_header(MARK, "1");
            proxy.count(Counter::Marked);
        }
        if chosen && route.mirror {
            self.begin_copy(proxy);
        }
        if end {
            self.complete(proxy);
        }
        Next::Continue
    }

    /// A part of the body has come: `bytes` of it, or of all that is held up.
    pub fn body(&mut self, proxy: &impl Proxy, bytes: usize, end: bool) -> Next {
        self.copy_part(proxy, bytes);
        if end {
            self.complete(proxy);
        }
        Next::Continue
    }

    /// The trailers have come, and that is all.
    pub fn trailers(&mut self, proxy: &impl Proxy) -> Next {
        self.complete(proxy);
        Next::Continue
    }

    /// The request is over, in whatever way.
    pub fn over(&mut self, proxy: &impl Proxy) {
        if let Doing::Copying(_) = std::mem::replace(&mut self.doing, Doing::Nothing)
            && let Some(mirror) = &self.filter.mirror
        {
            mirror.end(proxy, Counter::MirrorIncomplete);
        }
    }

    fn begin_copy(&mut self, proxy: &impl Proxy) {
        if let Some(draft) = self.filter.mirror.as_ref().and_then(|mirror| mirror.begin(proxy)) {
            self.doing = Doing::Copying(draft);
        }
    }

    fn copy_part(&mut self, proxy: &impl Proxy, bytes: usize) {
        let (Doing::Copying(draft), Some(mirror)) = (&mut self.doing, &self.filter.mirror) else {
            return;
        };
        if let Err(reason) = draft.add(proxy, bytes, mirror.max_body_bytes()) {
            self.doing = Doing::Nothing;
            mirror.end(proxy, reason);
        }
    }

    fn complete(&mut self, proxy: &impl Proxy) {
        if let Doing::Copying(draft) = std::mem::replace(&mut self.doing, Doing::Nothing)
            && let Some(mirror) = &self.filter.mirror
        {
            mirror.enqueue(proxy, draft);
        }
    }
}
