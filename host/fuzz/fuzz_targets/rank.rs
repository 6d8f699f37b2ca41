//! A case that is accepted obeys the limits, and is the same case when it is written and read again.
#![no_main]

use std::collections::HashSet;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use ltr_host::routes::rank::request::{RankRequest, read};
use ranking::{Candidate, Presets, Schema};
use serde_json::{Value, json};
use settings::{Host, Settings};

static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| SETTINGS.schema());
static PRESETS: LazyLock<Presets> = LazyLock::new(|| SETTINGS.presets());

fuzz_target!(|body: &[u8]| {
    let host = Host {
        max_lawyers: 5,
        ..Host::default()
    };
    let Ok(request) = read(body, &SCHEMA, &PRESETS, &host) else {
        return;
    };
    assert!((1..=host.max_lawyers).contains(&request.candidates.len()));
    assert!(
        request
            .top_n
            .is_none_or(|top_n| (1..=host.max_lawyers).contains(&top_n))
    );
    let ids: HashSet<&str> = request
        .candidates
        .iter()
        .map(|candidate| candidate.lawyer_id.as_str())
        .collect();
    assert_eq!(ids.len(), request.candidates.len());
    for candidate in &request.candidates {
        let groups = candidate
            .groups
            .iter()
            .flat_map(|(attribute, group)| [attribute, group]);
        assert!(groups.chain([&candidate.lawyer_id]).all(|text| grammar::is_text(text)));
        assert_eq!(candidate.features.len(), SCHEMA.len());
        assert!(
            candidate
                .features
                .iter()
                .all(|value| value.is_nan() || grammar::is_number(*value))
        );
    }
    let again = read(written(&request).to_string().as_bytes(), &SCHEMA, &PRESETS, &host);
    let again = again.unwrap_or_else(|error| panic!("{}", error.message));
    assert_eq!(
        (again.case_id, again.user_id, again.top_n),
        (request.case_id, request.user_id, request.top_n)
    );
    // NaN, which is missing, is not equal to itself.
    assert_eq!(format!("{:?}", again.candidates), format!("{:?}", request.candidates));
    assert_eq!(again.consents, request.consents);
});

fn written(request: &RankRequest) -> Value {
    json!({
        "case": {"case_id": request.case_id, "user_id": request.user_id},
        "top_n": request.top_n,
        "lawyers": request.candidates.iter().zip(&request.consents).map(lawyer).collect::<Vec<_>>(),
    })
}

fn lawyer((candidate, consent): (&Candidate, &Option<DateTime<Utc>>)) -> Value {
    let values = candidate
        .features
        .iter()
        .map(|value| (!value.is_nan()).then_some(*value));
    let features: serde_json::Map<String, Value> =
        SCHEMA.names().iter().cloned().zip(values.map(Value::from)).collect();
    json!({
        "lawyer_id": candidate.lawyer_id,
        "features": features,
        "cases_30d": candidate.cases_30d,
        "monthly_capacity": candidate.monthly_capacity,
        "groups": candidate.groups,
        "last_offered_at": candidate.last_offered_at.map(|time| time.to_rfc3339()),
        "groups_consented_at": consent.map(|time| time.to_rfc3339()),
    })
}
