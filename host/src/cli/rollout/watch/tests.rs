use serde_json::json;

use super::*;

fn at(second: u32) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + i64::from(second), 0).unwrap()
}

fn entry(seq: u64, action: &str, reason: &str) -> Value {
    json!({ "seq": seq, "ts_utc": format!("2026-10-01T00:00:{seq:02}Z"), "action": action, "actor": "controller",
            "reason": reason, "evidence": {}, "hash": "" })
}

/// The answer of a gateway in this phase; the last entry is the newest.
fn answer(phase: &str, weight: u64, entries: &[Value]) -> Value {
    let history: Vec<&Value> = entries.iter().rev().collect();
    let version = entries.len();
    json!({ "weight": weight, "champion": "V1", "challenger": null,
            "state": { "version": version, "phase": { "name": phase } },
            "following": { "version": version, "up_to_date": true, "checked_seconds_ago": 0.1, "problem": null,
                           "rollback_pending": null },
            "history": history })
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| change.line().trim_end().to_owned())
        .collect()
}

#[test]
fn each_change_is_a_line_and_an_answer_without_one_is_none() {
    let mut watched = Watched::default();
    let entries = [
        entry(1, "begin", ""),
        entry(2, "promote", "every criterion holds"),
        entry(3, "climb", ""),
        entry(4, "rollback", "technical watch: fallback_rate"),
    ];
    let first = watched.take(Ok(answer("shadow", 0, &entries[..1])), at(0));
    assert_eq!(
        lines(&first),
        ["2026-10-01T00:00:01Z  v1  shadow  0 %  begin by controller"]
    );

    // Ages and figures are no change.
    let mut same = answer("shadow", 0, &entries[..1]);
    same["following"]["checked_seconds_ago"] = json!(0.9);
    assert_eq!(watched.take(Ok(same), at(1)), []);

    let several = watched.take(Ok(answer("rolled_back", 0, &entries)), at(2));
    assert_eq!(
        lines(&several),
        [
            "2026-10-01T00:00:02Z  v2  -  -  promote by controller: every criterion holds",
            "2026-10-01T00:00:03Z  v3  -  -  climb by controller",
            "2026-10-01T00:00:04Z  v4  rolled_back  0 %  rollback by controller: technical watch: fallback_rate",
        ]
    );
}

#[test]
fn a_gateway_that_does_not_answer_is_said_once_and_so_is_its_return() {
    let mut watched = Watched::default();
    let entries = [entry(1, "begin", "")];
    watched.take(Ok(answer("live", 95, &entries)), at(0));
    let silence = watched.take(Err("connection refused".to_owned()), at(1));
    assert_eq!(
        lines(&silence),
        ["2026-09-21T14:13:21Z  -  -  -  !! no answer: connection refused"]
    );
    assert_eq!(watched.take(Err("connection refused".to_owned()), at(2)), []);
    assert!(!watched.has_reached(Some("live")));
    let page = watched.page("title");
    let lines_of_page: Vec<&str> = page.lines().collect();
    assert_eq!(
        lines_of_page[..3],
        [
            "title",
            "!! NO ANSWER since 2026-09-21T14:13:21Z: connection refused",
            "the last answer was:"
        ]
    );
    assert!(page.contains("weight 95 %"), "{page}");

    let back = watched.take(Ok(answer("live", 95, &entries)), at(3));
    assert_eq!(lines(&back), ["2026-09-21T14:13:23Z  v1  live  95 %"]);
    assert!(!watched.page("title").contains("NO ANSWER"));
}

#[test]
fn a_problem_of_the_gateway_is_a_change() {
    let mut watched = Watched::default();
    let entries = [entry(1, "begin", "")];
    watched.take(Ok(answer("live", 95, &entries)), at(0));
    let mut pending = answer("live", 95, &entries);
    pending["following"]["rollback_pending"] =
        json!({ "command": "7", "actor": "ops", "reason": "", "at": "2026-10-01T00:01:00Z" });
    let changes = watched.take(Ok(pending), at(1));
    assert_eq!(changes.len(), 1);
    let problem = changes[0].problem.as_deref().unwrap();
    assert!(
        problem.starts_with("ROLLBACK PENDING since 2026-10-01T00:01:00Z by ops"),
        "{problem}"
    );
}

#[test]
fn a_change_is_one_line_of_json() {
    let mut watched = Watched::default();
    let changes = watched.take(Ok(answer("live", 95, &[entry(1, "pin", "two\nlines\u{9b}")])), at(0));
    let line = changes[0].json();
    assert_eq!((line.matches('\n').count(), line.contains('\u{9b}')), (1, false));
    let read: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        read,
        json!({ "ts_utc": "2026-10-01T00:00:01Z", "version": 1, "phase": "live", "weight": 95, "action": "pin",
                "actor": "controller", "reason": "two\nlines\u{9b}", "problem": null })
    );
    assert_eq!(changes[0].line().matches('\n').count(), 1);
}

#[test]
fn a_former_gateway_is_watched_by_its_weight_and_history() {
    let former = |weight: u64, action: &str| {
        json!({ "weight": weight, "champion": "V1", "challenger": null,
                "history": [{ "ts_utc": "2026-10-01T00:00:00Z", "action": action, "actor": "ops", "detail": {} }] })
    };
    let mut watched = Watched::default();
    watched.take(Ok(former(100, "promote")), at(0));
    assert_eq!(watched.take(Ok(former(100, "promote")), at(1)), []);
    let changes = watched.take(Ok(former(0, "rollback")), at(2));
    assert_eq!(lines(&changes), ["2026-10-01T00:00:00Z  -  -  0 %  rollback by ops"]);
    assert!(!watched.has_reached(Some("live")));
    for answer in [
        json!(null),
        json!([]),
        json!("live"),
        json!({ "history": [null, 1, {}] }),
    ] {
        watched.take(Ok(answer), at(3));
        assert!(!watched.has_reached(Some("live")) && !watched.page("").is_empty());
    }
}

#[test]
fn a_phase_in_vain_says_what_it_is_instead() {
    let options = Options {
        every: Duration::from_secs(1),
        until: Some("live".to_owned()),
        timeout: Some(Duration::from_secs(60)),
        json: false,
    };
    let mut watched = Watched::default();
    let missed = "the phase live was not reached within 60 s; ";
    assert_eq!(
        watched.missed(&options),
        format!("{missed}the gateway has not answered yet")
    );
    watched.take(Ok(answer("rung", 25, &[])), at(0));
    assert_eq!(watched.missed(&options), format!("{missed}it is rung"));
    watched.take(Ok(answer("live", 95, &[])), at(1));
    assert!(watched.has_reached(Some("live")) && !watched.has_reached(Some("rung")) && !watched.has_reached(None));
    watched.take(Err("gone".to_owned()), at(2));
    assert_eq!(
        watched.missed(&options),
        format!("{missed}the gateway does not answer: gone")
    );
}

#[test]
fn a_frame_covers_the_former_one_and_fits_the_terminal() {
    assert_eq!(frame("one\ntwo\n", None), "\x1b[H\x1b[Kone\n\x1b[Ktwo\n\x1b[J");
    assert_eq!(frame("one\ntwo\n", Some((2, 3))), "\x1b[H\x1b[Kon\n\x1b[Ktw\n\x1b[J");
    let cut = frame("1\n2\n3\n4\n", Some((80, 4)));
    assert_eq!(
        cut,
        "\x1b[H\x1b[K1\n\x1b[K2\n\x1b[K... 2 more lines: ltr-host rollout status\n\x1b[J"
    );
    for height in 0..3 {
        assert!(frame("1\n2\n3\n", Some((80, height))).lines().count() <= 2, "{height}");
    }
}
