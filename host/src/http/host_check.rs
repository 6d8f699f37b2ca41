//! Checks the header `Host`: every request has exactly one, and without tokens it must name this
//! machine.
//!
//! Without tokens every caller is trusted. But any web page that a user of this machine opens can
//! reach the gateway: by the loopback address, or by a name of its own that resolves to it (DNS
//! rebinding). The headers that a browser adds reveal such a request.

use std::net::{IpAddr, Ipv6Addr};

use api::shortened;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

use super::error::ApiError;

/// A browser's header: how the page that sends the request is related to the gateway.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The content types of the routes. A web page can send them to another site only after a CORS
/// preflight, which the gateway never approves.
const CONTENT_TYPES: [&str; 5] = [
    "application/json",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/vnd.apache.arrow.stream",
];

/// Checks that a request has one valid `Host` (RFC 9112, 3.2).
///
/// # Errors
/// 400 for none in HTTP/1.1, for several, and for one that is not a host with an optional port.
pub fn check_host(head: &Parts) -> Result<(), ApiError> {
    let refused = |message: String| ApiError::malformed("invalid_host", message);
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version < Version::HTTP_11 => Ok(()),
        (None, _) => Err(refused(
            "the request has no header Host; allowed: exactly one".to_owned(),
        )),
        (Some(_), Some(_)) => Err(refused(
            "the request has more than one header Host; allowed: exactly one".to_owned(),
        )),
        (Some(host), None) if name(host.as_bytes()).is_some() => Ok(()),
        (Some(host), None) => {
            let value = shortened(&String::from_utf8_lossy(host.as_bytes()));
            Err(ApiError {
                field: Some("Host".to_owned()),
                allowed: Some("HOST or HOST:PORT".to_owned()),
                ..refused(format!("the header Host is {value:?}; allowed: HOST or HOST:PORT"))
            })
        }
    }
}

/// Admits requests of programs on this machine, and refuses those of web pages.
///
/// # Errors
/// 403 for a host other than this machine, and for a page of another site.
pub fn check_local(head: &Parts) -> Result<(), ApiError> {
    const REMEDY: &str = "access.tokens is empty, so only programs on this machine may call";
    let refused = |code, header: &HeaderName, value: &[u8], allowed: &str| {
        let value = shortened(&String::from_utf8_lossy(value));
        ApiError {
            field: Some(header.to_string()),
            allowed: Some(allowed.to_owned()),
            ..ApiError::new(
                StatusCode::FORBIDDEN,
                code,
                format!("the header {header} is {value:?}; allowed: {allowed}; {REMEDY}; configure a token for others"),
            )
        }
    };
    let headers = &head.headers;
    let target = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    for named in [host, target].into_iter().flatten() {
        if !name(named).is_some_and(is_loopback) {
            let allowed = "localhost, 127.0.0.0/8 or [::1], with or without a port";
            return Err(refused("foreign_host", &header::HOST, named, allowed));
        }
    }
    for origin in headers.get_all(header::ORIGIN) {
        let site = origin.as_bytes();
        let site = site.strip_prefix(b"http://").or_else(|| site.strip_prefix(b"https://"));
        if site.is_none() || site != host {
            return Err(refused(
                "foreign_origin",
                &header::ORIGIN,
                origin.as_bytes(),
                "none, or the gateway's own",
            ));
        }
    }
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    if let Some(site) = sites.find(|site| !matches!(site.as_bytes(), b"none" | b"same-origin")) {
        return Err(refused(
            "foreign_origin",
            &SEC_FETCH_SITE,
            site.as_bytes(),
            "none or same-origin",
        ));
    }
    Ok(())
}

/// Refuses bodies that a web page could send to another site without a CORS preflight.
///
/// # Errors
/// 415 for a POST whose content type is not one of the routes'.
pub fn check_content_type(head: &Parts) -> Result<(), ApiError> {
    if head.method != Method::POST {
        return Ok(());
    }
    let mut types = head
        .headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .map(HeaderValue::as_bytes);
    let (first, second) = (types.next(), types.next());
    let essence = first.map(|kind| kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii());
    let known = |kind: &[u8]| {
        CONTENT_TYPES
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
    };
    if second.is_none() && essence.is_some_and(known) {
        return Ok(());
    }
    let allowed = CONTENT_TYPES.join(", ");
    let value = first.map_or("absent".into(), |kind| shortened(&String::from_utf8_lossy(kind)));
    Err(ApiError {
        field: Some("Content-Type".to_owned()),
        allowed: Some(allowed.clone()),
        ..ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            format!("the header Content-Type is {value:?}; allowed while access.tokens is empty: one of {allowed}"),
        )
    })
}

/// The host of `HOST` or `HOST:PORT`, if both parts are valid.
fn name(authority: &[u8]) -> Option<&str> {
    let authority = std::str::from_utf8(authority).ok()?;
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, port)) => {
            ip.parse::<Ipv6Addr>().ok()?;
            (ip, port)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            authority.split_at(end)
        }
    };
    let port_is_valid = match port.strip_prefix(':') {
        Some(port) => {
            port.is_empty()
                || (port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    // The characters of a registered name (RFC 3986, 3.2.2).
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%:".contains(&b);
    (port_is_valid && !host.is_empty() && host.bytes().all(plain)).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_has_one_valid_host() {
        let check = |headers: &[(&str, &str)]| check_host(&head("GET", "/", headers)).map_err(|e| e.status.as_u16());
        for host in [
            "x",
            "a.b:80",
            "127.0.0.1",
            "[::1]:8080",
            "[2001:db8::1]",
            "x:",
            "EXAMPLE.com",
            "a_b",
        ] {
            assert_eq!(check(&[("host", host)]), Ok(()), "{host:?}");
        }
        for host in [
            "", " ", "a, b", "a b", "a/b", "u@h", "a:b", "a:99999", "a:1:2", ":80", "[::1", "::1", "[x]", "[::1]x",
            "a?b",
        ] {
            assert_eq!(check(&[("host", host)]), Err(400), "{host:?}");
        }
        assert_eq!(check(&[]), Err(400));
        assert_eq!(check(&[("host", "a"), ("host", "a")]), Err(400));
        let mut old = head("GET", "/", &[]);
        old.version = Version::HTTP_10;
        assert!(check_host(&old).is_ok(), "HTTP/1.0 has no Host");
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn requests_of_web_pages_are_refused_and_those_of_programs_are_not() {
        const JSON: (&str, &str) = ("content-type", "application/json");
        let check = |method: &str, headers: &[(&str, &str)]| {
            let head = head(method, "/rank", headers);
            let checked = check_local(&head).and_then(|()| check_content_type(&head));
            checked.map_err(|e| e.status.as_u16())
        };
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(check("POST", &[("host", host), JSON]), Ok(()), "{host}");
            assert_eq!(check("GET", &[("host", host)]), Ok(()), "{host}");
            let own = format!("http://{host}");
            assert_eq!(check("POST", &[("host", host), JSON, ("origin", &own)]), Ok(()));
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "128.0.0.1",
            "0.0.0.0",
            "[::2]",
            "127.1",
            "2130706433",
        ] {
            for method in ["GET", "POST"] {
                assert_eq!(check(method, &[("host", host), JSON]), Err(403), "{method} {host}");
            }
        }
        let host = ("host", "127.0.0.1:8080");
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost:8080",
            "http://127.0.0.1:3000",
            "127.0.0.1:8080",
            "file://",
        ] {
            assert_eq!(check("POST", &[host, JSON, ("origin", origin)]), Err(403), "{origin}");
        }
        for site in ["cross-site", "same-site", "anything"] {
            assert_eq!(check("GET", &[host, ("sec-fetch-site", site)]), Err(403), "{site}");
        }
        for site in ["none", "same-origin"] {
            assert_eq!(check("GET", &[host, ("sec-fetch-site", site)]), Ok(()), "{site}");
        }
        let target = head("POST", "http://evil.example/rank", &[host, JSON]);
        assert_eq!(check_local(&target).unwrap_err().status.as_u16(), 403);
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "",
            "application/json, text/plain",
            "text/plain;application/json",
        ] {
            assert_eq!(check("POST", &[host, ("content-type", kind)]), Err(415), "{kind}");
        }
        assert_eq!(check("POST", &[host]), Err(415));
        assert_eq!(check("POST", &[host, JSON, JSON]), Err(415));
        for kind in [
            "Application/JSON; charset=utf-8",
            "application/x-ndjson",
            "application/vnd.apache.arrow.stream",
        ] {
            assert_eq!(check("POST", &[host, ("content-type", kind)]), Ok(()), "{kind}");
        }
    }
}
