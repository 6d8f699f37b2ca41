//! Parses the header `traceparent`: <https://www.w3.org/TR/trace-context-2/#traceparent-header>.

use hyper::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Length in bytes: `00-`, then 32, 16 and 2 digits with dashes between.
const LENGTH: usize = 55;

/// The caller's span; `None` if the header is absent, repeated or invalid. The trace then begins
/// here.
pub(super) fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all("traceparent").iter();
    match (values.next(), values.next()) {
        (Some(value), None) => parse(value.as_bytes()),
        _ => None,
    }
}

/// Parses a value of the header; `None` if it is invalid.
pub fn parse(value: &[u8]) -> Option<SpanContext> {
    let (known, more) = value.split_at_checked(LENGTH)?;
    let [version, trace_id, parent_id, flags] = fields(known)?;
    let version = number(version)?;
    // Version 255 is forbidden. Later versions may add fields after another dash.
    let ends = more.is_empty() || version > 0 && more.starts_with(b"-");
    if version == 255 || !ends {
        return None;
    }
    let trace_id = TraceId::from(number(trace_id)?);
    let parent_id = SpanId::from(number(parent_id)? as u64);
    let flags = TraceFlags::new(number(flags)? as u8) & TraceFlags::SAMPLED;
    let context = SpanContext::new(trace_id, parent_id, flags, true, TraceState::default());
    // Neither id may be zero.
    context.is_valid().then_some(context)
}

fn fields(value: &[u8]) -> Option<[&[u8]; 4]> {
    let mut parts = value.split(|&byte| byte == b'-');
    let fields = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    (parts.next().is_none() && fields.map(<[u8]>::len) == [2, 32, 16, 2]).then_some(fields)
}

/// Parses up to 32 hexadecimal digits. Only lower case is allowed.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_value_names_the_callers_span() {
        let context = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        let unsampled = parse(GOOD.replace("-01", "-02").as_bytes()).unwrap();
        assert!(!unsampled.is_sampled());
        for later in [
            GOOD.replacen("00", "cc", 1),
            GOOD.replacen("00", "01", 1) + "-what-comes-later",
        ] {
            assert_eq!(parse(later.as_bytes()), Some(context.clone()), "{later}");
        }
    }

    #[test]
    fn an_invalid_value_is_none() {
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &(GOOD.to_owned() + "-"),
            &(GOOD.to_owned() + "-00"),
            &GOOD.replacen("00", "ff", 1),
            &(GOOD.replacen("00", "01", 1) + "00"),
            &GOOD.to_uppercase(),
            &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("-01", "-0g"),
            &GOOD.replace("-01", "-+1"),
            &GOOD.replace("-00f067", "--0f067"),
            &GOOD.replacen('-', "_", 1),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_repeated_header_is_ignored() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", GOOD.parse().unwrap());
        assert!(caller(&headers).is_some());
        headers.append("traceparent", GOOD.parse().unwrap());
        assert_eq!(caller(&headers), None);
    }
}
