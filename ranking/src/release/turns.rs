//! Whose turn it is: a challenger that is given up, the one that waited for it, and the nightly model that takes the place
//! of last night's.

use serde_json::json;

use super::step::{At, Said};
use super::{Action, Champion, Grounds, Judgement, ModelId, Phase, State, Transition};
use crate::criterion::all_passed;

impl At<'_> {
    /// A challenger whom more comparisons would not help is given up. Where models do not wait for each other, only in
    /// shadow: while LTR serves, the next night's takes its place anyway.
    pub(super) fn futile(&self, judgements: &[Judgement]) -> Option<Transition> {
        let is_decided_now = match self.state.phase {
            Phase::Shadow => true,
            Phase::Live | Phase::Rung { .. } => self.rules.queues,
            _ => false,
        };
        let challenger = self.challenger().filter(|_| is_decided_now)?;
        let judgement = judgements.iter().find(|judgement| judgement.model == *challenger)?;
        let reason = judgement.futility.clone()?;
        let evidence = json!({ "version": challenger.version, "verdict": judgement.evidence });
        let mut state = State {
            challenger: None,
            ..self.state.clone()
        };
        state.bar(challenger);
        state.next_epoch(self.now, false);
        Some(self.to(state, Said::by_itself(Action::Reject, reason, evidence)))
    }

    /// The model that waited becomes the challenger.
    pub(super) fn turn_of_next(&self) -> Option<Transition> {
        let next = self.state.next.as_ref().filter(|_| self.state.challenger.is_none())?;
        let state = State {
            challenger: Some(next.clone()),
            next: None,
            ..self.state.clone()
        };
        let evidence = json!({ "version": next.version, "sha256": next.sha256 });
        let reason = "the one before it is decided";
        Some(self.to(state, Said::by_itself(Action::Challenger, reason, evidence)))
    }

    /// The pipeline's newest model takes the place of the one that is live, if its guards hold. How long LTR has been live,
    /// and what its outcomes are compared with, goes on: the watch is on the pipeline.
    pub(super) fn replacement(&self, judgements: &[Judgement]) -> Option<Transition> {
        if self.rules.queues || self.state.phase != Phase::Live {
            return None;
        }
        let former = self.state.champion.as_ref()?;
        let challenger = self.challenger()?;
        let judgement = judgements.iter().find(|judgement| judgement.model == *challenger)?;
        let guards = judgement.guards.as_ref().filter(|guards| !guards.is_empty())?;
        if !all_passed(guards) {
            return None;
        }
        let state = State {
            champion: Some(Champion {
                model: challenger.clone(),
                grounds: Grounds::Replacement {
                    of: former.model.version.clone(),
                    as_of: judgement.as_of,
                },
                pinned: false,
                serving_since: None,
            }),
            challenger: None,
            ..self.state.clone()
        };
        let evidence = json!({ "version": challenger.version, "of": former.model.version, "guards": guards });
        let reason = "its guards hold; what its predecessors showed is not shown again";
        Some(self.to(state, Said::by_itself(Action::Replace, reason, evidence)))
    }

    /// The challenger, if something may be decided on it now.
    fn challenger(&self) -> Option<&ModelId> {
        let challenger = self.state.challenger.as_ref().filter(|_| self.may_promote())?;
        (!self.is_barred(challenger)).then_some(challenger)
    }
}
