//! One copy of a request while the request arrives.

use api::headers::{EDGE_COPY, REQUEST_ID, USER_UNDER};

use super::Settings;
use crate::proxy::{Counter, Proxy, announced};
use crate::route::without_query;
use crate::sampling::request_id;

/// A copy of the part of a request that has arrived.
#[derive(Debug)]
pub(crate) struct Draft {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// A copy that is ready to be sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Copy {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Draft {
    /// The headers of the copy. The query is left out, because it cannot be redacted.
    ///
    /// # Errors
    /// The reason why this request is not copied.
    pub(super) fn of(proxy: &impl Proxy, settings: &Settings) -> Result<Draft, Counter> {
        if proxy.header("upgrade").is_some() {
            return Err(Counter::MirrorUpgrade);
        }
        if announced(proxy).is_some_and(|bytes| bytes > settings.max_body_bytes) {
            return Err(Counter::MirrorTooLarge);
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
        let id = request_id(proxy).ok_or(Counter::MirrorNoId)?;
        let method = proxy
            .header(":method")
            .and_then(text)
            .ok_or(Counter::MirrorUnreadable)?;
        let path = proxy.header(":path").map(|path| without_query(&path).to_vec());
        let path = path.and_then(text).ok_or(Counter::MirrorUnreadable)?;
        let mut headers = vec![
            (":method".to_owned(), method),
            (":path".to_owned(), path),
            (":authority".to_owned(), settings.authority.clone()),
            (EDGE_COPY.to_owned(), "1".to_owned()),
            (REQUEST_ID.to_owned(), id.to_string()),
            ("x-request-id".to_owned(), id.to_string()),
        ];
        let describing = ["content-type", "content-encoding"].into_iter();
        for name in describing.chain(settings.headers.iter().map(String::as_str)) {
            match proxy.header(name).map(text) {
                Some(Some(value)) => headers.push((name.to_owned(), value)),
                Some(None) => proxy.count(Counter::MirrorHeaderDropped),
                None => {}
            }
        }
        Ok(Draft {
            headers,
            body: Vec::new(),
        })
    }

    /// Appends the current part of the body.
    ///
    /// # Errors
    /// The body is too large, or Envoy does not provide the part.
    pub(crate) fn add(&mut self, proxy: &impl Proxy, bytes: usize, max_body_bytes: usize) -> Result<(), Counter> {
        if bytes == 0 {
            return Ok(());
        }
        if self.body.len().saturating_add(bytes) > max_body_bytes {
            return Err(Counter::MirrorTooLarge);
        }
        let part = proxy.body(bytes).ok_or(Counter::MirrorIncomplete)?;
        if self.body.is_empty() {
            self.body = part;
        } else {
            self.body.extend_from_slice(&part);
        }
        Ok(())
    }

    /// The copy without personal fields. `None` if the body cannot be parsed.
    pub(super) fn into_copy(self, settings: &Settings) -> Option<Copy> {
        let Draft { mut headers, body } = self;
        let clean = settings.personal.clean(body).ok()?;
        if let Some(salt) = clean.user_under {
            headers.push((USER_UNDER.to_owned(), salt));
        }
        Some(Copy {
            headers,
            body: clean.body,
        })
    }
}
