//! `ltr-host ledger`: shows and verifies the release ledger in the database, without a gateway.
//!
//! The ledger is a chain of hashes. It shows by itself that an entry was changed. That entries were
//! cut off at its end shows only by a hash that was kept elsewhere: `verify --head`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use ranking::release::Exposure;
use ranking::release::ledger::{ORIGIN, Row, Verifier};
use serde_json::{Value, json};
use settings::Settings;
use store::{LedgerRow, Released, Store};

use super::output::{print, printable, printable_json};

/// How many entries are read at once.
const PAGE: u32 = 500;
/// Digits of a SHA-256.
const DIGITS: usize = 64;
/// How much of a hash is shown in a table, and needed at least to name an entry.
const SHORT: usize = 12;

const EXAMPLES: &str = "\
Examples:
  ltr-host ledger show --limit 20
  ltr-host ledger verify --config ltr.toml
  ltr-host ledger verify --head 3f9a1c27b0de

The ledger is in the database (database.url). As with every program, opening it brings its tables up
to date; a missing SQLite file is not made.

Exit codes: 0 done, 1 failed or not intact, 2 usage or configuration.";
const SHOW: &str = "\
Examples:
  ltr-host ledger show
  ltr-host ledger show --from 1 --limit 100
  ltr-host ledger show --json | jq -r .entry.action

--json writes one object per line and entry: {seq, hash, command, text, entry}. The hash is the
SHA-256 of `text`; `entry` is the same, read.

Exit codes: 0 done, 1 failed, 2 usage or configuration.";
const VERIFY: &str = "\
Examples:
  ltr-host ledger verify
  ltr-host ledger verify --head 3f9a1c27b0de

It reads every entry, and compares the last one with the state on record. --head takes a hash that
was kept elsewhere: in a log line, a webhook's message, or an answer of GET /rollout.

Exit codes: 0 intact, 1 not intact or failed, 2 usage or configuration.";

/// Show or verify the release ledger in the database
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Configuration file (TOML); every key can be overridden by LTR_<SECTION>__<KEY>
    #[arg(long, global = true)]
    pub config: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show entries, oldest first
    #[command(after_help = SHOW)]
    Show {
        /// Number of the first entry [default: show the latest]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
        from: Option<u64>,
        /// Show at most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Check that no entry was changed, added in between, or cut off
    #[command(after_help = VERIFY)]
    Verify {
        /// Hash that the ledger must contain, or at least its first 12 characters
        #[arg(long, value_name = "HASH", value_parser = known_hash)]
        head: Option<String>,
    },
}

fn known_hash(text: &str) -> Result<String, String> {
    let is_hash = (SHORT..=DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!(
            "allowed: the first {SHORT} to {DIGITS} hexadecimal digits of a hash"
        ))
    }
}

/// Runs the command.
///
/// # Errors
/// A database that cannot be opened or read. A ledger that is not intact is an exit code, not an
/// error.
pub fn run(args: Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let url = settings.database.url.expose();
    if let Some(path) = url.strip_prefix("sqlite://") {
        ensure!(
            Path::new(path).exists(),
            "database.url: there is no file {path}; set the key to the gateway's database"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let address = settings.database.address();
        let opened = Store::open_with(address, settings.database.limits()).await;
        let store = opened.context("database.url")?;
        let done = act(&args, &store).await;
        store.close().await;
        done
    })
}

async fn act(args: &Args, store: &Store) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Show { from, limit } => {
            let rows = rows(store, *from, *limit).await?;
            let text = if args.json { lines(&rows) } else { table(&rows) };
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Verify { head } => {
            let verified = verify(store, head.as_deref()).await?;
            if args.json {
                print(&json_of(&verified))?;
            }
            match verified {
                Ok(intact) if !args.json => print(&intact.text())?,
                Ok(_) => {}
                Err(fault) => {
                    eprintln!("ltr-host: {}", printable(&fault));
                    return Ok(ExitCode::FAILURE);
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The entries from this number on, or the latest ones; oldest first.
async fn rows(store: &Store, from: Option<u64>, limit: u32) -> anyhow::Result<Vec<LedgerRow>> {
    if let Some(from) = from {
        return Ok(store.ledger(from - 1, limit).await?);
    }
    let mut rows = store.ledger_tail(limit).await?;
    rows.reverse();
    Ok(rows)
}

fn table(rows: &[LedgerRow]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "seq",
        "time",
        "action",
        "actor",
        "reason",
        "weight",
        "champion",
        "challenger",
        "hash",
    ]);
    for row in rows {
        let entry: Value = serde_json::from_str(&row.entry).unwrap_or_default();
        let text = |value: &Value| value.as_str().map_or("-".to_owned(), printable);
        let state = &entry["state"];
        let exposure: Option<Exposure> = serde_json::from_value(state["exposure"].clone()).ok();
        let weight = exposure.map_or("-".to_owned(), |exposure| format!("{} %", exposure.percent()));
        table.add_row([
            row.seq.to_string(),
            text(&entry["ts_utc"]),
            text(&entry["action"]),
            text(&entry["actor"]),
            grammar::shorten(&text(&entry["reason"])),
            weight,
            text(&state["champion"]["model"]["version"]),
            text(&state["challenger"]["version"]),
            printable(&row.hash).chars().take(SHORT).collect(),
        ]);
    }
    format!("{table}\n")
}

fn lines(rows: &[LedgerRow]) -> String {
    let line = |row: &LedgerRow| {
        let entry: Value = serde_json::from_str(&row.entry).unwrap_or_default();
        let line = json!({
            "seq": row.seq,
            "hash": row.hash,
            "command": row.command,
            "text": row.entry,
            "entry": entry,
        });
        printable_json(&line.to_string()) + "\n"
    };
    rows.iter().map(line).collect()
}

/// A ledger in which nothing is wrong.
#[derive(Debug, PartialEq, Eq)]
struct Intact {
    entries: u64,
    /// Hash of the last entry.
    head: String,
    /// The entry whose hash was asked for; 0 is the beginning, before the first one.
    found: Option<u64>,
}

impl Intact {
    fn text(&self) -> String {
        let mut text = format!("intact: {} entries, head {}\n", self.entries, self.head);
        if let Some(seq) = self.found {
            text += &format!("the hash is that of entry {seq}\n");
        }
        text
    }
}

fn json_of(verified: &Result<Intact, String>) -> String {
    let json = match verified {
        Ok(intact) => json!({
            "intact": true,
            "entries": intact.entries,
            "head": intact.head,
            "found": intact.found,
        }),
        Err(fault) => json!({ "intact": false, "fault": fault }),
    };
    printable_json(&format!("{json:#}\n"))
}

/// Reads the whole ledger and the state behind it; the inner error says what is wrong with them.
async fn verify(store: &Store, head: Option<&str>) -> anyhow::Result<Result<Intact, String>> {
    let mut check = Check::new(head);
    let mut before = store.released().await?;
    loop {
        let rows = store.ledger(check.verifier.seq(), PAGE).await?;
        let is_end = rows.is_empty();
        for row in rows {
            if let Err(fault) = check.take(row) {
                return Ok(Err(fault));
            }
        }
        if !is_end {
            continue;
        }
        // A gateway may commit meanwhile. Entries and state belong together if the state was the
        // same before and after the end of the ledger was seen.
        let after = store.released().await?;
        if before == after {
            return Ok(check.end(after.as_ref()));
        }
        before = after;
    }
}

/// A check of the ledger, row by row.
struct Check<'a> {
    verifier: Verifier,
    /// The beginning of the hash to find.
    head: Option<&'a str>,
    /// The entry that has it.
    found: Option<u64>,
}

impl<'a> Check<'a> {
    fn new(head: Option<&'a str>) -> Check<'a> {
        // Only the whole origin is the head of an empty ledger; its beginning says nothing.
        let is_origin = head == Some(ORIGIN);
        Check {
            verifier: Verifier::default(),
            head,
            found: is_origin.then_some(0),
        }
    }

    fn take(&mut self, row: LedgerRow) -> Result<(), String> {
        let row = Row {
            seq: row.seq,
            text: row.entry,
            hash: row.hash,
            command: row.command,
        };
        self.verifier.take(&row).map_err(|fault| fault.to_string())?;
        if self.head.is_some_and(|head| row.hash.starts_with(head)) {
            self.found = Some(row.seq);
        }
        Ok(())
    }

    fn end(self, released: Option<&Released>) -> Result<Intact, String> {
        let (entries, last) = (self.verifier.seq(), self.verifier.head().to_owned());
        let (version, head, state) = match released {
            Some(released) => (released.version, &*released.head, &*released.state),
            None => (0, ORIGIN, ""),
        };
        let ended = self.verifier.end(version, head, state);
        ended.map_err(|fault| fault.to_string())?;
        match (self.head, self.found) {
            (Some(head), None) => Err(format!(
                "the ledger does not contain the head {head}: its tail was cut off or rewritten"
            )),
            (_, found) => Ok(Intact {
                entries,
                head: last,
                found,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use ranking::release::ledger::{hash, seal};
    use ranking::release::{Command, Input, ModelId, Order, Rules, State, TrialStep, begin, step};
    use uuid::Uuid;

    use super::*;

    /// A ledger with its state: the beginning, a challenger, a hold by command, a rollback.
    fn ledger() -> (Vec<LedgerRow>, Released) {
        let now: DateTime<Utc> = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let rules = Rules {
            ladder: Vec::new(),
            hold_out: 0.0,
            trial: TrialStep {
                share: 0.0,
                patience: chrono::TimeDelta::days(60),
            },
            confirm: Exposure::whole(0.5),
            cool_down: chrono::TimeDelta::hours(1),
            automatic: true,
            queues: false,
        };
        let order = |command| {
            Input::Order(Order {
                command,
                actor: "ops".to_owned(),
                reason: "a \u{1b}[2J reason".to_owned(),
            })
        };
        let model = ModelId {
            version: "V1".to_owned(),
            sha256: None,
        };
        let inputs = [
            (Input::Published(model), None),
            (order(Command::Hold(true)), Some(Uuid::from_u128(7))),
            (order(Command::Rollback { blind: false }), None),
        ];
        let first = begin(State::new(now), now);
        let mut sealed = seal(&first, now, None, ORIGIN);
        let mut state = first.state;
        let row = |seq, sealed: &ranking::release::ledger::Sealed, command| LedgerRow {
            seq,
            entry: sealed.text.clone(),
            hash: sealed.hash.clone(),
            command,
        };
        let mut rows = vec![row(1, &sealed, None)];
        for (input, command) in inputs {
            let transition = step(&state, &input, now, &rules).unwrap().unwrap();
            sealed = seal(&transition, now, command, &sealed.hash);
            state = transition.state;
            rows.push(row(state.version, &sealed, command));
        }
        let released = Released {
            version: state.version,
            state: serde_json::to_string(&state).unwrap(),
            head: sealed.hash,
        };
        (rows, released)
    }

    fn check(rows: &[LedgerRow], released: Option<&Released>, head: Option<&str>) -> Result<Intact, String> {
        let mut check = Check::new(head);
        rows.iter().try_for_each(|row| check.take(row.clone()))?;
        check.end(released)
    }

    #[test]
    fn an_intact_ledger_says_its_length_and_head_and_finds_each_of_its_hashes() {
        let (rows, released) = ledger();
        let intact = check(&rows, Some(&released), None).unwrap();
        assert_eq!((intact.entries, &intact.head, intact.found), (4, &released.head, None));
        for row in &rows {
            for head in [&*row.hash, &row.hash[..SHORT]] {
                assert_eq!(check(&rows, Some(&released), Some(head)).unwrap().found, Some(row.seq));
            }
        }
        let empty = check(&[], None, None).unwrap();
        assert_eq!((empty.entries, &*empty.head), (0, ORIGIN));
    }

    #[test]
    fn a_changed_a_missing_and_a_strange_entry_are_named() {
        let (rows, released) = ledger();
        let changed = |change: &dyn Fn(&mut Vec<LedgerRow>)| {
            let mut rows = rows.clone();
            change(&mut rows);
            check(&rows, Some(&released), None).unwrap_err()
        };
        let text = changed(&|rows| rows[1].entry = rows[1].entry.replace("V1", "V2"));
        assert!(text.starts_with("entry 2: was changed"), "{text}");
        // With a hash that fits, the next entry gives it away.
        let resealed = changed(&|rows| {
            rows[1].entry = rows[1].entry.replace("V1", "V2");
            rows[1].hash = hash(&rows[1].entry);
        });
        assert!(resealed.starts_with("entry 3: does not follow entry 2"), "{resealed}");
        let missing = changed(&|rows| drop(rows.remove(1)));
        assert!(missing.starts_with("entry 2: is missing"), "{missing}");
        let command = changed(&|rows| rows[2].command = None);
        assert!(command.starts_with("entry 3: its columns"), "{command}");
    }

    #[test]
    fn a_ledger_and_a_state_that_do_not_belong_together_are_a_fault() {
        let (rows, released) = ledger();
        let cut = check(&rows[..3], Some(&released), None).unwrap_err();
        assert!(
            cut.contains("entry 3: is the last one, but the state on record has version 4"),
            "{cut}"
        );
        let none = check(&rows, None, None).unwrap_err();
        assert!(none.contains("the state on record has version 0"), "{none}");
        let lost = check(&[], Some(&released), None).unwrap_err();
        assert!(lost.contains("the state on record has version 4"), "{lost}");
        let other = Released {
            state: released.state.replace("V1", "V2"),
            ..released.clone()
        };
        let other = check(&rows, Some(&other), None).unwrap_err();
        assert!(other.contains("another state"), "{other}");
    }

    #[test]
    fn a_tail_that_was_cut_off_with_its_state_shows_by_a_hash_that_was_kept() {
        let (rows, released) = ledger();
        let entry: Value = serde_json::from_str(&rows[2].entry).unwrap();
        let former = Released {
            version: 3,
            state: entry["state"].to_string(),
            head: rows[2].hash.clone(),
        };
        assert_eq!(check(&rows[..3], Some(&former), None).unwrap().entries, 3);
        let head = &released.head[..SHORT];
        assert_eq!(
            check(&rows[..3], Some(&former), Some(head)).unwrap_err(),
            format!("the ledger does not contain the head {head}: its tail was cut off or rewritten")
        );
    }

    #[test]
    fn a_hash_is_named_by_twelve_digits_or_more() {
        assert_eq!(known_hash("ABCDEF012345").as_deref(), Ok("abcdef012345"));
        assert!(known_hash(ORIGIN).is_ok());
        for text in ["", "abcdef01234", "abcdef01234g", &"a".repeat(65)] {
            assert!(known_hash(text).is_err(), "{text}");
        }
    }

    #[test]
    fn entries_are_shown_as_rows_and_as_lines_of_json() {
        let (mut rows, _) = ledger();
        let page = table(&rows);
        for text in ["challenger", "rollback", "V1", "a  [2J reason", &rows[3].hash[..SHORT]] {
            assert!(page.contains(text), "{text} in\n{page}");
        }
        rows.push(LedgerRow {
            seq: 5,
            entry: "no JSON \u{9b}".to_owned(),
            hash: "short".to_owned(),
            command: None,
        });
        let pages = [table(&rows), lines(&rows)];
        assert!(
            pages.iter().all(|page| !page.contains(['\u{1b}', '\u{9b}'])),
            "{pages:?}"
        );
        let read: Vec<Value> = pages[1]
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!((read.len(), &read[4]["entry"]), (5, &Value::Null));
        let text = read[3]["text"].as_str().unwrap();
        assert_eq!(read[3]["hash"], hash(text));
        assert_eq!(read[3]["entry"]["action"], "rollback");
    }

    #[test]
    fn arguments_are_read() {
        let read = |line: &str| Args::try_parse_from(["ledger"].into_iter().chain(line.split(' ')));
        for line in ["show --from 0", "show --limit 0", "verify --head abc", "forget"] {
            assert!(read(line).is_err(), "{line}");
        }
        let args = read("verify --head ABCDEF012345 --json --config ltr.toml").unwrap();
        assert!(args.json && args.config.is_some());
        assert!(matches!(args.action, Action::Verify { head: Some(head) } if head == "abcdef012345"));
        let Action::Show { from, limit } = read("show --from 3").unwrap().action else {
            panic!("another command");
        };
        assert_eq!((from, limit), (Some(3), 50));
    }
}
