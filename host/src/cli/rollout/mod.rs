//! `ltr-host rollout`: shows, watches or changes the rollout of a running gateway.

mod call;
mod show;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use self::call::{Answer, Caller};
use super::output;

/// The exit code of a promotion that the evidence does not allow.
const REFUSED: u8 = 3;
/// Time limit of a call. A verdict over months of evidence takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  ltr-host rollout status
  ltr-host rollout watch --until live --timeout 3600
  ltr-host rollout promote --token \"$TOKEN\"
  ltr-host rollout rollback --reason \"contracts fell\" --token \"$TOKEN\"
  ltr-host rollout hold --reason \"price campaign\" --token \"$TOKEN\"
  ltr-host rollout weight 25 --token \"$TOKEN\"

Each order carries a command id. It is sent again, at most 3 times, if the connection broke or the
gateway answered 502, 503 or 504; it takes effect once.

Exit codes: 0 done, 1 failed, 2 usage, 3 the evidence does not allow it.";
const STATUS: &str = "\
Examples:
  ltr-host rollout status
  ltr-host rollout status --json | jq .state.phase

Gateways marked with ! do not follow the version on record. What the gateway does not say is shown as -.

Exit codes: 0 done, 1 failed, 2 usage.";
const EVIDENCE: &str = "\
Examples:
  ltr-host rollout evidence
  ltr-host rollout evidence --json | jq .samplers

Values are clicks per user if a ranking were displayed. While position bias is not known, only the
bounds hold.

Exit codes: 0 done, 1 failed, 2 usage.";
const PROMOTE: &str = "\
Examples:
  ltr-host rollout promote --token \"$TOKEN\"
  ltr-host rollout promote --reason \"before the holidays\" --token \"$TOKEN\"

Exit codes: 0 promoted, 1 failed, 2 usage, 3 the evidence does not allow it, or the model was
rolled back before.";
const ROLLBACK: &str = "\
Examples:
  ltr-host rollout rollback --token \"$TOKEN\"
  ltr-host rollout rollback --reason \"contracts fell\" --token \"$TOKEN\"

It works while the database is away, too: legacy then answers on this gateway at once, and on the
others when the database is back. The model that served is barred: no verdict brings it back.

Exit codes: 0 legacy answers, 1 failed, 2 usage.";
const HOLD: &str = "\
Examples:
  ltr-host rollout hold --reason \"price campaign\" --token \"$TOKEN\"
  ltr-host rollout hold --off --token \"$TOKEN\"

A hold stops promotions and climbing by themselves. Rollbacks still happen. --off ends a pin, too.

Exit codes: 0 done, 1 failed, 2 usage.";
const PIN: &str = "\
Examples:
  ltr-host rollout pin 20261001T021500Z --reason \"known good\" --token \"$TOKEN\"

The version must be the champion's or the challenger's. `ltr-host rollout hold --off` ends the pin.

Exit codes: 0 done, 1 failed, 2 usage.";
const WEIGHT: &str = "\
Examples:
  ltr-host rollout weight 25 --token \"$TOKEN\"
  ltr-host rollout weight 5 --version 20261001T021500Z --token \"$TOKEN\"

The share stays until another order: a weight sets a hold, which `ltr-host rollout hold --off` ends.

Exit codes: 0 done, 1 failed, 2 usage.";
const DRILL: &str = "\
Examples:
  ltr-host rollout drill 40 --token \"$TOKEN\"
  ltr-host rollout drill 0 --reversed --token \"$TOKEN\"
  ltr-host rollout drill 0 --token \"$TOKEN\"

Only a gateway with host.clock = \"header\" takes it; such a gateway has no real users.

Exit codes: 0 done, 1 failed, 2 usage.";
const WATCH: &str = "\
Examples:
  ltr-host rollout watch
  ltr-host rollout watch --until live --timeout 3600
  ltr-host rollout watch --json | jq -r .action

On a terminal the view is drawn anew. Elsewhere, and with --json, each change is a line: time,
version, phase, weight, action, actor, reason. A gateway that does not answer is asked again.

Exit codes: 0 the phase was reached, or ctrl-c; 1 failed, or --timeout passed; 2 usage.";

/// Show, watch or change a running gateway's rollout
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
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
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Show phase, models, gateways, evidence and each criterion
    #[command(after_help = STATUS)]
    Status,
    /// Show what stands beside the verdict: values, exposure, coverage and samplers
    #[command(after_help = EVIDENCE)]
    Evidence,
    /// Let the challenger take LTR's place, if the evidence allows it
    #[command(after_help = PROMOTE)]
    Promote {
        #[command(flatten)]
        why: Why,
    },
    /// Let legacy answer all requests, at once
    #[command(after_help = ROLLBACK)]
    Rollback {
        #[command(flatten)]
        why: Why,
    },
    /// Stop promotions by themselves, or let them go on
    #[command(after_help = HOLD)]
    Hold {
        /// End the hold
        #[arg(long)]
        off: bool,
        #[command(flatten)]
        why: Why,
    },
    /// Let one model answer all users, and let no other replace it
    #[command(after_help = PIN)]
    Pin {
        /// Version of the champion or the challenger
        #[arg(value_name = "VERSION")]
        model: String,
        #[command(flatten)]
        why: Why,
    },
    /// Set the percentage of requests that LTR answers, without a verdict
    #[command(after_help = WEIGHT)]
    Weight {
        /// 0 to 100
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        weight: u8,
        /// Version that shall answer [default: the champion]
        #[arg(long = "version", value_name = "VERSION")]
        model: Option<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Make scoring slower, or wrong, on a simulating gateway, to see the watches at work
    #[command(after_help = DRILL)]
    Drill {
        /// Milliseconds that are added to each scoring; 0 without --reversed ends the drill
        #[arg(value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(0..=10_000))]
        delay_ms: u64,
        /// Turn the model's order around: the worst lawyer first
        #[arg(long)]
        reversed: bool,
        #[command(flatten)]
        why: Why,
    },
    /// Follow the rollout until ctrl-c
    #[command(after_help = WATCH)]
    Watch {
        /// Seconds between two calls
        #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
        every: u64,
        /// End when the rollout is in this phase
        #[arg(long, value_name = "PHASE", value_parser = ["shadow", "trial", "rung", "live", "suspected", "rolled_back", "manual"])]
        until: Option<String>,
        /// Fail if it is not in that phase after so many seconds
        #[arg(long, value_name = "SECONDS", requires = "until", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
        timeout: Option<u64>,
    },
}

// No doc comment: clap would show it as the help of each command that takes these.
#[derive(clap::Args)]
struct Why {
    /// Why, for the ledger
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Action {
    /// The path below `/rollout` and the body of an order; `None`: it only looks.
    fn order(&self) -> Option<(&'static str, Value)> {
        let (path, mut body, why) = match self {
            Action::Status | Action::Evidence | Action::Watch { .. } => return None,
            Action::Promote { why } => ("/promote", json!({}), why),
            Action::Rollback { why } => ("/rollback", json!({}), why),
            Action::Hold { off, why } => ("/hold", json!({ "on": !off }), why),
            Action::Pin { model, why } => ("/pin", json!({ "version": model }), why),
            Action::Weight { weight, model, why } => {
                let mut body = json!({ "weight": weight });
                if let Some(version) = model {
                    body["version"] = json!(version);
                }
                ("/weight", body, why)
            }
            Action::Drill {
                delay_ms,
                reversed,
                why,
            } => {
                let mut body = json!({ "delay_ms": delay_ms });
                if *reversed {
                    body["reversed"] = json!(true);
                }
                ("/drill", body, why)
            }
        };
        // A former gateway refuses members that it does not know, so only what was asked for is sent.
        if let Some(reason) = &why.reason {
            body["reason"] = json!(reason);
        }
        Some((path, body))
    }
}

/// Runs the command.
///
/// # Errors
/// A gateway that cannot be reached, or does not answer in JSON; a phase that was awaited in vain.
/// A refusal is an exit code, not an error.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(act(args))
}

async fn act(args: Args) -> anyhow::Result<ExitCode> {
    // No proxy: only this gateway may see the token.
    let client = client::builder(&args.url, Path::new(&args.ca_file))?
        .no_proxy()
        .build()?;
    let caller = Caller {
        client,
        url: args.url,
        token: args.token,
        as_of: args.as_of,
    };
    if let Action::Watch { every, until, timeout } = args.action {
        let options = watch::Options {
            every: Duration::from_secs(every),
            until,
            timeout: timeout.map(Duration::from_secs),
            json: args.json,
        };
        output::ignore_broken_pipe(watch::run(&caller, &options).await)?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer = match args.action.order() {
        Some((path, body)) => caller.order(path, &body, PATIENCE).await?,
        None if matches!(args.action, Action::Evidence) => caller.get("/evidence", PATIENCE).await?,
        None => caller.status(PATIENCE).await?,
    };
    if args.json {
        output::print(&output::printable_json(&format!("{:#}\n", answer.body)))?;
    } else {
        output::print(&page(&args.action, &answer))?;
    }
    Ok(exit_code(&args.action, &answer))
}

/// What people get to see of an answer.
fn page(action: &Action, answer: &Answer) -> String {
    match action {
        _ if !answer.status.is_success() => show::refusal(&answer.body),
        Action::Status | Action::Watch { .. } => show::status(&answer.body),
        Action::Evidence => show::evidence::page(&answer.body),
        Action::Drill { reversed: true, .. } => "the model's order is turned around on this gateway\n".to_owned(),
        Action::Drill { delay_ms: 0, .. } => "the drill is over\n".to_owned(),
        Action::Drill { delay_ms, .. } => format!("each scoring takes {delay_ms} ms more on this gateway\n"),
        _ => show::done(&answer.body),
    }
}

/// Says on standard error what went wrong, if anything did.
fn exit_code(action: &Action, answer: &Answer) -> ExitCode {
    if answer.status.is_success() {
        return ExitCode::SUCCESS;
    }
    let error = &answer.body["error"];
    let message = error["message"].as_str().unwrap_or("the gateway refused");
    eprintln!("ltr-host: {}", output::printable(message));
    let by_evidence = error["code"] == "verdict" || error["code"] == "barred";
    if by_evidence && matches!(action, Action::Promote { .. }) {
        ExitCode::from(REFUSED)
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(["rollout"].into_iter().chain(line.split_whitespace()))
    }

    fn order(line: &str) -> Option<(&'static str, Value)> {
        read(line)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
            .action
            .order()
    }

    #[test]
    fn each_command_sends_what_was_asked_for_and_no_more() {
        for (line, path, body) in [
            ("promote", "/promote", json!({})),
            ("promote --reason good", "/promote", json!({ "reason": "good" })),
            ("rollback", "/rollback", json!({})),
            ("rollback --reason bad", "/rollback", json!({ "reason": "bad" })),
            ("hold", "/hold", json!({ "on": true })),
            (
                "hold --off --reason on",
                "/hold",
                json!({ "on": false, "reason": "on" }),
            ),
            (
                "pin V1 --reason known",
                "/pin",
                json!({ "version": "V1", "reason": "known" }),
            ),
            ("weight 25", "/weight", json!({ "weight": 25 })),
            (
                "weight 0 --version V2 --reason x --json",
                "/weight",
                json!({ "weight": 0, "version": "V2", "reason": "x" }),
            ),
        ] {
            assert_eq!(order(line), Some((path, body)), "{line}");
        }
        assert_eq!(order("status"), None);
        assert_eq!(order("evidence"), None);
        assert_eq!(order("watch"), None);
    }

    #[test]
    fn usage_is_checked_before_a_gateway_is_called() {
        for line in [
            "",
            "pin",
            "weight",
            "weight 101",
            "weight -1",
            "watch --every 0",
            "watch --until done",
            "watch --timeout 5",
            "watch --until live --timeout 0",
            "status --reason none",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
        let watch = read("watch --every 5 --until rolled_back --timeout 60 --url http://g:1").unwrap();
        assert_eq!(watch.url, "http://g:1");
        let Action::Watch { every, until, timeout } = watch.action else {
            panic!("another command");
        };
        assert_eq!((every, until.as_deref(), timeout), (5, Some("rolled_back"), Some(60)));
    }

    #[test]
    fn only_a_promotion_is_refused_by_the_evidence() {
        let answer = |code: &str| Answer {
            status: reqwest::StatusCode::CONFLICT,
            body: json!({ "error": { "code": code, "message": "no" } }),
        };
        let code = |line: &str, answer: &Answer| format!("{:?}", exit_code(&read(line).unwrap().action, answer));
        let (refused, failed) = (
            format!("{:?}", ExitCode::from(REFUSED)),
            format!("{:?}", ExitCode::FAILURE),
        );
        assert_eq!(code("promote", &answer("verdict")), refused);
        assert_eq!(code("promote", &answer("barred")), refused);
        assert_eq!(code("promote", &answer("no_challenger")), failed);
        assert_eq!(code("weight 5", &answer("barred")), failed);
    }
}
