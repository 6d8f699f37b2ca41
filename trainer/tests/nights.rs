//! Nights of the whole program. Some are killed at any step, find no room, or are run twice at once: the next one leaves
//! what an undisturbed night leaves. One finds a champion that serves.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration as Wait;

use chrono::{DateTime, Duration, Utc};
use ranking::release::{Champion, Exposure, Grounds, ModelId, State, ledger};
use ranking::{Action, ActionKind, Body, Event, Impression, Origin};
use serde_json::Value;
use servers::Tmpfs;
use store::{Commit, Record, RolloutState, Store};
use tempfile::TempDir;
use uuid::Uuid;

const AS_OF: &str = "2026-10-31T02:15:00Z";
const STEPS: [&str; 6] = ["etl", "check", "train", "evaluate", "gate", "publish"];
const LAWYERS: usize = 6;

/// A database with a log, keys, and where the lake and the models are.
struct Site {
    dir: TempDir,
    lake: PathBuf,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path().join("lake");
        let site = Site { dir, lake };
        site.log();
        let keys = site.command("keygen", &[]).output().unwrap();
        assert!(keys.status.success(), "{keys:?}");
        site
    }

    #[tokio::main]
    async fn log(&self) {
        let address = format!("sqlite://{}", self.path("ltr.db").display());
        let store = Store::open(&*address).await.unwrap();
        let records: Vec<Record> = (0..600).flat_map(case).map(Record::Event).collect();
        store.append(&records).await.unwrap();
        store.close().await;
    }

    /// Lets a published model serve everybody.
    #[tokio::main]
    async fn serve(&self, version: &str) {
        let published = &self.json(&format!("models/ltr/{version}/manifest.json"))["files"]["scorer.wasm"];
        let model = ModelId {
            version: version.to_owned(),
            sha256: published.as_str().map(str::to_owned),
        };
        let state = State {
            version: 1,
            exposure: Exposure::whole(1.0),
            champion: Some(Champion {
                model,
                grounds: Grounds::FormerProgram,
                pinned: false,
                serving_since: Some(1),
            }),
            ..State::new(AS_OF.parse().unwrap())
        };
        let state = serde_json::to_string(&state).unwrap();
        let store = Store::open(&*format!("sqlite://{}", self.path("ltr.db").display())).await;
        let commit = Commit {
            expected: 0,
            state: &state,
            entry: &state,
            hash: &ledger::hash(&state),
            command: None,
            mirror: &RolloutState::default(),
            outbox: &[],
            lease: None,
        };
        store.unwrap().commit_release(&commit).await.unwrap();
    }

    fn json(&self, name: &str) -> Value {
        let text = std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        serde_json::from_slice(&text).unwrap()
    }

    /// Runs a step of this night, and returns what it printed.
    fn step(&self, step: &str, as_of: &str, more: &[&str]) -> String {
        let arguments = [&["--as-of", as_of], more].concat();
        let done = self.command(step, &arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, step: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ltr-trainer"));
        command
            .arg(step)
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(
                "LTR_DATABASE__URL",
                format!("sqlite://{}", self.path("ltr.db").display()),
            )
            .env("LTR_LAKE__DIR", &self.lake)
            .env("LTR_MODELS__DIR", self.path("models"))
            .env("LTR_TRAIN__MAX_ROUNDS", "20")
            // Whatever is learned here is published: the nights are what is tested.
            .env("LTR_GATE__NDCG5_GAIN", "-1")
            .env("LTR_GATE__MRR5_GAIN", "-1")
            .env("LTR_GATE__FAIR_GAP", "1")
            .env("LTR_GATE__LATENCY_P95_MS", "1000")
            .env("LTR_PUBLISH__NOTIFY_URL", "")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn night(&self) -> Command {
        self.command("train-daily", &["--as-of", AS_OF])
    }

    fn whole_night(&self) -> Output {
        let done = self.night().output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done
    }

    /// Starts the night, and kills it a while after it has announced this step.
    fn killed_at(&self, step: &str, after: Wait) {
        let mut night = self.night().spawn().unwrap();
        let said = BufReader::new(night.stdout.take().unwrap()).lines();
        let announced = said
            .map(Result::unwrap)
            .any(|line| line.ends_with(&format!("] {step}")));
        assert!(announced, "{step} was not begun");
        std::thread::sleep(after);
        night.kill().unwrap();
        night.wait().unwrap();
    }

    /// What a night leaves: matrices, the model, and what was published, except for what was measured by the clock.
    fn outcome(&self) -> Vec<(String, Vec<u8>)> {
        let run = self.lake.join("ltr/runs/20261031T021500Z");
        let published = self.path("models/ltr/20261031T021500Z");
        let mut files = vec![run.join("ltr_model.txt"), run.join("feature_map.json")];
        files.extend(["ltr_model.txt", "scorer.wasm"].map(|name| published.join(name)));
        let days = std::fs::read_dir(self.lake.join("ltr/processed")).unwrap();
        files.extend(
            days.map(|day| day.unwrap().path().join("matrix.parquet"))
                .filter(|file| file.exists()),
        );
        let named = |file: PathBuf| {
            let name = file
                .strip_prefix(&self.lake)
                .or_else(|_| file.strip_prefix(self.dir.path()));
            let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            (name.unwrap().display().to_string(), bytes)
        };
        let mut outcome: Vec<_> = files.into_iter().map(named).collect();
        outcome.sort();
        outcome
    }

    #[track_caller]
    fn is_as(&self, undisturbed: &Site) {
        let (these, those) = (self.outcome(), undisturbed.outcome());
        let names =
            |files: &[(String, Vec<u8>)]| -> Vec<String> { files.iter().map(|(name, _)| name.clone()).collect() };
        assert_eq!(names(&these), names(&those));
        for ((name, one), (_, other)) in these.iter().zip(&those) {
            assert!(one == other, "{name} differs");
        }
    }
}

/// A case of twenty days: who is near and cheap is clicked, and signed with by every second client.
fn case(number: u128) -> Vec<Event> {
    let at: DateTime<Utc> = "2026-10-01T00:00:00Z".parse().unwrap();
    let at = at + Duration::minutes(48 * number as i64);
    let features = settings::Settings::default().schema();
    let value = |lawyer: usize, feature: usize| {
        let spread = (number as usize * 31 + lawyer * 17 + feature * 7) * 2_654_435_761;
        Some((spread >> 8 & 0xFFFF) as f64 / 65_535.0)
    };
    let rows: Vec<Vec<Option<f64>>> = (0..LAWYERS)
        .map(|lawyer| {
            (0..features.names().len())
                .map(|feature| value(lawyer, feature))
                .collect()
        })
        .collect();
    let worth = |lawyer: &usize| (rows[*lawyer][0].unwrap() * rows[*lawyer][1].unwrap() * 1e6) as u64;
    let best = (0..LAWYERS).max_by_key(worth).unwrap();
    let lawyers: Vec<String> = (0..LAWYERS).map(|lawyer| format!("lawyer-{lawyer}")).collect();
    let (case, user) = (Uuid::from_u128(1 + number), Uuid::from_u128(1_000_000 + number));
    let request = Uuid::from_u128(2_000_000 + number);
    let impression = Impression {
        legacy_scores: Some((0..LAWYERS).map(|lawyer| Some(1.0 - lawyer as f64 / 10.0)).collect()),
        cases_30d: Some(vec![2; LAWYERS]),
        monthly_capacity: Some(vec![10; LAWYERS]),
        origin: Some(Origin::Gateway),
        ..Impression::new(request, lawyers.clone(), rows)
    };
    let event = |part: u128, hours: i64, body: Body| {
        Event::new(
            Uuid::from_u128(part << 64 | number),
            at + Duration::hours(hours),
            case,
            user,
            body,
        )
    };
    let act = |kind| Body::Action(Action::new(kind, &lawyers[best], best as u32 + 1));
    let mut events = vec![
        event(1, 0, Body::Impression(impression)),
        event(2, 1, act(ActionKind::ClickProfile)),
    ];
    if number.is_multiple_of(2) {
        events.push(event(3, 30, act(ActionKind::ContractSigned)));
    }
    events
}

#[test]
fn a_night_that_is_killed_at_any_step_is_made_good_by_the_next() {
    let undisturbed = Site::new();
    undisturbed.whole_night();
    let site = Site::new();
    for (at, step) in STEPS.into_iter().enumerate() {
        // At once, and while it works.
        site.killed_at(step, Wait::ZERO);
        site.killed_at(step, Wait::from_millis(15 * (at as u64 + 1)));
    }
    site.whole_night();
    site.is_as(&undisturbed);
}

#[test]
fn a_night_that_is_repeated_or_run_twice_at_once_leaves_what_one_leaves() {
    let undisturbed = Site::new();
    undisturbed.whole_night();
    let site = Site::new();
    let (one, other) = (site.night().spawn().unwrap(), site.night().spawn().unwrap());
    let ended = [one, other].map(|night| night.wait_with_output().unwrap());
    assert!(ended.iter().any(|night| night.status.success()), "{ended:?}");
    site.is_as(&undisturbed);
    site.whole_night();
    site.is_as(&undisturbed);
}

#[test]
fn a_night_on_a_full_disk_says_so_and_is_made_good_when_there_is_room() {
    let undisturbed = Site::new();
    undisturbed.whole_night();
    let needed = size(&undisturbed.lake);
    let mut disk = Tmpfs::mount(4096);
    let mut site = Site::new();
    site.lake = disk.path().join("lake");
    // From no room at all to nearly enough.
    for tenths in [0, 1, 2, 4, 6, 8, 9] {
        disk.grow(4096 + needed * tenths / 10);
        let done = site.night().output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{tenths} tenths: {said}");
        assert!(said.contains("No space left"), "{tenths} tenths: {said}");
    }
    disk.grow(64 << 20);
    site.whole_night();
    site.is_as(&undisturbed);
}

#[test]
fn a_night_says_whether_its_model_may_replace_the_one_that_serves() {
    const NEXT: &str = "2026-11-01T02:15:00Z";
    let site = Site::new();
    let said = site.step("train-daily", AS_OF, &[]);
    assert!(said.contains("champion: none to compare with"), "{said}");
    let manifest = site.json("models/ltr/20261031T021500Z/manifest.json");
    assert_eq!(manifest["gate"]["champion"], Value::Null);
    site.serve("20261031T021500Z");

    let said = site.step("train-daily", NEXT, &[]);
    let sentence = "champion: 20261031T021500Z may be replaced without a trial";
    assert!(said.contains(sentence), "{said}");
    let next = site.json("models/ltr/20261101T021500Z/manifest.json");
    let champion = &next["gate"]["champion"];
    assert_eq!(champion["version"], "20261031T021500Z");
    assert_eq!(champion["sha256"], manifest["files"]["scorer.wasm"]);
    assert_eq!(champion["passed"], true);

    // The steps alone say what the night said; and nothing of a champion that they are not to look for.
    site.step("evaluate", NEXT, &[]);
    assert!(site.step("gate", NEXT, &[]).contains(sentence));
    site.step("evaluate", NEXT, &["--champion", "none"]);
    assert!(site.step("gate", NEXT, &[]).contains("champion: none to compare with"));
    site.step("evaluate", NEXT, &["--champion", "20260101T000000Z"]);
    let said = site.step("gate", NEXT, &[]);
    let sentence = "champion: 20260101T000000Z may NOT be replaced without a trial: there is no artefact";
    assert!(said.contains(sentence), "{said}");
}

/// Bytes of the files in a folder.
fn size(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| match entry.metadata().unwrap() {
        folder if folder.is_dir() => size(&entry.path()),
        file => file.len() as usize,
    });
    sizes.sum()
}
