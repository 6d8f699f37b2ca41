//! Closed cases that both rankers ranked, as they were displayed, and what the log does not cover.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use ranking::evidence::{ComparedCase, Coverage, RankedLawyer};
use ranking::interleaving::tosses;
use ranking::outcomes::Arm;
use ranking::{Grade, Policy, Source, unrewritten};
use uuid::Uuid;

use crate::LakeError;
use crate::days::{texts, whole};
use crate::displayed::Details;

/// Reads what `lake/sql/compared.sql` and `lake/sql/drafted.sql` give: the rows of a case and a model follow each other.
#[derive(Default)]
pub(crate) struct Reader {
    cases: Vec<ComparedCase>,
    /// The case and the model that is read.
    open: Option<(Uuid, String)>,
    /// The lists of the draft that is read.
    draft: Draft,
    /// Equal groups are kept once, by their text.
    groups: HashMap<String, Arc<BTreeMap<String, String>>>,
}

/// What a draft was made from, as far as it was displayed.
#[derive(Default)]
struct Draft {
    legacy: Vec<String>,
    ltr_ranks: Vec<u32>,
}

impl Reader {
    /// Takes rows of compared cases.
    pub(crate) fn add_compared(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        let heads = Heads::of(batch)?;
        let (versions, groups) = (texts(batch, 6)?, texts(batch, 9)?);
        let (legacy, ltr, positions) = (whole(batch, 7)?, whole(batch, 8)?, whole(batch, 10)?);
        let grades = whole(batch, 11)?;
        let (displayed_ids, compared_ids) = (texts(batch, 12)?, texts(batch, 13)?);
        for row in 0..batch.num_rows() {
            let request = |ids: &StringArray| Uuid::parse_str(ids.value(row)).ok().map(unrewritten);
            let is_displayed = request(&displayed_ids) == request(&compared_ids);
            let Some(case_id) = heads.case_id(row).filter(|_| is_displayed) else {
                continue;
            };
            let model_version = versions.value(row).to_owned();
            if self.open.as_ref() != Some(&(case_id, model_version.clone())) {
                let case = heads.case(row, case_id).map(|(case, _)| ComparedCase {
                    model_version: model_version.clone(),
                    has_all: true,
                    ..case
                });
                self.cases.extend(case);
                self.open = Some((case_id, model_version));
            }
            let groups = self.shared(groups.value(row));
            // The rows of a case that cannot be read are of no case.
            if let Some(case) = self.cases.last_mut().filter(|case| case.case_id == case_id) {
                case.lawyers.push(RankedLawyer {
                    displayed: rank(&positions, row),
                    legacy: rank(&legacy, row),
                    ltr: rank(&ltr, row),
                    is_clicked: is_clicked(&grades, row),
                    groups,
                });
            }
        }
        Ok(())
    }

    /// Takes rows of drafts.
    pub(crate) fn add_drafted(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        let heads = Heads::of(batch)?;
        let (lawyers, positions, grades) = (texts(batch, 6)?, whole(batch, 7)?, whole(batch, 8)?);
        for row in 0..batch.num_rows() {
            let Some(case_id) = heads.case_id(row) else { continue };
            if self.open.as_ref().is_none_or(|(open, _)| *open != case_id) {
                self.end_draft();
                let known = heads.case(row, case_id).and_then(|(case, details)| {
                    let draft = Draft {
                        legacy: details.order_before?,
                        ltr_ranks: details.ltr_ranks?,
                    };
                    let model_version = details.ltr_version?;
                    Some((ComparedCase { model_version, ..case }, draft))
                });
                if let Some((case, draft)) = known {
                    self.cases.push(case);
                    self.draft = draft;
                }
                self.open = Some((case_id, String::new()));
            }
            let place = rank(&positions, row);
            let legacy = self.draft.take_legacy(lawyers.value(row));
            let ltr = place.and_then(|place| self.draft.ltr_ranks.get(place as usize - 1));
            if let Some(case) = self.cases.last_mut().filter(|case| case.case_id == case_id) {
                case.lawyers.push(RankedLawyer {
                    displayed: place,
                    legacy,
                    ltr: ltr.copied(),
                    is_clicked: is_clicked(&grades, row),
                    groups: Arc::default(),
                });
            }
        }
        Ok(())
    }

    /// Adds those whom either ranking would have displayed, and the draft did not.
    fn end_draft(&mut self) {
        let draft = std::mem::take(&mut self.draft);
        let Some(case) = self.cases.last_mut().filter(|_| !draft.ltr_ranks.is_empty()) else {
            return;
        };
        let unseen = |legacy, ltr| RankedLawyer {
            displayed: None,
            legacy,
            ltr,
            is_clicked: false,
            groups: Arc::default(),
        };
        let of_legacy = (1..).zip(&draft.legacy).filter(|(_, id)| !id.is_empty());
        case.lawyers.extend(of_legacy.map(|(rank, _)| unseen(Some(rank), None)));
        let of_ltr = (1..=draft.ltr_ranks.len() as u32).filter(|rank| !draft.ltr_ranks.contains(rank));
        case.lawyers.extend(of_ltr.map(|rank| unseen(None, Some(rank))));
    }

    pub(crate) fn finish(mut self) -> Vec<ComparedCase> {
        self.end_draft();
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

impl Draft {
    /// The legacy rank of this lawyer, who is not looked for again.
    fn take_legacy(&mut self, lawyer: &str) -> Option<u32> {
        let at = self.legacy.iter().position(|id| id == lawyer)?;
        self.legacy[at].clear();
        Some(at as u32 + 1)
    }
}

/// The columns that both queries begin with.
struct Heads {
    cases: StringArray,
    times: Int64Array,
    users: StringArray,
    policies: StringArray,
    sources: StringArray,
    details: StringArray,
}

impl Heads {
    fn of(batch: &RecordBatch) -> Result<Heads, LakeError> {
        Ok(Heads {
            cases: texts(batch, 0)?,
            times: whole(batch, 1)?,
            users: texts(batch, 2)?,
            policies: texts(batch, 3)?,
            sources: texts(batch, 4)?,
            details: texts(batch, 5)?,
        })
    }

    fn case_id(&self, row: usize) -> Option<Uuid> {
        Uuid::parse_str(self.cases.value(row)).ok()
    }

    /// The case that begins in this row. `None`: of a newer program, so that it is evidence of nothing that is known here.
    fn case(&self, row: usize, case_id: Uuid) -> Option<(ComparedCase, Details)> {
        let user = Uuid::parse_str(self.users.value(row)).ok()?;
        let policy = text(&self.policies, row).map_or(Some(Policy::None), Policy::from_name)?;
        let source = Source::from_name(self.sources.value(row))?;
        let ts_utc = DateTime::from_timestamp_micros(self.times.value(row))?;
        let details: Option<Details> = text(&self.details, row).and_then(|text| serde_json::from_str(text).ok());
        let details = details.unwrap_or_default();
        let case = ComparedCase {
            case_id,
            user,
            ts_utc,
            model_version: String::new(),
            policy,
            arm: Arm::of(policy, source),
            coins: tosses(&details.drafted_by).into_iter().chain(details.coin).collect(),
            lawyers: Vec::new(),
            has_all: false,
        };
        Some((case, details))
    }
}

fn text(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

/// A rank or a place, from 1.
fn rank(column: &Int64Array, row: usize) -> Option<u32> {
    let known = column.is_valid(row).then(|| column.value(row))?;
    u32::try_from(known).ok().filter(|rank| *rank > 0)
}

fn is_clicked(grades: &Int64Array, row: usize) -> bool {
    let grade = u8::try_from(grades.value(row)).ok().and_then(Grade::from_value);
    grade >= Some(Grade::Clicked)
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
