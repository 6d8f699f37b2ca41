use serde_json::json;

use super::outcomes::UNDECIDED;
use super::*;

const HEAD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn live() -> Value {
    let criterion = |name: &str, passed: bool| json!({ "name": name, "passed": passed, "value": "1", "required": "2", "reason": "because" });
    let gateway = |name: &str, follows: u64| {
        json!({ "name": name, "id": "7", "seen_seconds_ago": 0.4, "follows": follows, "serves": "ltr",
                "condition": "serving", "champion": "loaded", "challenger": "missing: no such file" })
    };
    let interval = json!({ "estimate": 0.25, "low": 0.125, "high": 0.5 });
    json!({
        "weight": 95, "champion": "V1", "challenger": "V2",
        "state": {
            "form": 1, "version": 12, "phase": { "name": "live" }, "since": "2026-10-01T12:00:00Z",
            "exposure": { "share": 1.0, "display": "whole", "hold_out": 0.05 },
            "champion": { "model": { "version": "V1", "sha256": null }, "grounds": { "by": "verdict" },
                          "pinned": true, "serving_since": 7 },
            "challenger": { "version": "V2", "sha256": null },
            "hold": { "actor": "ops", "reason": "campaign", "since": "2026-10-02T00:00:00Z" }, "barred": []
        },
        "head": HEAD,
        "following": { "version": 12, "serves": "ltr", "up_to_date": true, "checked_seconds_ago": 0.3,
                       "problem": null, "rollback_pending": null },
        "fleet": {
            "holder": "gw-a", "gateways": [gateway("gw-a", 12), gateway("gw-b", 11)],
            "health": { "requests": 4000, "fallback_rate": 0.015, "p95_ms": 3.5,
                        "criteria": [criterion("fallback_rate", false)] }
        },
        "judged": "V2", "as_of": "2026-10-03T00:00:00Z",
        "evidence": { "cases": 3000, "days": 14.5, "contracts": 900, "fallbacks": 2, "hit3_legacy": 0.5,
                      "hit3_ltr": 0.75, "hit3_gain": interval, "mrr_legacy": 0.5, "mrr_ltr": 0.75,
                      "mrr_gap": interval, "fair_gap_legacy": 0.25, "fair_gap_ltr": 0.125 },
        "verdict": { "promote": false, "criteria": [criterion("duration", true)] },
        "flags": { "kill_switch": { "value": false, "source": "configuration" },
                   "shadow_fraction": { "value": 0.1, "source": "redis" }, "redis": { "up": true } },
        "propensities": { "eta": interval, "standard_error": 0.1, "width": 0.8, "confidence": 0.95, "identified": false,
                          "known_on": "2026-11-20", "reason": "the interval is wide", "share": 0.05, "swaps": 120,
                          "drafts": 30, "pairs": [{ "pair": [1, 2], "tosses": 150, "clicks": [40, 20] }],
                          "closed": closed() },
        "outbox": { "owed": 0, "oldest_seconds": null, "last_error": null },
        "history": [{ "seq": 12, "ts_utc": "2026-10-02T00:00:00Z", "action": "hold", "actor": "ops",
                      "reason": "campaign", "evidence": null, "hash": HEAD }]
    })
}

/// The row of a table that begins with this name.
fn row<'a>(page: &'a str, name: &str) -> &'a str {
    let mut lines = page.lines();
    lines
        .find(|line| line.trim_start_matches('│').trim_start().starts_with(name))
        .unwrap_or_else(|| panic!("no {name} in\n{page}"))
}

#[test]
fn the_evidence_says_what_is_known_and_what_is_wrong_with_it() {
    let interval = json!({ "estimate": 0.25, "low": -0.125, "high": 0.5 });
    let estimate = json!({ "legacy": 0.5, "ltr": 0.75, "difference": interval, "clipping": 0.0 });
    let model = |ips: Value| {
        json!({
            "version": "V1",
            "values": { "users": 90, "clicks": 40, "ips": ips, "doubly_robust": ips, "effective_sample_size": 12.4,
                        "bounds": { "worst": -0.5, "best": 0.75 }, "etas": [0.0, 2.0], "unseen_top": 0.1,
                        "reason": "because", "known_biases": ["clicks only", "\u{1b}[31mred"] },
            "eta_of_exposure": 1.0,
            "exposure": [{ "attribute": "gender", "group": "F", "ranking": { "displayed": "hold_out" },
                           "candidates": 30, "of_candidates": 0.5, "of_examination": 0.25 }],
            "fair_gap": { "legacy": 0.02, "ltr": 0.03 },
        })
    };
    let answer = |ips: Value| {
        json!({
            "closed": { "from": "2026-10-01", "until": "2026-10-09", "days": 9, "without_evidence": 2 },
            "models": [model(ips)],
            "coverage": { "cases": 100, "compared": 90, "waiting": { "as_of": "2026-10-17T00:00:00Z", "cases": 7 } },
            "samplers": { "from": "2026-10-02", "days": 8, "tests": [
                { "sampler": "ladder", "n": 900, "expected": 0.5, "observed": 0.6, "log_e": 9.5, "log_level": 6.9,
                  "is_broken": true }] },
        })
    };
    let page = evidence::page(&answer(estimate));
    assert!(
        row(&page, "inverse propensity scoring").contains("+0.250 [-0.125, +0.500]"),
        "{page}"
    );
    assert!(row(&page, "worst and best").contains("[-0.500, +0.750]"), "{page}");
    assert!(row(&page, "gender F").contains("displayed, arm hold_out"), "{page}");
    assert!(row(&page, "ladder").contains("BROKEN"), "{page}");
    for said in [
        "2 of them counted by a former program",
        "known bias: clicks only",
        "gap of scores: legacy 0.020",
        "7 cases wait",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains('\u{1b}'), "{page}");
    let unknown = evidence::page(&answer(Value::Null));
    assert!(
        !unknown.contains("doubly robust") && unknown.contains("because"),
        "{unknown}"
    );
    assert_eq!(evidence::page(&Value::Null), "no evidence was read yet\n");
}

#[test]
fn the_status_says_what_serves_why_and_where() {
    let page = status(&live());
    assert!(
        page.starts_with("weight 95 %   champion V1   challenger V2\nphase "),
        "{page}"
    );
    for line in [
        "live: V1 answers 100 % of the users, outside a hold-out of 5 % (since 2026-10-01T12:00:00Z)",
        "version 12, ledger head 0123456789ab\n",
        "ON since 2026-10-02T00:00:00Z by ops: campaign",
        "V1 is PINNED",
        "this gateway has version 12 and serves ltr; last look at the record: 0.3 s ago",
        "controller  gw-a",
        "hold at 2026-10-02T00:00:00Z by ops: campaign",
        "health: 4000 requests, 1.5 % fallbacks, 95 % are scored within 3.5 ms",
        "kill switch off (configuration)   in shadow 10 % (redis)",
        "evidence on V2, as of 2026-10-03T00:00:00Z: 3000 closed cases over 14.5 days, 900 contracts",
        "+0.250 [+0.125, +0.500]",
        "-0.125",
        "verdict: stay in shadow",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    assert!(row(&page, "fallback_rate").contains("FAIL"), "{page}");
    assert!(row(&page, "duration").contains("pass"), "{page}");
    assert!(!page.contains("outbox") && !page.contains("!!"), "{page}");
}

#[test]
fn a_gateway_that_follows_another_version_is_marked() {
    let page = status(&live());
    assert!(
        !row(&page, "gw-a").contains('!') && row(&page, "gw-b").contains("11 !"),
        "{page}"
    );
    assert!(page.contains("1 of 2 gateways do not follow version 12"), "{page}");
    assert!(row(&page, "gw-b").contains("missing: no such file"), "{page}");
    // So is one that has the version and does not trust it.
    let mut answer = live();
    answer["fleet"]["gateways"][0]["problem"] = json!(true);
    let page = status(&answer);
    assert!(row(&page, "gw-a").contains("12 !"), "{page}");
    assert!(page.contains("2 of 2 gateways do not follow version 12"), "{page}");
}

#[test]
fn what_an_operator_must_know_stands_in_the_second_line() {
    let mut answer = live();
    answer["following"]["rollback_pending"] =
        json!({ "command": "7", "actor": "ops", "reason": "contracts fell", "at": "2026-10-02T00:00:00Z" });
    answer["following"]["problem"] = json!("the database is away");
    answer["following"]["up_to_date"] = json!(false);
    answer["outbox"] = json!({ "owed": 3, "oldest_seconds": 700.0, "last_error": "503" });
    let page = status(&answer);
    let lines: Vec<&str> = page.lines().collect();
    assert!(
        lines[1].starts_with("!! ROLLBACK PENDING since 2026-10-02T00:00:00Z by ops: contracts fell"),
        "{page}"
    );
    assert!(lines[1].contains("the other gateways follow when it is back"), "{page}");
    assert_eq!(lines[2], "!! PROBLEM: the database is away");
    assert!(lines[3].starts_with("!! NOT UP TO DATE"), "{page}");
    assert!(
        page.contains("3 messages are not delivered, the oldest for 12 min; last error: 503"),
        "{page}"
    );
}

#[test]
fn each_phase_is_said_in_words() {
    let said = |phase: Value, share: f64| {
        let mut answer = live();
        answer["state"]["phase"] = phase;
        answer["state"]["exposure"] = json!({ "share": share, "display": "interleaved", "hold_out": 0.0 });
        row(&status(&answer), "phase").to_owned()
    };
    for (phase, share, words) in [
        (
            json!({ "name": "shadow" }),
            0.0,
            "shadow: legacy answers, V2 is compared",
        ),
        (
            json!({ "name": "rung", "index": 0 }),
            0.25,
            "rung 1 of the ladder: V1 answers 25 % of the users, interleaved",
        ),
        (json!({ "name": "suspected" }), 0.5, "suspected: V1 answers 50 %"),
        (json!({ "name": "trial" }), 0.5, "trial: V1 answers 50 %"),
        (
            json!({ "name": "rolled_back", "until": "2026-10-09T00:00:00Z" }),
            0.0,
            "rolled back: legacy answers; no promotion by itself until 2026-10-09T00:00:00Z",
        ),
        (
            json!({ "name": "manual" }),
            0.125,
            "manual: an operator chose that V1 answers 12.5 % of the users",
        ),
        (
            json!({ "name": "manual" }),
            0.0,
            "manual: an operator gave all users to legacy",
        ),
        (json!({ "name": "paused" }), 0.0, "paused (since"),
    ] {
        let line = said(phase, share);
        assert!(line.contains(words), "{words}: {line}");
    }
}

#[test]
fn a_rollback_that_is_not_on_record_is_said_plainly() {
    let mut answer = json!({ "weight": 0, "champion": "V1", "challenger": null, "state": live()["state"],
                             "head": HEAD, "recorded": true });
    assert!(!done(&answer).contains("!!"));
    answer["recorded"] = json!(false);
    let page = done(&answer);
    assert!(
        page.contains(
            "!! legacy answers on this gateway now; the database cannot be written; \
             the other gateways follow when it is back\n"
        ),
        "{page}"
    );
}

#[test]
fn a_refusal_shows_the_criteria_and_no_state() {
    let answer = json!({ "error": { "code": "verdict" }, "verdict": live()["verdict"] });
    let page = refusal(&answer);
    assert!(page.contains("duration") && !page.contains("weight"), "{page}");
    assert_eq!(refusal(&json!({ "error": { "code": "no_challenger" } })), "");
}

#[test]
fn a_former_gateway_leaves_most_unsaid() {
    let former = json!({ "weight": 100, "champion": "V1", "challenger": null, "judged": null, "evidence": null,
                         "verdict": null, "flags": live()["flags"],
                         "history": [{ "ts_utc": "2026-10-01T00:00:00Z", "action": "promote", "actor": "ops", "detail": {} }] });
    let page = status(&former);
    assert!(
        page.starts_with("weight 100 %   champion V1   challenger none\n"),
        "{page}"
    );
    assert_eq!(row(&page, "phase"), "phase       -");
    assert_eq!(row(&page, "hold"), "hold        -");
    assert_eq!(row(&page, "gateways"), "gateways -");
    assert!(
        row(&page, "last change").ends_with("promote at 2026-10-01T00:00:00Z by ops"),
        "{page}"
    );
}

/// Replaces each member of the answer in turn, at any depth, by something else.
fn with_each_replaced(answer: &Value, by: &Value, check: &mut dyn FnMut(&Value)) {
    fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    pointers(member, &format!("{at}/{key}"), found);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    pointers(item, &format!("{at}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    pointers(answer, "", &mut found);
    for pointer in found {
        let mut changed = answer.clone();
        *changed.pointer_mut(&pointer).unwrap() = by.clone();
        check(&changed);
    }
}

#[test]
fn no_answer_makes_it_panic_or_write_a_control_character() {
    let hostile = json!("\u{1b}[2J\u{9b}31m\r\n\u{202e}");
    for by in [
        json!(null),
        json!(-1),
        json!(1e300),
        json!([]),
        json!({}),
        json!([[{}]]),
        hostile,
    ] {
        with_each_replaced(&live(), &by, &mut |answer| {
            for page in [status(answer), done(answer), refusal(answer)] {
                let is_clean = |char: char| char == '\n' || !char.is_control() && char != '\u{202e}';
                assert!(page.chars().all(is_clean), "{page:?}");
            }
        });
    }
}

fn closed() -> Value {
    json!({ "from": "2026-10-02", "until": "2026-10-09", "days": 8 })
}

#[test]
fn a_trial_is_shown_with_what_clients_preferred_and_what_it_still_takes() {
    let mut answer = live();
    let numbers = json!({
        "users": 900, "decided": 300, "decided_by_others": 292, "credit": { "estimate": 0.25, "low": 0.1, "high": 0.4 },
        "log_e": [3.5, -1.0], "contracts": { "estimate": -0.02, "low": -0.09, "high": 0.05 }, "blocks": 450,
        "contracts_log_e": 1.2, "verdict": "undecided",
    });
    answer["trial"] = json!({ "version": "V1", "closed": closed(), "confidence": 0.95, "margin": 0.1,
                              "least_decided": 30, "numbers": numbers });
    answer["relevance"] = Value::Null;
    let page = status(&answer);
    for line in [
        "interleaved: V1, 8 closed days from 2026-10-02 to 2026-10-09: 900 users, 300 of them with a preference",
        "so far: undecided",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    let preferred = row(&page, "LTR is preferred");
    assert!(
        preferred.contains("pass") && preferred.contains("+0.250 [+0.100, +0.400]"),
        "{page}"
    );
    assert!(row(&page, "contracts are kept").contains(UNDECIDED), "{page}");
    assert!(row(&page, "legacy is preferred").contains(UNDECIDED), "{page}");
    assert!(!page.contains("relevance:"), "{page}");
}

#[test]
fn the_watch_on_relevance_is_shown_beside_its_usual_rate() {
    let mut answer = live();
    let numbers = json!({
        "reference": "legacy", "baseline_users": 855, "baseline": 0.7, "users": 600, "contracts": 0.61, "log_evidence": 4.0, "log_level": 8.9,
        "is_raised": false, "contracts_for_one_point": 30_900,
    });
    answer["relevance"] = json!({ "version": "V1", "closed": closed(), "numbers": numbers });
    let page = status(&answer);
    for line in [
        "relevance: V1, 8 closed days from 2026-10-02 to 2026-10-09: no suspicion",
        "a fall of Hit@3 by one point would take 30900 contracts to see",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    let contracts = row(&page, "contracts a user");
    assert!(
        contracts.contains("0.610") && contracts.contains("legacy's before"),
        "{page}"
    );
    // Until there is a usual rate, nothing is compared with it.
    answer["relevance"]["numbers"]["baseline_users"] = json!(0);
    assert!(status(&answer).contains("no usual rate yet"), "{page}");
}

#[test]
fn the_plan_says_when_a_larger_share_would_be_decided() {
    let mut answer = live();
    assert!(!status(&answer).contains("plan:"), "nothing waits for data");
    let planned = |share: f64, users: &str| json!({ "share": share, "decidable_on": users, "criteria": { "users": users, "mrr_gap": null } });
    answer["plan"] = json!({
        "share": 0.1, "shares": [planned(0.1, "2026-12-12"), planned(0.5, "2026-12-03")],
        "sentence": "with 50 % compared instead of 10 %: about 2026-12-03 instead of about 2026-12-12",
    });
    let page = status(&answer);
    assert!(
        page.contains("plan: with 50 % compared instead of 10 %: about 2026-12-03"),
        "{page}"
    );
    let now = row(&page, "10 % (now)");
    assert!(now.contains("2026-12-12") && now.contains(" - "), "{now}");
    assert!(row(&page, "50 %").contains("2026-12-03"), "{page}");
}

#[test]
fn position_bias_is_shown_with_the_day_on_which_it_will_be_known() {
    let mut answer = live();
    let said = row(&status(&answer), "known about 2026-11-20").to_owned();
    for part in ["+0.250 [+0.125, +0.500]", "120", "30", "5 %"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(status(&answer).contains("\nthe interval is wide\n"));
    answer["propensities"]["identified"] = json!(true);
    assert!(row(&status(&answer), "known ").contains("0.250"));
    answer["propensities"]["eta"] = Value::Null;
    answer["propensities"]["identified"] = json!(false);
    answer["propensities"]["known_on"] = Value::Null;
    assert!(row(&status(&answer), "not known").contains("- [-, -]"));
}
