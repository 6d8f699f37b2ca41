use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use ranking::statistics::mean;
use ranking::{ndcg_at, reciprocal_rank_at};
use serde_json::Value;
use settings::Settings;
use tempfile::TempDir;

use super::*;
use crate::evaluate::tests::{settings, trained};
use crate::evaluate::{Arm, Evaluation, RivalResult, evaluate_and_export};
use crate::matrix::tests::synthetic;

/// An evaluation and the folder of its TREC files.
fn exported(dir: &TempDir, settings: &Settings) -> (Evaluation, PathBuf) {
    let mut matrix = synthetic(300, 21);
    // Cases without a label, and without a relevant lawyer.
    for (number, case) in matrix.cases.iter_mut().enumerate() {
        let most = [Grade::Shown, Grade::Clicked, Grade::Contracted][number % 3];
        for row in &mut case.rows {
            row.grade = row.grade.min(most);
            row.lawyer_id = row.lawyer_id.replace('_', " 100%\u{a0}");
        }
    }
    let (run, path) = trained(dir, &matrix, settings);
    let folder = dir.path().join("trec");
    let evaluation = evaluate_and_export(&run, &path, None, Some(&folder), settings).unwrap();
    (evaluation, folder)
}

/// The arms of an evaluation by the names of their files.
fn arms(evaluation: &Evaluation) -> BTreeMap<String, &Arm> {
    let mut arms: BTreeMap<String, &Arm> = BTreeMap::new();
    arms.insert("ltr".to_owned(), &evaluation.ltr);
    arms.insert("legacy".to_owned(), &evaluation.legacy);
    for rival in &evaluation.rivals {
        if let RivalResult::Judged { arm, .. } = &rival.result {
            arms.insert(file_name(&rival.name), arm);
        }
    }
    arms
}

fn lines<const WORDS: usize>(path: &Path) -> Vec<[String; WORDS]> {
    let text = std::fs::read_to_string(path).unwrap();
    let words = |line: &str| {
        let words: Vec<String> = line.split(char::is_whitespace).map(str::to_owned).collect();
        words
            .try_into()
            .unwrap_or_else(|words| panic!("{WORDS} words, not {words:?}"))
    };
    text.lines().map(words).collect()
}

fn judgements(path: &Path) -> BTreeMap<String, BTreeMap<String, u8>> {
    let mut all: BTreeMap<String, BTreeMap<String, u8>> = BTreeMap::new();
    for [case, zero, lawyer, grade] in lines(path) {
        assert_eq!(zero, "0");
        let earlier = all.entry(case).or_default().insert(lawyer, grade.parse().unwrap());
        assert_eq!(earlier, None, "each lawyer once a case");
    }
    all
}

/// Reads the files by the rules of trec_eval: a query's lawyers by descending score, and nothing else.
#[test]
fn the_files_read_back_give_the_metrics_of_the_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings();
    let (evaluation, folder) = exported(&dir, &settings);
    let positive = judgements(&folder.join(POSITIVE));
    let relevant = judgements(&folder.join(RELEVANT));
    assert_eq!(positive.len(), evaluation.cases_with_positive);
    assert_eq!(relevant.len(), evaluation.cases_with_relevant);
    assert!(relevant.len() < positive.len() && positive.len() < evaluation.test.cases);
    assert_eq!(arms(&evaluation).len(), 5);
    for (name, arm) in arms(&evaluation) {
        let mut cases: BTreeMap<String, Vec<(u32, f32, String)>> = BTreeMap::new();
        for [case, q0, lawyer, rank, score, tag] in lines(&folder.join(format!("{name}.run"))) {
            assert_eq!((q0.as_str(), &tag), ("Q0", &name));
            let ranked = (rank.parse().unwrap(), score.parse().unwrap(), lawyer);
            cases.entry(case).or_default().push(ranked);
        }
        assert_eq!(cases.len(), evaluation.test.cases, "all of them, whatever their labels");
        for ranked in cases.values() {
            assert!(
                ranked.windows(2).all(|pair| pair[0].1 > pair[1].1),
                "scores strictly decrease"
            );
            assert!(ranked.iter().zip(1..).all(|((rank, ..), expected)| *rank == expected));
        }
        let grades = |judged: &BTreeMap<String, BTreeMap<String, u8>>| -> Vec<Vec<u8>> {
            let of_case = |(case, grades): (&String, &BTreeMap<String, u8>)| {
                cases[case].iter().map(|(_, _, lawyer)| grades[lawyer]).collect()
            };
            judged.iter().map(of_case).collect()
        };
        let ndcg = grades(&positive)
            .into_iter()
            .map(|grades| ndcg_at(5, &grades, &Grade::GAINS).unwrap());
        assert!((mean(ndcg) - arm.ndcg5.estimate).abs() < 1e-12, "{name}");
        let least = settings.evaluate.mrr_min_grade;
        let mrr = grades(&relevant)
            .into_iter()
            .map(|grades| reciprocal_rank_at(5, &grades, least).unwrap());
        assert!((mean(mrr) - arm.mrr5.estimate).abs() < 1e-12, "{name}");
    }
}

/// Prints nDCG@5 and MRR@5 of each run, with the project's gains and the least grade that MRR counts.
const IR_MEASURES: &str = r#"
import importlib.metadata, json, pathlib, sys
import ir_measures
from ir_measures import nDCG, RR
folder, gains, least = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
gains = {grade: int(gain) for grade, gain in enumerate(gains)}
def value(measure, qrels, run):
    qrels = list(ir_measures.read_trec_qrels(str(folder / qrels)))
    return ir_measures.calc_aggregate([measure], qrels, list(ir_measures.read_trec_run(str(run))))[measure]
print(json.dumps({"version": importlib.metadata.version("ir-measures"), "arms": {
    run.stem: {
        "ndcg5": value(nDCG(gains=gains) @ 5, "positive.qrels", run),
        "mrr5": value(RR(rel=least) @ 5, "relevant.qrels", run),
    } for run in folder.glob("*.run")
}}))
"#;

#[test]
fn ir_measures_confirms_ndcg_and_mrr_of_every_arm() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings();
    let (evaluation, folder) = exported(&dir, &settings);
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/python");
    assert!(python.exists(), "no {}: run `make setup-servers`", python.display());
    let output = Command::new(&python)
        .args(["-c", IR_MEASURES])
        .arg(&folder)
        .arg(serde_json::to_string(&Grade::GAINS).unwrap())
        .arg(settings.evaluate.mrr_min_grade.to_string())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "no ir-measures in {}? run `make setup-servers`: {errors}",
        python.display()
    );
    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(measured["version"], "0.4.3");
    let ours = arms(&evaluation);
    assert_eq!(measured["arms"].as_object().unwrap().len(), ours.len());
    for (name, arm) in ours {
        for (metric, expected) in [("ndcg5", arm.ndcg5.estimate), ("mrr5", arm.mrr5.estimate)] {
            let found = measured["arms"][&name][metric].as_f64().unwrap();
            assert!(
                (found - expected).abs() < 1e-9,
                "{name} {metric}: {found}, not {expected}"
            );
        }
    }
}

#[test]
fn an_id_becomes_one_word_and_no_two_become_the_same() {
    for (id, expected) in [
        ("adv_1", "adv_1"),
        ("Ana Souza", "Ana%20Souza"),
        ("Ana%20Souza", "Ana%2520Souza"),
        ("é\u{a0}\n", "é%C2%A0%0A"),
    ] {
        assert_eq!(word(id), expected);
    }
    assert_eq!(
        file_name("LightGBM regression, pointwise"),
        "lightgbm-regression-pointwise"
    );
}
