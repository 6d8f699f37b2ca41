//! The filter that Envoy loads. It forwards Envoy's callbacks to `proxy-filter`, which decides.

#![allow(
    missing_docs,
    reason = "nobody calls this crate; the macro of proxy-wasm makes a public function without documentation"
)]
#![cfg(target_arch = "wasm32")]

mod envoy;
mod mark;

use std::rc::Rc;

use proxy_filter::{Config, ConfigError, Exchange, Filter, Model, Next};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

use crate::envoy::Envoy;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// One configuration on one worker.
#[derive(Default)]
struct Root {
    /// `None` until it is configured.
    filter: Option<Rc<Filter>>,
}

impl Context for Root {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, _body: usize, _trailers: usize) {
        let Some(filter) = &self.filter else {
            return;
        };
        // A failed call has no headers.
        let status = if headers == 0 { None } else { envoy::call_status() };
        filter.answered(&Envoy::default(), status);
    }
}

/// Envoy no longer uses this configuration. Envoy could be asked to wait for copies, but it would
/// not wait if the virtual machine ends, too.
impl Drop for Root {
    fn drop(&mut self) {
        if let Some(filter) = &self.filter {
            filter.leave(&Envoy::default());
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match configured(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(config) => {
                envoy::define_metrics();
                let model = config.scores().then(model).flatten();
                self.filter = Some(Rc::new(Filter::new(config, model)));
                true
            }
            Err(error) => refuse(&error),
        }
    }

    fn on_tick(&mut self) {
        envoy::stop_ticking();
        if let Some(filter) = &self.filter {
            filter.tick(&Envoy::default());
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request(self.filter.clone().map(Exchange::new))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "of the environment, Envoy shows the filter what is configured for it"
)]
fn configured(json: &[u8]) -> Result<Config, ConfigError> {
    Config::read(json, |name| std::env::var(name).ok())
}

/// Logs why a configuration is rejected.
fn refuse(error: &ConfigError) -> bool {
    log(LogLevel::Error, &format!("the filter is not loaded: {error}"));
    false
}

/// The built-in model. Without one the configuration is still valid: requests to score go upstream.
fn model() -> Option<Model> {
    let baked = baked::model().as_ref().map_err(String::clone);
    let model = baked.and_then(|baked| {
        let description = &baked.description;
        Model::new(&description.model_version, &description.feature_names, &baked.forest)
    });
    model
        .inspect_err(|reason| log(LogLevel::Warn, &format!("requests to score go upstream: {reason}")))
        .ok()
}

fn log(level: LogLevel, message: &str) {
    // There is no way to report a failure to log.
    let _ = hostcalls::log(level, message);
}

/// A request; `None` if the filter is not configured.
struct Request(Option<Exchange>);

/// The request has ended when Envoy deletes its context. `on_done` would cost one more call per
/// request.
impl Drop for Request {
    fn drop(&mut self) {
        if let Some(exchange) = &mut self.0 {
            exchange.over(&Envoy::default());
        }
    }
}

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _count: usize, end: bool) -> Action {
        self.pass(|exchange| exchange.headers(&Envoy::default(), end))
    }

    fn on_http_request_body(&mut self, bytes: usize, end: bool) -> Action {
        self.pass(|exchange| exchange.body(&Envoy::default(), bytes, end))
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.pass(|exchange| exchange.trailers(&Envoy::default()))
    }
}

impl Request {
    fn pass(&mut self, part: impl FnOnce(&mut Exchange) -> Next) -> Action {
        match self.0.as_mut().map(part) {
            Some(Next::Hold) => Action::Pause,
            Some(Next::Continue) | None => Action::Continue,
        }
    }
}
