//! What outcomes of displayed rankings say, as tables.

use serde_json::Value;

use super::{UNKNOWN, fixed, percent, signed, table, text, text_or};
use crate::cli::output::printable;

/// The mark of a test that has not decided.
pub(super) const UNDECIDED: &str = "open";

/// A trial, or a suspicion that interleaving decides.
pub(super) fn trial(trial: &Value) -> String {
    if !trial.is_object() {
        return String::new();
    }
    let numbers = &trial["numbers"];
    let enough = trial["confidence"].as_f64().map(|confidence| -(1.0 - confidence).ln());
    let mut table = table(["interleaved", "", "value", "evidence (logarithm)"]);
    let mut add = |name: &str, log_e: &Value, value: String| {
        let mark = match (log_e.as_f64(), enough) {
            (Some(log_e), Some(enough)) if log_e >= enough => "pass",
            (Some(_), Some(_)) => UNDECIDED,
            _ => UNKNOWN,
        };
        let required = enough.map_or(UNKNOWN.to_owned(), |enough| format!("{enough:.2}"));
        let evidence = format!("{}, {required} decides", fixed(log_e, 2));
        table.add_row([name.to_owned(), mark.to_owned(), value, evidence]);
    };
    let credit = interval(&numbers["credit"]);
    add("LTR is preferred", &numbers["log_e"][0], credit.clone());
    add("legacy is preferred", &numbers["log_e"][1], credit);
    let contracts = format!(
        "{} a user, at most {} less",
        interval(&numbers["contracts"]),
        text(&trial["margin"])
    );
    add("contracts are kept", &numbers["contracts_log_e"], contracts);
    format!(
        "interleaved: {}: {} users, {} of them with a preference\n{table}\nso far: {}; a decision takes {} users with one \
         more each day\n",
        closed(trial),
        text(&numbers["users"]),
        text(&numbers["decided"]),
        text(&numbers["verdict"]),
        text(&trial["least_decided"]),
    )
}

/// The model that is live beside its usual rate of contracts.
pub(super) fn relevance(relevance: &Value) -> String {
    if !relevance.is_object() {
        return String::new();
    }
    let numbers = &relevance["numbers"];
    let state = match (numbers["is_raised"].as_bool(), numbers["baseline_users"].as_u64()) {
        (Some(true), _) => "SUSPICION",
        (_, Some(0)) => "no usual rate yet",
        (Some(false), _) => "no suspicion",
        _ => UNKNOWN,
    };
    let reference = match numbers["reference"].as_str() {
        Some("legacy") => "legacy's before",
        Some("itself") => "its own",
        _ => UNKNOWN,
    };
    let mut table = table(["relevance", "usual", "since then", "evidence (logarithm)"]);
    table.add_row([
        "contracts a user".to_owned(),
        format!(
            "{} of {}, {reference}",
            fixed(&numbers["baseline"], 3),
            text(&numbers["baseline_users"])
        ),
        format!("{} of {}", fixed(&numbers["contracts"], 3), text(&numbers["users"])),
        format!(
            "{}, {} is a suspicion",
            fixed(&numbers["log_evidence"], 2),
            fixed(&numbers["log_level"], 2)
        ),
    ]);
    format!(
        "relevance: {}: {state}\n{table}\na fall of Hit@3 by one point would take {} contracts to see\n",
        closed(relevance),
        text(&numbers["contracts_for_one_point"])
    )
}

/// How attention falls with the place, and when it will be known.
pub(super) fn propensities(propensities: &Value) -> String {
    if !propensities.is_object() {
        return String::new();
    }
    let known = match (propensities["identified"].as_bool(), propensities["known_on"].as_str()) {
        (Some(true), _) => "known".to_owned(),
        (Some(false), Some(date)) => format!("known about {}", printable(date)),
        (Some(false), None) => "not known".to_owned(),
        (None, _) => UNKNOWN.to_owned(),
    };
    let mut table = table(["position bias", "eta", "swaps", "coins of drafts", "share of the users"]);
    table.add_row([
        known,
        interval(&propensities["eta"]),
        text(&propensities["swaps"]),
        text(&propensities["drafts"]),
        percent(&propensities["share"]),
    ]);
    format!("{table}\n{}\n", text(&propensities["reason"]))
}

/// `V1, 8 closed days from 2026-10-02 to 2026-10-09`.
fn closed(of: &Value) -> String {
    let closed = &of["closed"];
    format!(
        "{}, {} closed days from {} to {}",
        text(&of["version"]),
        text(&closed["days"]),
        text(&closed["from"]),
        text_or(&closed["until"], UNKNOWN)
    )
}

pub(super) fn interval(interval: &Value) -> String {
    let part = |part: &str| signed(interval[part].as_f64());
    format!("{} [{}, {}]", part("estimate"), part("low"), part("high"))
}
