//! The trial of a challenger whom raw shadow figures do not decide on: they favour whoever was displayed. Its ranking is
//! shown drafted in turn with legacy's, and what clients prefer decides.

use serde_json::json;

use super::step::{At, Said};
use super::{Action, Champion, Display, Exposure, Grounds, Judgement, Phase, State, Transition, TrialFinding};
use crate::outcomes::Verdict;

impl At<'_> {
    /// The challenger is shown to a share of the users, drafted in turn with legacy.
    pub(super) fn trial_begins(&self, judgements: &[Judgement]) -> Option<Transition> {
        let step = self.rules.trial;
        if step.share <= 0.0 || self.state.phase != Phase::Shadow {
            return None;
        }
        let challenger = self.state.challenger.as_ref().filter(|_| self.may_promote())?;
        let judgement = judgements
            .iter()
            .find(|judgement| judgement.trial && !judgement.promote && judgement.model == *challenger)?;
        if self.is_barred(challenger) {
            return None;
        }
        let mut state = State {
            phase: Phase::Trial,
            since: self.now,
            exposure: Exposure {
                share: step.share,
                display: Display::Interleaved,
                hold_out: self.rules.hold_out,
            },
            champion: Some(Champion {
                model: challenger.clone(),
                grounds: Grounds::Trial { as_of: judgement.as_of },
                pinned: false,
                serving_since: None,
            }),
            challenger: None,
            ..self.state.clone()
        };
        // Another test than that of the shadow figures, so another share of the budget.
        state.next_epoch(self.now, false);
        let reason = "raw shadow figures do not decide, so interleaving has to";
        Some(self.to(
            state,
            Said::by_itself(Action::Trial, reason, judgement.evidence.clone()),
        ))
    }

    /// What interleaving says of the model on trial. A better one waits while promotions are on hold; a worse one is sent
    /// back at once, and one that stays undecided for too long as well, so that the next one gets its turn. By a broken
    /// sampler nobody is better.
    pub(super) fn trial_ends(&self, finding: &TrialFinding) -> Option<Transition> {
        let champion = self.state.champion.as_ref()?;
        if self.state.phase != Phase::Trial || !champion.model.is(&finding.model) {
            return None;
        }
        let patience = self.rules.trial.patience;
        let broken = finding.broken_samplers.join(", ");
        let is_over = self.now - self.state.since >= patience;
        let reason = match finding.verdict {
            Verdict::Better if !broken.is_empty() && is_over => {
                format!("what interleaving says cannot be trusted: {broken} did not choose as often as it should")
            }
            Verdict::Better if broken.is_empty() && self.may_promote() => {
                let reason = "interleaving decided: clients prefer it, and contracts are not lost";
                let said = Said::by_itself(Action::Promote, reason, finding.evidence.clone());
                return Some(self.promoted(&champion.model, finding.as_of, said));
            }
            Verdict::Worse => "interleaving decided: clients prefer legacy".to_owned(),
            Verdict::Undecided if is_over => {
                format!("interleaving did not decide within {} days", patience.num_days())
            }
            Verdict::Better | Verdict::Undecided => return None,
        };
        let evidence = json!({ "version": champion.model.version, "trial": finding.evidence });
        let mut state = State {
            phase: Phase::Shadow,
            since: self.now,
            exposure: Exposure::NONE,
            ..self.state.clone()
        };
        state.bar(&champion.model);
        state.next_epoch(self.now, false);
        Some(self.to(state, Said::by_itself(Action::Reject, reason, evidence)))
    }
}
