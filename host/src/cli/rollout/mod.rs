//! `ltr-host rollout`: shows or changes the rollout of a running gateway.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::{Value, json};

use crate::http::clock::TIME_HEADER;

/// The exit code of a promotion that the evidence does not allow.
const REFUSED: u8 = 3;
/// Time limit of a call. A verdict over months of evidence takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Show or change a running gateway's rollout
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  ltr-host rollout status\n  ltr-host rollout promote --token \"$TOKEN\"\n  ltr-host rollout weight 25 --token \"$TOKEN\"\n\nExit codes: 0 done, 1 failed, 2 usage, 3 the evidence does not allow it."
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// URL of the gateway
    #[arg(long, global = true, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Token with the role admin (client.token)
    #[arg(
        long,
        global = true,
        env = "LTR_CLIENT__TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    token: String,
    /// Certificate authorities (PEM) for an https:// gateway, instead of the system's
    /// (client.ca_file)
    #[arg(
        long,
        global = true,
        env = "LTR_CLIENT__CA_FILE",
        default_value = "",
        value_name = "FILE"
    )]
    ca_file: String,
    /// Time of the call, RFC 3339, for a gateway with host.clock = "header"
    #[arg(long, global = true, value_name = "TIME")]
    as_of: Option<DateTime<Utc>>,
    /// Print the gateway's JSON response
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Show the serving models, the evidence and each criterion
    Status,
    /// Let the challenger answer all requests, if the evidence allows it
    Promote,
    /// Let legacy answer all requests, at once
    Rollback,
    /// Set the percentage of requests that LTR answers, without a verdict
    Weight {
        /// 0 to 100
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        weight: u8,
    },
}

/// Runs the command.
///
/// # Errors
/// A gateway that cannot be reached, or does not answer in JSON. A refusal is an exit code, not an
/// error.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(call(args))
}

async fn call(args: Args) -> anyhow::Result<ExitCode> {
    // No proxy: only this gateway may see the token.
    let client = client::builder(&args.url, Path::new(&args.ca_file))?;
    let client = client.timeout(PATIENCE).no_proxy().build()?;
    let url = |path: &str| format!("{}/rollout{path}", args.url.trim_end_matches('/'));
    let mut request = match args.action {
        Action::Status => client.get(url("")),
        Action::Promote => client.post(url("/promote")),
        Action::Rollback => client.post(url("/rollback")),
        Action::Weight { weight } => client.post(url("/weight")).json(&json!({ "weight": weight })),
    };
    if let Some(time) = args.as_of {
        request = request.header(TIME_HEADER, time.to_rfc3339());
    }
    if !args.token.is_empty() {
        request = request.bearer_auth(&args.token);
    }
    let response = request
        .send()
        .await
        .with_context(|| format!("cannot call {}; is the gateway running there?", args.url))?;
    let status = response.status();
    let answer: Value = response
        .json()
        .await
        .with_context(|| format!("{} answered {status}, but not in JSON", args.url))?;
    if args.json {
        println!("{answer:#}");
    } else {
        show(&answer);
    }
    if status.is_success() {
        return Ok(ExitCode::SUCCESS);
    }
    let error = &answer["error"];
    eprintln!(
        "ltr-host: {}",
        error["message"].as_str().unwrap_or("the gateway refused")
    );
    Ok(if error["code"] == "verdict" {
        ExitCode::from(REFUSED)
    } else {
        ExitCode::FAILURE
    })
}

fn show(answer: &Value) {
    if let Some(weight) = answer["weight"].as_u64() {
        let name = |key: &str| answer[key].as_str().unwrap_or("none");
        println!(
            "weight {weight} %   champion {}   challenger {}",
            name("champion"),
            name("challenger")
        );
    }
    if answer["flags"].is_object() {
        show_flags(&answer["flags"]);
    }
    if answer["evidence"].is_object() {
        show_evidence(&answer["evidence"]);
    }
    if let Some(criteria) = answer["verdict"]["criteria"].as_array() {
        let mut table = table(["criterion", "", "value", "required"]);
        for criterion in criteria {
            let text = |key: &str| criterion[key].as_str().unwrap_or("");
            let mark = if criterion["passed"] == true { "pass" } else { "FAIL" };
            table.add_row([text("name"), mark, text("value"), text("required")]);
        }
        println!("{table}");
        let promote = answer["verdict"]["promote"] == true;
        println!("verdict: {}", if promote { "promote" } else { "stay in shadow" });
    }
}

fn show_flags(flags: &Value) {
    let (kill_switch, shadow) = (&flags["kill_switch"], &flags["shadow_fraction"]);
    let source = |flag: &Value| flag["source"].as_str().unwrap_or("").to_owned();
    let on = if kill_switch["value"] == true { "ON" } else { "off" };
    println!(
        "kill switch {on} ({})   in shadow {:.1} % ({})",
        source(kill_switch),
        100.0 * shadow["value"].as_f64().unwrap_or(0.0),
        source(shadow)
    );
    if let Some(unclear) = kill_switch["not_understood"].as_str() {
        println!("the kill switch is set to {unclear:?}, which is not understood and counts as on");
    }
    if flags["redis"]["up"] == false {
        let at = flags["redis"]["read_at"].as_str().unwrap_or("never");
        println!("Redis is down; last read: {at}");
    }
}

fn show_evidence(evidence: &Value) {
    let number = |key: &str| evidence[key].as_f64().unwrap_or(0.0);
    println!(
        "{} closed cases over {:.1} days, {} contracts, {} failed comparisons",
        number("cases"),
        number("days"),
        number("contracts"),
        number("fallbacks")
    );
    let mut table = table(["in shadow", "legacy", "ltr", "difference [interval]"]);
    for (name, key, difference) in [("Hit@3", "hit3", "hit3_gain"), ("MRR", "mrr", "mrr_gap")] {
        let part = |part: &str| evidence[difference][part].as_f64().unwrap_or(0.0);
        table.add_row([
            name.to_owned(),
            format!("{:.3}", number(&format!("{key}_legacy"))),
            format!("{:.3}", number(&format!("{key}_ltr"))),
            format!("{:+.3} [{:+.3}, {:+.3}]", part("estimate"), part("low"), part("high")),
        ]);
    }
    let (legacy, ltr) = (number("fair_gap_legacy"), number("fair_gap_ltr"));
    table.add_row([
        "fair gap".to_owned(),
        format!("{legacy:.3}"),
        format!("{ltr:.3}"),
        format!("{:+.3}", ltr - legacy),
    ]);
    println!("{table}");
}

fn table(header: [&str; 4]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    table
}
