//! Writes the rankings of an evaluation as TREC files, so that tools of the field can confirm its metrics.
//!
//! `{arm}.run` has the served order of every test case. `positive.qrels` has the grades of the cases with a
//! label above 0, which nDCG is the mean over, and `relevant.qrels` those of the cases with a lawyer that MRR
//! counts: a tool averages over the cases of the qrels file.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::ensure;
use ranking::{Candidate, Grade};

use super::arm::Served;
use crate::files;
use crate::matrix::Case;

/// Judgements of the cases that nDCG is the mean over.
const POSITIVE: &str = "positive.qrels";
/// Judgements of the cases that MRR is the mean over.
const RELEVANT: &str = "relevant.qrels";

/// Writes a run for each arm, by its name, and the judgements. `min_grade`: the least one that MRR counts.
///
/// # Errors
/// Arms that would share a file; a folder that cannot be written.
pub(super) fn write(
    folder: &Path,
    cases: &[(&Case, Vec<Candidate>)],
    arms: &[(&str, &Served)],
    min_grade: u8,
) -> anyhow::Result<()> {
    let mut names = HashSet::new();
    for (arm, served) in arms {
        let name = file_name(arm);
        ensure!(
            names.insert(name.clone()),
            "two rankings are named {name:?}; allowed: different names"
        );
        files::write(
            &folder.join(format!("{name}.run")),
            run(cases, served, &name).as_bytes(),
        )?;
    }
    for (name, least) in [(POSITIVE, Grade::Clicked.value()), (RELEVANT, min_grade)] {
        files::write(&folder.join(name), qrels(cases, least).as_bytes())?;
    }
    Ok(())
}

/// `case Q0 lawyer rank score arm`, the best first. Of the served order, which load and groups decide, too, the
/// model's score is no key, and tools order by score alone, as 32-bit floats. So the score is the number of
/// lawyers from this one to the last: it strictly decreases, and every tool reads it exactly.
fn run(cases: &[(&Case, Vec<Candidate>)], served: &Served, arm: &str) -> String {
    let mut text = String::new();
    for ((case, candidates), order) in cases.iter().zip(&served.orders) {
        for (at, ranked) in order.iter().enumerate() {
            let lawyer = word(&candidates[ranked.index].lawyer_id);
            let line = writeln!(text, "{} Q0 {lawyer} {} {} {arm}", case.qid, at + 1, order.len() - at);
            line.expect("a text takes every line");
        }
    }
    text
}

/// `case 0 lawyer grade` for the cases that have a lawyer with at least the grade `least`.
fn qrels(cases: &[(&Case, Vec<Candidate>)], least: u8) -> String {
    let mut text = String::new();
    let counted = cases
        .iter()
        .filter(|(case, _)| case.rows.iter().any(|row| row.grade.value() >= least));
    for (case, _) in counted {
        for row in &case.rows {
            let line = writeln!(text, "{} 0 {} {}", case.qid, word(&row.lawyer_id), row.grade.value());
            line.expect("a text takes every line");
        }
    }
    text
}

/// An id as one word: white space, control characters and `%` as `%` and two hexadecimal digits for each byte.
fn word(id: &str) -> String {
    let mut word = String::new();
    for letter in id.chars() {
        if letter.is_whitespace() || letter.is_control() || letter == '%' {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                write!(word, "%{byte:02X}").expect("a text takes every letter");
            }
        } else {
            word.push(letter);
        }
    }
    word
}

/// The name of an arm as that of a file: `LightGBM regression, pointwise` is `lightgbm-regression-pointwise`.
fn file_name(arm: &str) -> String {
    let lower = arm.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_alphanumeric());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests;
