//! Closed cases that were compared, as they were displayed, and what the log does not cover.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, StringArray};
use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use ranking::evidence::{ComparedCase, Coverage, RankedLawyer};
use ranking::interleaving::tosses;
use ranking::outcomes::Displayed;
use ranking::{Grade, Policy, Source};
use uuid::Uuid;

use crate::LakeError;
use crate::days::{texts, whole};
use crate::displayed::Details;

/// Reads what `lake/sql/compared.sql` gives: the rows of a case and a model follow each other.
#[derive(Default)]
pub(crate) struct Reader {
    cases: Vec<ComparedCase>,
    /// Of the case that is read; `None`: it cannot be read.
    open: Option<(Uuid, String)>,
    /// Equal groups are kept once, by their text.
    groups: HashMap<String, Arc<BTreeMap<String, String>>>,
}

impl Reader {
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        let (cases, times) = (texts(batch, 0)?, whole(batch, 1)?);
        let heads = [2, 3, 4, 5].map(|at| texts(batch, at));
        let [users, policies, sources, details] = heads;
        let (users, policies, sources, details) = (users?, policies?, sources?, details?);
        let (versions, groups) = (texts(batch, 6)?, texts(batch, 9)?);
        let (legacy, ltr, positions, grades) = (whole(batch, 7)?, whole(batch, 8)?, whole(batch, 10)?, whole(batch, 11)?);
        for row in 0..batch.num_rows() {
            let Ok(case_id) = Uuid::parse_str(cases.value(row)) else {
                continue;
            };
            let model_version = versions.value(row).to_owned();
            if self.open.as_ref() != Some(&(case_id, model_version.clone())) {
                let head = Head {
                    user: text(&users, row),
                    micros: times.value(row),
                    policy: text(&policies, row),
                    source: text(&sources, row),
                    details: text(&details, row),
                };
                self.cases.extend(head.case(case_id, model_version.clone()));
                self.open = Some((case_id, model_version));
            }
            let groups = self.shared(groups.value(row));
            let rank = |column: &arrow::array::Int64Array| {
                let known = column.is_valid(row).then(|| column.value(row));
                known.and_then(|rank| u32::try_from(rank).ok())
            };
            let grade = u8::try_from(grades.value(row)).ok().and_then(Grade::from_value);
            // The rows of a case that cannot be read are of no case.
            let case = self.cases.last_mut().filter(|case| case.case_id == case_id);
            if let (Some(case), Some(legacy), Some(ltr)) = (case, rank(&legacy), rank(&ltr)) {
                case.lawyers.push(RankedLawyer {
                    displayed: rank(&positions),
                    legacy,
                    ltr,
                    is_clicked: grade >= Some(Grade::Clicked),
                    groups,
                });
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<ComparedCase> {
        self.cases
    }

    fn shared(&mut self, text: &str) -> Arc<BTreeMap<String, String>> {
        if let Some(known) = self.groups.get(text) {
            return known.clone();
        }
        // The tables' writer writes nothing else.
        let groups: Arc<BTreeMap<String, String>> = Arc::new(serde_json::from_str(text).unwrap_or_default());
        self.groups.insert(text.to_owned(), groups.clone());
        groups
    }
}

/// The first row of a case.
struct Head {
    user: Option<String>,
    micros: i64,
    policy: Option<String>,
    source: Option<String>,
    details: Option<String>,
}

impl Head {
    /// `None`: of a newer program, so that it is evidence of nothing that is known here.
    fn case(self, case_id: Uuid, model_version: String) -> Option<ComparedCase> {
        let user = Uuid::parse_str(&self.user?).ok()?;
        let policy = self.policy.map_or(Some(Policy::None), |name| Policy::from_name(&name))?;
        let source = Source::from_name(&self.source?)?;
        let ts_utc = DateTime::from_timestamp_micros(self.micros)?;
        let details: Details = self.details.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let coins = tosses(&details.drafted_by).into_iter().chain(details.coin).collect();
        let displayed = Displayed {
            case_id,
            user,
            ts_utc,
            policy,
            source,
            model_version: None,
            drafted_by: details.drafted_by,
            coin: details.coin,
            acted: Vec::new(),
        };
        Some(ComparedCase {
            case_id,
            user,
            ts_utc,
            model_version,
            policy,
            arm: displayed.arm(),
            coins,
            lawyers: Vec::new(),
        })
    }
}

fn text(column: &StringArray, row: usize) -> Option<String> {
    column.is_valid(row).then(|| column.value(row).to_owned())
}

/// What `lake/sql/coverage.sql` counts.
pub(crate) fn coverage(facts: &BTreeMap<String, u64>) -> Coverage {
    let fact = |name: &str| facts.get(name).copied().unwrap_or(0);
    Coverage {
        actions: fact("actions"),
        actions_unbound: fact("actions_unbound"),
        actions_never_displayed: fact("actions_never_displayed"),
        actions_without_impression: fact("actions_without_impression"),
        ..Coverage::default()
    }
}
