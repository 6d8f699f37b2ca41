//! The headers that are read before a caller is known: whatever is taken from them is what was there, and no more.
#![no_main]

use hyper::Request;
use hyper::header::{self, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use ltr_host::http::auth::bearer;
use ltr_host::http::host_check;
use ltr_host::http::request_id::{MAX_ID_BYTES, RequestId};
use ltr_host::telemetry::traceparent;

fuzz_target!(|value: &[u8]| {
    if let Some(caller) = traceparent::parse(value) {
        assert!(caller.is_valid() && caller.is_remote());
        let ids = format!("-{}-{}-", caller.trace_id(), caller.span_id());
        assert_eq!(&value[2..53], ids.as_bytes());
        let flags = u8::from_str_radix(std::str::from_utf8(&value[53..55]).expect("digits"), 16).expect("two digits");
        assert_eq!(caller.is_sampled(), flags & 1 == 1);
        assert!(value.len() == 55 || value[55] == b'-' && !value.starts_with(b"00"));
    }

    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", value.clone());
    let id = RequestId::of(&headers);
    let text = id.as_str();
    assert!((1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()));
    // Either the caller's, or a fresh one.
    assert!(text.as_bytes() == value.as_bytes() || id.uuid().is_some());

    let mut local = Request::new(()).into_parts().0;
    local.headers.insert(header::HOST, value.clone());
    if host_check::check_host(&local).is_ok() && host_check::check_local(&local).is_ok() {
        let host = value.to_str().expect("a valid host is ASCII").to_ascii_lowercase();
        assert!(
            ["localhost", "127.", "["].iter().any(|start| host.starts_with(start)),
            "{host}"
        );
    }

    headers.insert(header::AUTHORIZATION, value.clone());
    if let Some(token) = bearer(&headers) {
        assert_eq!(token, token.trim_ascii());
        assert!(value.as_bytes()[..7].eq_ignore_ascii_case(b"bearer "));
        assert!(value.as_bytes()[7..].trim_ascii() == token);
    }
});
