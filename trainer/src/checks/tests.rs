use chrono::{Duration, NaiveDate};
use ranking::Grade;
use settings::Checks;
use tempfile::TempDir;

use super::*;
use crate::matrix::tests::{listed, start, synthetic};
use crate::matrix::{Matrix, encode};
use crate::outcome::exit_code;

/// The profile of a matrix.
fn profiled(matrix: &Matrix, reference: Option<&DataProfile>, limits: &Checks) -> anyhow::Result<DataProfile> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("matrix.parquet");
    std::fs::write(&path, encode(matrix).unwrap()).unwrap();
    profile::of(&MatrixFiles::of(&path, 0)?, &matrix.schema, reference, limits)
}

/// The checks of a matrix after one.
fn after(before: &Matrix, now: &Matrix, limits: &Checks) -> Vec<Check> {
    let before = profiled(before, None, limits).unwrap();
    judge(&profiled(now, Some(&before), limits).unwrap(), Some(&before), limits)
}

/// The checks of a matrix without a reference.
fn alone(matrix: &Matrix, limits: &Checks) -> Vec<Check> {
    judge(&profiled(matrix, None, limits).unwrap(), None, limits)
}

/// What is not as it should be: check, column and finding.
fn said(checks: &[Check]) -> Vec<(CheckName, Option<&str>, Finding)> {
    let to_say = checks
        .iter()
        .filter(|check| matches!(check.finding, Finding::Warned | Finding::Refused));
    to_say
        .map(|check| (check.check, check.column.as_deref(), check.finding))
        .collect()
}

fn of<'a>(checks: &'a [Check], name: CheckName, column: Option<&str>) -> &'a Check {
    let found = checks
        .iter()
        .find(|check| check.check == name && check.column.as_deref() == column);
    found.unwrap_or_else(|| panic!("{name:?} {column:?} in {checks:?}"))
}

/// Changes a feature in all rows, given the row's number.
fn with_feature(mut matrix: Matrix, name: &str, change: impl Fn(usize, f64) -> f64) -> Matrix {
    let at = matrix.schema.index_of(name).unwrap();
    for (number, row) in matrix.cases.iter_mut().flat_map(|case| &mut case.rows).enumerate() {
        row.features[at] = change(number, row.features[at]);
    }
    matrix
}

fn day(offset: i64) -> NaiveDate {
    (start() + Duration::days(offset)).date_naive()
}

/// Without the cases of these days, counted from the first.
fn without_days(mut matrix: Matrix, days: std::ops::Range<i64>) -> Matrix {
    matrix
        .cases
        .retain(|case| !days.clone().any(|offset| case.ts.date_naive() == day(offset)));
    matrix
}

#[test]
fn an_ordinary_night_passes_without_a_word() {
    let checks = after(&synthetic(300, 1), &synthetic(324, 1), &Checks::default());
    assert_eq!(said(&checks), []);
    assert!(
        checks.iter().all(|check| check.finding == Finding::Passed),
        "{checks:?}"
    );
}

#[test]
fn without_an_earlier_run_comparisons_are_not_made_and_not_passed() {
    let checks = alone(&synthetic(100, 1), &Checks::default());
    assert_eq!(said(&checks), []);
    let compared = |check: &&Check| {
        use CheckName::{CasesLost, Drift, LabelShift, NullRise, RowsLost};
        matches!(check.check, CasesLost | RowsLost | LabelShift | NullRise | Drift)
    };
    let (compared, others): (Vec<&Check>, Vec<&Check>) = checks.iter().partition(compared);
    assert_eq!(compared.len(), 2 + 3 + 2 * 11);
    assert!(
        compared
            .iter()
            .all(|check| check.finding == Finding::NoReference && check.value.is_none())
    );
    assert!(others.iter().all(|check| check.finding == Finding::Passed));
}

#[test]
fn too_few_cases_rows_or_labels_are_refused() {
    let mut few = synthetic(30, 2);
    for row in few.cases.iter_mut().skip(2).flat_map(|case| &mut case.rows) {
        row.grade = Grade::Shown;
    }
    for case in &mut few.cases {
        case.rows.truncate(6);
    }
    let checks = alone(&few, &Checks::default());
    let refused = |name| (name, None, Finding::Refused);
    assert_eq!(
        said(&checks),
        [
            refused(CheckName::Cases),
            refused(CheckName::Rows),
            refused(CheckName::Positives)
        ]
    );
    let cases = of(&checks, CheckName::Cases, None);
    assert_eq!((cases.value, cases.limit), (Some(30.0), Some(Limit::AtLeast(50.0))));
}

#[test]
fn a_night_that_shrank_is_refused_and_one_that_shrank_a_little_is_warned_of() {
    let limits = Checks::default();
    let before = synthetic(400, 3);
    let findings = |cases: usize| {
        let checks = after(&before, &synthetic(cases, 3), &limits);
        let of = |name| of(&checks, name, None).finding;
        (of(CheckName::CasesLost), of(CheckName::RowsLost))
    };
    assert_eq!(findings(500), (Finding::Passed, Finding::Passed));
    assert_eq!(findings(350), (Finding::Warned, Finding::Warned));
    assert_eq!(findings(190), (Finding::Refused, Finding::Refused));
    let mut narrow = before.clone();
    narrow.cases.iter_mut().for_each(|case| case.rows.truncate(3));
    let checks = after(&before, &narrow, &limits);
    assert_eq!(of(&checks, CheckName::CasesLost, None).finding, Finding::Passed);
    let rows = of(&checks, CheckName::RowsLost, None);
    assert_eq!(
        (rows.finding, rows.value, rows.limit),
        (Finding::Refused, Some(0.625), Some(Limit::AtMost(0.5)))
    );
}

#[test]
fn a_day_without_cases_is_warned_of_and_too_many_that_are_new_are_refused() {
    let limits = Checks::default();
    let whole = synthetic(480, 4);
    let missing = |checks: &[Check]| {
        let check = of(checks, CheckName::MissingDays, None).clone();
        (check.finding, check.value, check.note.unwrap_or_default())
    };
    let gap = without_days(whole.clone(), 5..6);
    let expected = (Finding::Warned, Some(1.0), "2026-10-06; 1 of them new".to_owned());
    assert_eq!(missing(&alone(&gap, &limits)), expected);
    assert_eq!(missing(&after(&whole, &gap, &limits)), expected);
    let long = without_days(whole.clone(), 5..13);
    let listed = "2026-10-06, 2026-10-07, 2026-10-08, 2026-10-09, 2026-10-10 and 3 more";
    assert_eq!(
        missing(&alone(&long, &limits)),
        (Finding::Refused, Some(8.0), format!("{listed}; 8 of them new"))
    );
    assert_eq!(
        missing(&after(&long, &long, &limits)),
        (Finding::Warned, Some(8.0), format!("{listed}; 0 of them new")),
        "a gap that was known stops no night"
    );
    let end = without_days(whole.clone(), 19..21);
    let (finding, _, note) = missing(&after(&whole, &end, &limits));
    assert_eq!(
        (finding, note.as_str()),
        (Finding::Warned, "2026-10-20, 2026-10-21; 2 of them new")
    );
    assert_eq!(missing(&after(&end, &whole, &limits)).0, Finding::Passed);
}

#[test]
fn labels_that_became_rare_are_refused_and_rare_ones_are_not_compared() {
    let limits = Checks::default();
    let before = synthetic(300, 5);
    let mut now = before.clone();
    for (number, row) in now.cases.iter_mut().flat_map(|case| &mut case.rows).enumerate() {
        if number % 3 > 0 {
            row.grade = Grade::Shown;
        }
    }
    let checks = after(&before, &now, &limits);
    for column in ["click", "contact", "contract"] {
        let check = of(&checks, CheckName::LabelShift, Some(column));
        assert_eq!(
            (check.finding, check.limit),
            (Finding::Refused, Some(Limit::AtMost(0.5)))
        );
    }
    // The other way round they tripled.
    let checks = after(&now, &before, &limits);
    assert_eq!(
        of(&checks, CheckName::LabelShift, Some("click")).finding,
        Finding::Refused
    );
    let strict = Checks {
        min_positives: 300,
        ..limits
    };
    let checks = after(&before, &now, &strict);
    let contract = of(&checks, CheckName::LabelShift, Some("contract"));
    assert_eq!(contract.finding, Finding::NoReference, "{contract:?}");
    assert!(
        contract
            .note
            .as_ref()
            .unwrap()
            .ends_with("rows in the last run are too few")
    );
}

#[test]
fn a_feature_that_drifted_is_refused_and_only_warned_of_if_that_is_configured() {
    let before = synthetic(300, 6);
    let drifted = with_feature(before.clone(), "geo", |_, x| x * x * x);
    let checks = after(&before, &drifted, &Checks::default());
    assert_eq!(said(&checks), [(CheckName::Drift, Some("geo"), Finding::Refused)]);
    let drift = of(&checks, CheckName::Drift, Some("geo"));
    assert!(
        drift.value > Some(0.25) && drift.limit == Some(Limit::AtMost(0.25)),
        "{drift:?}"
    );
    let never = Checks {
        psi_stop: 0.0,
        ..Checks::default()
    };
    let checks = after(&before, &drifted, &never);
    assert_eq!(said(&checks), [(CheckName::Drift, Some("geo"), Finding::Warned)]);
    assert_eq!(
        of(&checks, CheckName::Drift, Some("geo")).limit,
        Some(Limit::AtMost(0.1))
    );
    let little = with_feature(before.clone(), "geo", |_, x| x.powf(1.5));
    let checks = after(&before, &little, &Checks::default());
    assert_eq!(said(&checks), [(CheckName::Drift, Some("geo"), Finding::Warned)]);
}

#[test]
fn a_feature_that_is_gone_is_refused() {
    let limits = Checks::default();
    let before = synthetic(200, 7);
    let gone = with_feature(before.clone(), "geo", |_, _| f64::NAN);
    let geo = Some("geo");
    assert_eq!(
        said(&after(&before, &gone, &limits)),
        [
            (CheckName::Nulls, geo, Finding::Warned),
            (CheckName::NullRise, geo, Finding::Refused),
            (CheckName::Spread, geo, Finding::Warned),
            (CheckName::Drift, geo, Finding::Refused),
        ]
    );
    // One that never was there is said, and stops nothing unless that is configured.
    assert_eq!(
        said(&after(&gone, &gone, &limits)),
        [
            (CheckName::Nulls, geo, Finding::Warned),
            (CheckName::Spread, geo, Finding::Warned)
        ]
    );
    let strict = Checks {
        null_stop: 0.9,
        ..limits
    };
    assert_eq!(
        of(&alone(&gone, &strict), CheckName::Nulls, geo).finding,
        Finding::Refused
    );
    let some = with_feature(before.clone(), "geo", |row, x| if row % 10 == 0 { f64::NAN } else { x });
    let rise = of(&after(&before, &some, &strict), CheckName::NullRise, geo).clone();
    assert_eq!((rise.finding, rise.value), (Finding::Warned, Some(0.1)));
}

#[test]
fn a_feature_that_another_run_did_not_have_is_not_compared() {
    let limits = Checks::default();
    let matrix = synthetic(100, 8);
    let mut before = profiled(&matrix, None, &limits).unwrap();
    before.features.remove("geo");
    let checks = judge(
        &profiled(&matrix, Some(&before), &limits).unwrap(),
        Some(&before),
        &limits,
    );
    assert_eq!(said(&checks), []);
    assert_eq!(of(&checks, CheckName::Drift, Some("geo")).finding, Finding::NoReference);
    assert_eq!(
        of(&checks, CheckName::NullRise, Some("geo")).finding,
        Finding::NoReference
    );
    assert_eq!(of(&checks, CheckName::Drift, Some("review")).finding, Finding::Passed);
}

#[test]
fn values_outside_of_the_range_and_constant_features_are_said() {
    let limits = Checks::default();
    let matrix = synthetic(100, 9);
    let some = |every: usize| {
        with_feature(
            matrix.clone(),
            "geo",
            move |row, x| if row % every == 0 { 1.5 } else { x },
        )
    };
    let geo = Some("geo");
    assert_eq!(
        said(&alone(&some(500), &limits)),
        [(CheckName::Range, geo, Finding::Warned)]
    );
    let checks = alone(&some(50), &limits);
    assert_eq!(said(&checks), [(CheckName::Range, geo, Finding::Refused)]);
    let note = of(&checks, CheckName::Range, geo).note.clone().unwrap();
    assert!(note.ends_with("to 1.5; allowed: 0 to 1"), "{note}");
    let constant = with_feature(matrix.clone(), "geo", |_, _| 0.5);
    assert_eq!(
        said(&alone(&constant, &limits)),
        [(CheckName::Spread, geo, Finding::Warned)]
    );
    let infinite = with_feature(matrix, "geo", |row, x| if row == 3 { f64::INFINITY } else { x });
    let error = format!("{:#}", profiled(&infinite, None, &limits).unwrap_err());
    assert!(
        error.contains("row 4, column geo: inf; allowed: a finite number"),
        "{error}"
    );
}

#[test]
fn a_profile_is_read_back_as_it_was() {
    let matrix = synthetic(60, 10);
    let profile = profiled(&matrix, None, &Checks::default()).unwrap();
    assert_eq!((profile.cases, profile.rows), (60, 480));
    assert_eq!(profile.days.values().sum::<u64>(), 60);
    let geo = &profile.features["geo"];
    let geo_column = matrix.schema.index_of("geo").unwrap();
    let values = || {
        matrix
            .cases
            .iter()
            .flat_map(|case| &case.rows)
            .map(|row| row.features[geo_column])
    };
    assert_eq!(geo.min, values().reduce(f64::min));
    assert_eq!(geo.max, values().reduce(f64::max));
    assert_eq!(geo.counts.iter().sum::<u64>(), 480);
    let text = serde_json::to_string(&profile).unwrap();
    assert_eq!(serde_json::from_str::<DataProfile>(&text).unwrap(), profile);
}

#[test]
fn the_days_that_are_trained_on_are_checked_and_only_as_they_were_listed() {
    let dir = tempfile::tempdir().unwrap();
    let list = listed(dir.path(), &synthetic(480, 12));
    let mut settings = Settings::default();
    settings.train.window_days = 9;
    let check = || check(&list, &dir.path().join("run"), false, &settings);
    let (profile, verdict) = check().unwrap();
    assert_eq!(
        profile.days.into_keys().collect::<Vec<_>>(),
        (11..=20).map(day).collect::<Vec<_>>()
    );
    assert_eq!(verdict.matrix_sha256, files::hash(&list).unwrap());

    let last = dir.path().join(format!("{}.parquet", day(20)));
    std::fs::write(last, encode(&synthetic(100, 12)).unwrap()).unwrap();
    let error = check().unwrap_err();
    assert!(error.to_string().contains("made again since it was listed"), "{error}");
    assert_eq!(exit_code(&Err(error)), 3);
}

/// A lake with runs.
struct Runs {
    dir: TempDir,
    settings: Settings,
}

impl Runs {
    fn new() -> Runs {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.lake.dir = dir.path().join("lake");
        settings.models.dir = dir.path().join("models");
        std::fs::write(dir.path().join("matrix.parquet"), encode(&synthetic(60, 11)).unwrap()).unwrap();
        Runs { dir, settings }
    }

    fn run(&self, version: &str) -> PathBuf {
        runs_dir(&self.settings).join(version)
    }

    fn check(&self, run: &Path, compare: bool) -> DataChecks {
        let matrix = self.dir.path().join("matrix.parquet");
        check(&matrix, run, compare, &self.settings).unwrap().1
    }

    /// The name of the run that this one is compared with.
    fn reference(&self, run: &Path) -> Option<String> {
        let reference = self.check(run, true).reference?;
        Some(reference.run.file_name()?.to_str()?.to_owned())
    }
}

#[test]
fn the_command_ends_by_the_verdict_and_leaves_profile_and_verdict_beside_the_run() {
    let mut runs = Runs::new();
    let dir = runs.dir.path().join("today");
    let args = Args {
        as_of: None,
        matrix: Some(runs.dir.path().join("matrix.parquet")),
        run: Some(dir.clone()),
        no_reference: false,
        json: false,
    };
    assert_eq!(
        run(&args, &runs.settings, &mut Record::default()).unwrap(),
        Outcome::Done
    );
    runs.settings.checks.min_cases = 61;
    assert_eq!(
        run(&args, &runs.settings, &mut Record::default()).unwrap(),
        Outcome::Refused
    );
    let verdict: serde_json::Value = files::read_json(&dir.join(CHECKS)).unwrap();
    assert_eq!(verdict["passed"], false);
    let expected = serde_json::json!({
        "check": "cases", "column": null, "finding": "refused", "value": 60.0, "limit": {"at_least": 61.0},
    });
    assert_eq!(verdict["checks"][0], expected);
    let profile: DataProfile = files::read_json(&dir.join(PROFILE)).unwrap();
    assert_eq!(
        (profile.cases, verdict["matrix_sha256"].as_str()),
        (60, Some(&*profile.matrix_sha256))
    );
}

#[test]
fn a_run_is_compared_with_the_newest_earlier_one_that_passed_and_rather_with_a_published_one() {
    let mut runs = Runs::new();
    let nights: Vec<PathBuf> = (1..7)
        .map(|night| runs.run(&format!("2026110{night}T021500Z")))
        .collect();
    assert_eq!(runs.reference(&nights[1]), None);
    assert_eq!(runs.reference(&nights[0]), None, "a later run is none");
    assert_eq!(runs.reference(&nights[2]).as_deref(), Some("20261102T021500Z"));
    assert_eq!(
        runs.reference(&nights[2]).as_deref(),
        Some("20261102T021500Z"),
        "nor is the run itself"
    );
    runs.settings.checks.min_cases = 1000;
    assert!(!runs.check(&nights[3], true).passed);
    runs.settings.checks.min_cases = 50;
    assert_eq!(
        runs.reference(&nights[4]).as_deref(),
        Some("20261103T021500Z"),
        "nor one that was refused"
    );
    std::fs::write(nights[4].join(PROFILE), "{").unwrap();
    assert_eq!(
        runs.reference(&nights[5]).as_deref(),
        Some("20261103T021500Z"),
        "nor a damaged one"
    );
    let elsewhere = runs.dir.path().join("today");
    assert_eq!(runs.reference(&elsewhere).as_deref(), Some("20261106T021500Z"));
    assert_eq!(runs.check(&elsewhere, false).reference, None);

    let published = runs.settings.models.dir.join("ltr/20261102T021500Z");
    std::fs::create_dir_all(&published).unwrap();
    std::fs::write(published.join("manifest.json"), "{}").unwrap();
    std::fs::write(published.join("manifest.sig"), "").unwrap();
    let reference = runs.check(&nights[5], true).reference.unwrap();
    assert_eq!((reference.run, reference.published), (nights[1].clone(), true));
}
