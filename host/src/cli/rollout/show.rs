//! The gateway's answers as text for people: pure functions of the JSON.
//!
//! An answer may come from a gateway of another version. What it does not say is shown as `-`.

use std::fmt::Write as _;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::Value;

use crate::cli::output::printable;

pub(super) mod evidence;
mod outcomes;
mod plan;

/// How much of a hash is shown.
const HASH: usize = 12;
/// What stands for a value that the answer does not have.
const UNKNOWN: &str = "-";
const PENDING: &str = "legacy answers on this gateway now; the database cannot be written; \
                       the other gateways follow when it is back";

/// The whole of `GET /rollout`.
pub(super) fn status(answer: &Value) -> String {
    let mut page = summary(answer);
    let version = &answer["state"]["version"];
    push(&mut page, "follows", &follows(&answer["following"]));
    push(&mut page, "controller", &text_or(&answer["fleet"]["holder"], "nobody"));
    push(&mut page, "last change", &last_change(&answer["history"][0]));
    if answer["outbox"]["owed"].as_u64().is_some_and(|owed| owed > 0) {
        push(&mut page, "outbox", &outbox(&answer["outbox"]));
    }
    page += &gateways(&answer["fleet"]["gateways"], version);
    page += &health(&answer["fleet"]["health"]);
    page += &flags(&answer["flags"]);
    page += &judgement(answer);
    page += &replacement(answer);
    page += &plan::plan(&answer["plan"]);
    page += &outcomes::trial(&answer["trial"]);
    page += &outcomes::relevance(&answer["relevance"]);
    page += &outcomes::propensities(&answer["propensities"]);
    page
}

/// What an order led to.
pub(super) fn done(answer: &Value) -> String {
    let mut page = summary(answer);
    if answer["recorded"] == false {
        page += &format!("!! {PENDING}\n");
    }
    page + &judgement(answer)
}

/// Why an order was refused, as far as it is in tables.
pub(super) fn refusal(answer: &Value) -> String {
    judgement(answer)
}

/// What an operator must know first; usually nothing.
pub(super) fn alarms(answer: &Value) -> Vec<String> {
    let following = &answer["following"];
    let mut alarms = Vec::new();
    if following["rollback_pending"].is_object() {
        let pending = &following["rollback_pending"];
        let by = by(&pending["actor"], &pending["reason"]);
        alarms.push(format!(
            "ROLLBACK PENDING since {}{by}: {PENDING}",
            text(&pending["at"])
        ));
    }
    if let Some(problem) = following["problem"].as_str() {
        alarms.push(format!("PROBLEM: {}", printable(problem)));
    }
    if following["up_to_date"] == false {
        let checked = ago(&following["checked_seconds_ago"]);
        alarms.push(format!("NOT UP TO DATE: last look at the record: {checked}"));
    }
    alarms
}

/// The name of the phase.
pub(super) fn phase(answer: &Value) -> String {
    text(&answer["state"]["phase"]["name"])
}

/// A text from the network, or a number.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => UNKNOWN.to_owned(),
    }
}

/// ` by ACTOR: REASON`, as far as they are known.
pub(super) fn by(actor: &Value, reason: &Value) -> String {
    let mut said = String::new();
    if let Some(actor) = actor.as_str() {
        said = format!(" by {}", printable(actor));
    }
    if let Some(reason) = reason.as_str().filter(|reason| !reason.is_empty()) {
        said += &format!(": {}", printable(reason));
    }
    said
}

/// What all answers have: weight, models, alarms and the state.
fn summary(answer: &Value) -> String {
    let state = &answer["state"];
    let name = |key: &str| answer.get(key).map_or(UNKNOWN.to_owned(), |name| text_or(name, "none"));
    let mut page = format!(
        "weight {} %   champion {}   challenger {}\n",
        text(&answer["weight"]),
        name("champion"),
        name("challenger")
    );
    for alarm in alarms(answer) {
        page += &format!("!! {alarm}\n");
    }
    push(&mut page, "phase", &phase_in_words(state));
    let head = start(&answer["head"]);
    push(
        &mut page,
        "record",
        &format!("version {}, ledger head {head}", text(&state["version"])),
    );
    if let Some(next) = state["next"]["version"].as_str() {
        push(&mut page, "waits", &printable(next));
    }
    push(&mut page, "hold", &hold(state));
    push(&mut page, "pin", &pin(state));
    page
}

fn push(page: &mut String, name: &str, value: &str) {
    writeln!(page, "{name:<11} {value}").expect("a String takes every write");
}

fn phase_in_words(state: &Value) -> String {
    let phase = &state["phase"];
    let champion = text(&state["champion"]["model"]["version"]);
    let exposure = exposure(&state["exposure"]);
    let words = match phase["name"].as_str() {
        None => return UNKNOWN.to_owned(),
        Some("shadow") => match state["challenger"]["version"].as_str() {
            Some(version) => format!("shadow: legacy answers, {} is compared", printable(version)),
            None => "shadow: legacy answers, and no model is compared".to_owned(),
        },
        Some("trial") => format!("trial: {champion} answers {exposure}, and what clients prefer decides"),
        Some("rung") => {
            let rung = phase["index"].as_u64().map_or(UNKNOWN.to_owned(), |index| {
                // Counted from 0 in the state.
                index.saturating_add(1).to_string()
            });
            format!("rung {rung} of the ladder: {champion} answers {exposure}")
        }
        Some("live") => format!("live: {champion} answers {exposure}"),
        Some("suspected") => format!("suspected: {champion} answers {exposure} until the suspicion is decided"),
        Some("rolled_back") => format!(
            "rolled back: legacy answers; no promotion by itself until {}",
            text(&phase["until"])
        ),
        Some("manual") if state["exposure"]["share"] == 0.0 => {
            "manual: an operator gave all users to legacy".to_owned()
        }
        Some("manual") => format!("manual: an operator chose that {champion} answers {exposure}"),
        Some(other) => printable(other),
    };
    format!("{words} (since {})", text(&state["since"]))
}

/// `25 % of the users, interleaved, outside a hold-out of 5 %`.
fn exposure(exposure: &Value) -> String {
    let mut words = format!("{} of the users", percent(&exposure["share"]));
    if exposure["display"] == "interleaved" {
        words += ", interleaved";
    }
    if exposure["hold_out"].as_f64().is_some_and(|share| share > 0.0) {
        words += &format!(", outside a hold-out of {}", percent(&exposure["hold_out"]));
    }
    words
}

fn hold(state: &Value) -> String {
    match state.get("hold") {
        None => UNKNOWN.to_owned(),
        Some(Value::Null) => "none".to_owned(),
        Some(hold) => {
            let by = by(&hold["actor"], &hold["reason"]);
            format!("ON since {}{by}", text(&hold["since"]))
        }
    }
}

fn pin(state: &Value) -> String {
    match state.get("champion") {
        None => UNKNOWN.to_owned(),
        Some(champion) if champion["pinned"] == true => {
            format!("{} is PINNED", text(&champion["model"]["version"]))
        }
        Some(_) => "none".to_owned(),
    }
}

fn follows(following: &Value) -> String {
    if !following.is_object() {
        return UNKNOWN.to_owned();
    }
    format!(
        "this gateway has version {} and serves {}; last look at the record: {}",
        text(&following["version"]),
        text(&following["serves"]),
        ago(&following["checked_seconds_ago"])
    )
}

fn last_change(entry: &Value) -> String {
    if !entry.is_object() {
        return UNKNOWN.to_owned();
    }
    let by = by(&entry["actor"], &entry["reason"]);
    format!("{} at {}{by}", text(&entry["action"]), text(&entry["ts_utc"]))
}

fn outbox(outbox: &Value) -> String {
    let mut words = format!(
        "{} messages are not delivered, the oldest for {}",
        text(&outbox["owed"]),
        seconds(&outbox["oldest_seconds"])
    );
    if let Some(error) = outbox["last_error"].as_str() {
        words += &format!("; last error: {}", printable(error));
    }
    words
}

fn gateways(gateways: &Value, version: &Value) -> String {
    let Some(gateways) = gateways.as_array() else {
        return "gateways -\n".to_owned();
    };
    let mut table = table([
        "gateway",
        "seen",
        "follows",
        "serves",
        "condition",
        "champion",
        "challenger",
    ]);
    let strays = |gateway: &&Value| gateway["problem"] == true || (version.is_u64() && gateway["follows"] != *version);
    for gateway in gateways {
        let mark = if strays(&gateway) { " !" } else { "" };
        table.add_row([
            text(&gateway["name"]),
            ago(&gateway["seen_seconds_ago"]),
            text(&gateway["follows"]) + mark,
            text(&gateway["serves"]),
            text(&gateway["condition"]),
            text(&gateway["champion"]),
            text(&gateway["challenger"]),
        ]);
    }
    let strays = gateways.iter().filter(strays).count();
    let note = match strays {
        0 => String::new(),
        _ => format!(
            "! {strays} of {} gateways do not follow version {}\n",
            gateways.len(),
            text(version)
        ),
    };
    format!("{table}\n{note}")
}

fn health(health: &Value) -> String {
    if !health.is_object() {
        return String::new();
    }
    let p95 = fixed(&health["p95_ms"], 1);
    let line = format!(
        "health: {} requests, {} fallbacks, 95 % are scored within {p95} ms\n",
        text(&health["requests"]),
        percent(&health["fallback_rate"])
    );
    line + &criteria(&health["criteria"])
}

fn flags(flags: &Value) -> String {
    if !flags.is_object() {
        return String::new();
    }
    let (kill_switch, shadow) = (&flags["kill_switch"], &flags["shadow_fraction"]);
    let on = match kill_switch["value"].as_bool() {
        Some(true) => "ON",
        Some(false) => "off",
        None => UNKNOWN,
    };
    let mut page = format!(
        "kill switch {on} ({})   in shadow {} ({})\n",
        text(&kill_switch["source"]),
        percent(&shadow["value"]),
        text(&shadow["source"])
    );
    if let Some(unclear) = kill_switch["not_understood"].as_str() {
        page += &format!(
            "the kill switch is set to \"{}\", which is not understood and counts as on\n",
            printable(unclear)
        );
    }
    if flags["redis"]["up"] == false {
        page += &format!(
            "Redis is down; last read: {}\n",
            text_or(&flags["redis"]["read_at"], "never")
        );
    }
    page
}

/// Evidence and verdict, as far as the answer has them.
fn judgement(answer: &Value) -> String {
    let mut page = String::new();
    if answer["evidence"].is_object() {
        page += &evidence(answer);
    }
    if answer["verdict"].is_object() {
        page += &criteria(&answer["verdict"]["criteria"]);
        let verdict = match answer["verdict"]["promote"].as_bool() {
            Some(true) => "promote",
            Some(false) => "stay in shadow",
            None => UNKNOWN,
        };
        page += &format!("verdict: {verdict}\n");
    }
    page
}

/// What tonight's model has to meet to take the place of the one that is live.
fn replacement(answer: &Value) -> String {
    if !answer["replacement"].is_array() {
        return String::new();
    }
    let (of, by) = (text(&answer["champion"]), text(&answer["challenger"]));
    format!(
        "{by} takes the place of {of} if all of these hold\n{}",
        criteria(&answer["replacement"])
    )
}

fn evidence(answer: &Value) -> String {
    let evidence = &answer["evidence"];
    let mut page = String::new();
    if answer["judged"].is_string() {
        page += &format!(
            "evidence on {}, as of {}: ",
            text(&answer["judged"]),
            text(&answer["as_of"])
        );
    }
    page += &format!(
        "{} closed cases over {} days, {} contracts, {} failed comparisons\n",
        text(&evidence["cases"]),
        fixed(&evidence["days"], 1),
        text(&evidence["contracts"]),
        text(&evidence["fallbacks"])
    );
    let mut table = table(["in shadow", "legacy", "ltr", "difference [interval]"]);
    for (name, key, difference) in [("Hit@3", "hit3", "hit3_gain"), ("MRR", "mrr", "mrr_gap")] {
        let part = |part: &str| signed(evidence[difference][part].as_f64());
        table.add_row([
            name.to_owned(),
            fixed(&evidence[format!("{key}_legacy")], 3),
            fixed(&evidence[format!("{key}_ltr")], 3),
            format!("{} [{}, {}]", part("estimate"), part("low"), part("high")),
        ]);
    }
    let (legacy, ltr) = (&evidence["fair_gap_legacy"], &evidence["fair_gap_ltr"]);
    let difference = ltr.as_f64().zip(legacy.as_f64()).map(|(ltr, legacy)| ltr - legacy);
    table.add_row([
        "fair gap".to_owned(),
        fixed(legacy, 3),
        fixed(ltr, 3),
        signed(difference),
    ]);
    page + &format!("{table}\n")
}

fn criteria(criteria: &Value) -> String {
    let Some(criteria) = criteria.as_array() else {
        return String::new();
    };
    let mut table = table(["criterion", "", "value", "required", "decidable"]);
    for criterion in criteria {
        let mark = match criterion["passed"].as_bool() {
            Some(true) => "pass",
            Some(false) if criterion["undecided"] == true => "open",
            Some(false) => "FAIL",
            None => UNKNOWN,
        };
        let about = criterion["decidable_on"].as_str();
        table.add_row([
            text(&criterion["name"]),
            mark.to_owned(),
            text(&criterion["value"]),
            text(&criterion["required"]),
            about.map_or(String::new(), |day| format!("about {}", printable(day))),
        ]);
    }
    format!("{table}\n")
}

fn table<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    table
}

fn text_or(value: &Value, absent: &str) -> String {
    value.as_str().map_or(absent.to_owned(), printable)
}

/// The first characters of a hash.
fn start(hash: &Value) -> String {
    text(hash).chars().take(HASH).collect()
}

fn fixed(number: &Value, digits: usize) -> String {
    number
        .as_f64()
        .map_or(UNKNOWN.to_owned(), |number| format!("{number:.digits$}"))
}

fn signed(number: Option<f64>) -> String {
    number.map_or(UNKNOWN.to_owned(), |number| format!("{number:+.3}"))
}

/// A share as `12.5 %`, without needless digits.
fn percent(share: &Value) -> String {
    match share.as_f64() {
        None => UNKNOWN.to_owned(),
        Some(share) => {
            let tenths = format!("{:.1}", 100.0 * share);
            format!("{} %", tenths.strip_suffix(".0").unwrap_or(&tenths))
        }
    }
}

fn ago(age: &Value) -> String {
    match age.as_f64() {
        None => UNKNOWN.to_owned(),
        Some(_) => seconds(age) + " ago",
    }
}

fn seconds(seconds: &Value) -> String {
    match seconds.as_f64() {
        None => UNKNOWN.to_owned(),
        Some(seconds) if seconds < 10.0 => format!("{seconds:.1} s"),
        Some(seconds) if seconds < 600.0 => format!("{seconds:.0} s"),
        Some(seconds) => format!("{:.0} min", seconds / 60.0),
    }
}

#[cfg(test)]
mod tests;
