//! `ltr-host rollout watch`: the status drawn anew on a terminal, else a line per change.
//!
//! [`Watched`] decides what is printed, by the answers alone. The rest calls and prints.

use std::fmt::Write as _;
use std::future::pending;
use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::anyhow;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;
use terminal_size::{Height, Width, terminal_size};
use tokio::time::sleep;

use super::call::Caller;
use super::show;
use crate::cli::output;
use crate::http::clock::wall;

/// Time limit of a call: the view must not stand still for long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clears the screen.
const CLEAR: &str = "\x1b[2J";
/// Moves the cursor to the first line.
const HOME: &str = "\x1b[H";
/// Clears the line from the cursor on.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears the screen from the cursor on.
const CLEAR_REST: &str = "\x1b[J";

/// How to watch.
pub(super) struct Options {
    /// Pause between two calls.
    pub(super) every: Duration,
    /// The phase that ends it.
    pub(super) until: Option<String>,
    /// How long to wait for that phase.
    pub(super) timeout: Option<Duration>,
    /// Print changes as JSON.
    pub(super) json: bool,
}

/// Watches until the phase is reached or ctrl-c.
///
/// # Errors
/// The phase was not reached in time; standard output is closed; a URL that is none.
pub(super) async fn run(caller: &Caller, options: &Options) -> anyhow::Result<()> {
    let mut watched = Watched::default();
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(anyhow::Error::from),
        ended = follow(caller, options, &mut watched) => ended,
        () = expire(options.timeout) => Err(anyhow!(watched.missed(options))),
    }
}

async fn expire(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => sleep(timeout).await,
        None => pending().await,
    }
}

async fn follow(caller: &Caller, options: &Options, watched: &mut Watched) -> anyhow::Result<()> {
    let is_drawn = !options.json && io::stdout().is_terminal();
    if is_drawn {
        output::write(CLEAR)?;
    }
    loop {
        let answer = ask(caller).await?;
        let now = wall();
        let changes = watched.take(answer, now);
        if is_drawn {
            let size = terminal_size().map(|(Width(width), Height(height))| (width.into(), height.into()));
            let page = watched.page(&title(caller, options, now));
            output::write(&frame(&page, size))?;
        } else {
            let line = if options.json { Change::json } else { Change::line };
            output::write(&changes.iter().map(line).collect::<String>())?;
        }
        if watched.has_reached(options.until.as_deref()) {
            return Ok(());
        }
        sleep(options.every).await;
    }
}

/// The gateway's answer, or why there is none.
type Answer = Result<Value, String>;

/// # Errors
/// Only what another call cannot change.
async fn ask(caller: &Caller) -> anyhow::Result<Answer> {
    match caller.status(PATIENCE).await {
        Ok(answer) if answer.status.is_success() => Ok(Ok(answer.body)),
        Ok(answer) => {
            let message = answer.body["error"]["message"].as_str().unwrap_or_default();
            Ok(Err(format!("{} {message}", answer.status)))
        }
        Err(error) => match error.downcast_ref::<reqwest::Error>() {
            Some(call) if call.is_builder() => Err(error),
            _ => Ok(Err(format!("{error:#}"))),
        },
    }
}

fn title(caller: &Caller, options: &Options, now: DateTime<Utc>) -> String {
    format!(
        "{}   {}   every {} s, ctrl-c ends",
        caller.url,
        seconds(now),
        options.every.as_secs()
    )
}

fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// What the gateway has said so far.
#[derive(Default)]
struct Watched {
    /// The last answer.
    last: Option<Value>,
    /// Since when, and why, there is none; `None`: the last call was answered.
    silent: Option<(DateTime<Utc>, String)>,
}

impl Watched {
    /// Takes an answer of the time `now`, and returns what has changed by it, oldest first.
    fn take(&mut self, answer: Answer, now: DateTime<Utc>) -> Vec<Change> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                let (since, said) = self.silent.take().unwrap_or_else(|| (now, String::new()));
                let is_new = said != why;
                self.silent = Some((since, why.clone()));
                return is_new.then(|| Change::silence(&why, now)).into_iter().collect();
            }
        };
        let was_silent = self.silent.take().is_some();
        let changes = self.changes(&answer, was_silent, now);
        self.last = Some(answer);
        changes
    }

    fn changes(&self, answer: &Value, was_silent: bool, now: DateTime<Utc>) -> Vec<Change> {
        let history = answer["history"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(last) = &self.last else {
            return vec![Change::to(answer, history.first(), now)];
        };
        let known = last["history"].get(0);
        let fresh: Vec<&Value> = history.iter().take_while(|entry| Some(*entry) != known).collect();
        let Some((newest, older)) = fresh.split_first() else {
            let is_same = outline(last) == outline(answer) && !was_silent;
            return (!is_same).then(|| Change::to(answer, None, now)).into_iter().collect();
        };
        let older = older.iter().rev().map(|entry| Change::past(entry, now));
        older.chain([Change::to(answer, Some(*newest), now)]).collect()
    }

    fn has_reached(&self, phase: Option<&str>) -> bool {
        let last = self.last.as_ref().filter(|_| self.silent.is_none());
        phase.is_some() && last.and_then(|last| last["state"]["phase"]["name"].as_str()) == phase
    }

    /// Why the end of the time limit is an error.
    fn missed(&self, options: &Options) -> String {
        let found = match (&self.silent, &self.last) {
            (Some((_, why)), _) => format!("the gateway does not answer: {}", output::printable(why)),
            (None, Some(last)) => format!("it is {}", show::phase(last)),
            (None, None) => "the gateway has not answered yet".to_owned(),
        };
        format!(
            "the phase {} was not reached within {} s; {found}",
            options.until.as_deref().unwrap_or_default(),
            options.timeout.unwrap_or_default().as_secs()
        )
    }

    /// The live view.
    fn page(&self, title: &str) -> String {
        let mut page = format!("{}\n", output::printable(title));
        if let Some((since, why)) = &self.silent {
            page += &format!("!! NO ANSWER since {}: {}\n", seconds(*since), output::printable(why));
            if self.last.is_some() {
                page += "the last answer was:\n";
            }
        }
        page + &self.last.as_ref().map(show::status).unwrap_or_default()
    }
}

/// What a change is recognized by, beside the history: not the ages and figures, which always change.
fn outline(answer: &Value) -> [&Value; 8] {
    let (state, following) = (&answer["state"], &answer["following"]);
    [
        &answer["weight"],
        &answer["champion"],
        &answer["challenger"],
        &state["version"],
        &state["phase"],
        &following["up_to_date"],
        &following["problem"],
        &following["rollback_pending"],
    ]
}

/// One line of output. What is not known is `None`.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Change {
    ts_utc: String,
    version: Option<u64>,
    phase: Option<String>,
    weight: Option<u64>,
    action: Option<String>,
    actor: Option<String>,
    reason: Option<String>,
    /// What an operator must know.
    problem: Option<String>,
}

impl Change {
    /// The change that led to what the answer says, with its entry of the history.
    fn to(answer: &Value, entry: Option<&Value>, now: DateTime<Utc>) -> Change {
        let alarms = show::alarms(answer);
        Change {
            version: answer["state"]["version"].as_u64(),
            phase: owned(&answer["state"]["phase"]["name"]),
            weight: answer["weight"].as_u64(),
            problem: (!alarms.is_empty()).then(|| alarms.join("; ")),
            ..Change::past(entry.unwrap_or(&Value::Null), now)
        }
    }

    /// A change that others have followed, so that its phase and weight are not known.
    fn past(entry: &Value, now: DateTime<Utc>) -> Change {
        Change {
            ts_utc: owned(&entry["ts_utc"]).unwrap_or_else(|| seconds(now)),
            version: entry["seq"].as_u64(),
            action: owned(&entry["action"]),
            actor: owned(&entry["actor"]),
            reason: owned(&entry["reason"]).filter(|reason| !reason.is_empty()),
            ..Change::default()
        }
    }

    fn silence(why: &str, now: DateTime<Utc>) -> Change {
        Change {
            ts_utc: seconds(now),
            problem: Some(format!("no answer: {why}")),
            ..Change::default()
        }
    }

    fn line(&self) -> String {
        let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let mut line = format!(
            "{}  {}  {}  {}",
            self.ts_utc,
            self.version.map_or("-".to_owned(), |version| format!("v{version}")),
            or_unknown(&self.phase),
            self.weight.map_or("-".to_owned(), |weight| format!("{weight} %")),
        );
        if let Some(action) = &self.action {
            write!(line, "  {action} by {}", or_unknown(&self.actor)).expect("a String takes every write");
        }
        if let Some(reason) = &self.reason {
            write!(line, ": {reason}").expect("a String takes every write");
        }
        if let Some(problem) = &self.problem {
            write!(line, "  !! {problem}").expect("a String takes every write");
        }
        output::printable(&line) + "\n"
    }

    fn json(&self) -> String {
        let json = serde_json::to_string(self).expect("texts and whole numbers");
        output::printable_json(&json) + "\n"
    }
}

fn owned(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// What draws `page` over the former frame, cut to a terminal of this width and height.
fn frame(page: &str, size: Option<(usize, usize)>) -> String {
    let (width, height) = size.unwrap_or((usize::MAX, usize::MAX));
    let lines: Vec<&str> = page.lines().collect();
    // The cursor stands in the line below the last one.
    let room = height.saturating_sub(1).max(1);
    let (shown, hidden) = if lines.len() > room {
        (room - 1, lines.len() - (room - 1))
    } else {
        (lines.len(), 0)
    };
    let note = format!("... {hidden} more lines: ltr-host rollout status");
    let mut frame = HOME.to_owned();
    for line in lines[..shown].iter().copied().chain((hidden > 0).then_some(&*note)) {
        // Cleared first: at the end of a full line some terminals would clear its last character.
        frame += CLEAR_LINE;
        frame.extend(line.chars().take(width));
        frame.push('\n');
    }
    frame + CLEAR_REST
}

#[cfg(test)]
mod tests;
