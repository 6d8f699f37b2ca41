//! The transitions.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    Action, CONTROLLER, Champion, Command, Effect, Exposure, FORM, Findings, Grounds, Health, Hold, Input, Judgement,
    ModelId, Order, Phase, Refused, Rules, State, Suspicion, Transition,
};
use crate::criterion::{all_passed, failed};

/// One step: what `input` changes in `state`. `None`: nothing. After an evaluation that changed
/// something, another one may change more.
///
/// # Errors
/// An order that the state does not allow; a state of a newer program.
pub fn step(state: &State, input: &Input, now: DateTime<Utc>, rules: &Rules) -> Result<Option<Transition>, Refused> {
    if state.form > FORM {
        return Err(Refused::NewerForm { found: state.form });
    }
    // A clock that was set back does not undo time.
    let at = At {
        state,
        now: now.max(state.since),
        rules,
    };
    match input {
        Input::Published(model) => at.published(model, None),
        Input::Ungated(model, name) => at.published(model, Some(name.as_str())),
        Input::Evaluation(findings) => Ok(at.evaluation(findings)),
        Input::Order(order) => at.order(order).map(Some),
        Input::FormerWeight(weight) => Ok(at.former_weight(*weight)),
    }
}

/// A state, and the time and rules by which it changes.
pub(super) struct At<'a> {
    pub(super) state: &'a State,
    pub(super) now: DateTime<Utc>,
    pub(super) rules: &'a Rules,
}

/// What a transition says of itself.
pub(super) struct Said {
    action: Action,
    actor: String,
    reason: String,
    evidence: Value,
}

impl Said {
    pub(super) fn by_itself(action: Action, reason: impl Into<String>, evidence: Value) -> Said {
        Said {
            action,
            actor: CONTROLLER.to_owned(),
            reason: reason.into(),
            evidence,
        }
    }

    fn by_order(action: Action, order: &Order, evidence: Value) -> Said {
        Said {
            action,
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            evidence,
        }
    }
}

impl At<'_> {
    /// A transition to `state`, which differs from the present one in what the caller has set.
    pub(super) fn to(&self, mut state: State, said: Said) -> Transition {
        state.version = self.state.version + 1;
        state.form = state.lowest_form();
        if state.phase != self.state.phase {
            state.since = self.now;
        }
        let served = self.state.serves().then_some(self.state.champion.as_ref()).flatten();
        let serves = state.serves();
        let version = state.version;
        if let Some(champion) = &mut state.champion {
            // At another share the watch counts anew: what held for a few users need not for many.
            let goes_on =
                self.state.exposure == state.exposure && served.is_some_and(|served| served.model.is(&champion.model));
            champion.serving_since = match (serves, served) {
                (false, _) => None,
                (true, Some(served)) if goes_on => served.serving_since,
                (true, _) => Some(version),
            };
        }
        let effects = vec![Effect::Announce(sentence(&state, &said))];
        Transition {
            state,
            action: said.action,
            actor: said.actor,
            reason: said.reason,
            evidence: said.evidence,
            effects,
        }
    }

    /// `bypass`: who published it around the gate.
    fn published(&self, model: &ModelId, bypass: Option<&str>) -> Result<Option<Transition>, Refused> {
        // Evidence is kept by version, so a version that comes back with other content is refused, also
        // if something else was named meanwhile.
        let remembered = self.state.named(&model.version).or_else(|| {
            let mut contents = self.state.contents.iter();
            contents.find(|other| other.version == model.version)
        });
        if let Some(known) = remembered.filter(|known| !known.is(model)) {
            return Err(other_content(known, model));
        }
        match self.state.named(&model.version) {
            Some(known) if known.sha256.is_none() && model.sha256.is_some() => return Ok(Some(self.identified(model))),
            Some(_) => return Ok(None),
            None if self.state.next.as_ref() == Some(model) => return Ok(None),
            None => {}
        }
        let mut state = self.state.clone();
        state.remember(model);
        let mut evidence = json!({ "version": model.version, "sha256": model.sha256 });
        let mut reason = String::new();
        if let Some(name) = bypass {
            evidence["gate_bypassed_as"] = name.into();
            reason = format!("published around the gate, as {name:?}");
        }
        if self.rules.queues && state.challenger.is_some() {
            state.next = Some(model.clone());
            return Ok(Some(self.to(state, Said::by_itself(Action::Queue, reason, evidence))));
        }
        state.challenger = Some(model.clone());
        Ok(Some(
            self.to(state, Said::by_itself(Action::Challenger, reason, evidence)),
        ))
    }

    /// A model that a former program named without its content has been loaded: from now on its name
    /// stands for this content.
    fn identified(&self, model: &ModelId) -> Transition {
        let mut state = self.state.clone();
        let champion = state.champion.as_mut().map(|champion| &mut champion.model);
        for known in champion.into_iter().chain(state.challenger.as_mut()) {
            if known.version == model.version {
                known.clone_from(model);
            }
        }
        state.remember(model);
        let evidence = json!({ "version": model.version, "sha256": model.sha256 });
        self.to(state, Said::by_itself(Action::Identify, "", evidence))
    }

    /// The first of these that applies: rollback, end of the cool-down, suspicion, end of a trial, promotion, beginning
    /// of a trial, replacement, rejection, the turn of the model that waits, climb.
    fn evaluation(&self, findings: &Findings) -> Option<Transition> {
        let health = findings.health.as_ref().and_then(|health| self.unhealthy(health));
        health
            .or_else(|| self.cooled_down())
            .or_else(|| self.suspicion(findings.suspicion.as_ref()?))
            .or_else(|| self.trial_ends(findings.trial.as_ref()?))
            .or_else(|| self.promotion(&findings.judgements))
            .or_else(|| self.trial_begins(&findings.judgements))
            .or_else(|| self.replacement(&findings.judgements))
            .or_else(|| self.futile(&findings.judgements))
            .or_else(|| self.turn_of_next())
            .or_else(|| self.climb(findings))
    }

    fn unhealthy(&self, health: &Health) -> Option<Transition> {
        let champion = self.state.champion.as_ref().filter(|_| self.state.serves())?;
        if !is_of(champion, health) || all_passed(&health.criteria) {
            return None;
        }
        let reason = format!("technical watch: {}", failed(&health.criteria).join(", "));
        let evidence = json!({ "version": champion.model.version, "criteria": health.criteria });
        Some(self.rolled_back(Said::by_itself(Action::Rollback, reason, evidence)))
    }

    fn cooled_down(&self) -> Option<Transition> {
        let Phase::RolledBack { until } = self.state.phase else {
            return None;
        };
        if self.now < until {
            return None;
        }
        let state = State {
            phase: Phase::Shadow,
            ..self.state.clone()
        };
        Some(self.to(state, Said::by_itself(Action::CoolDownOver, "", Value::Null)))
    }

    fn suspicion(&self, (model, suspicion): &(ModelId, Suspicion)) -> Option<Transition> {
        let champion = self.state.champion.as_ref().filter(|_| self.state.serves())?;
        if !champion.model.is(model) {
            return None;
        }
        let is_suspected = self.state.phase == Phase::Suspected;
        let to = |phase, exposure| State {
            phase,
            exposure,
            ..self.state.clone()
        };
        match suspicion {
            Suspicion::Raised(evidence) if self.state.phase == Phase::Live => {
                let said = Said::by_itself(Action::Suspect, "outcomes fell", evidence.clone());
                Some(self.to(to(Phase::Suspected, self.rules.confirm), said))
            }
            Suspicion::Cleared(evidence) if is_suspected => {
                let said = Said::by_itself(Action::Clear, "the suspicion was not confirmed", evidence.clone());
                Some(self.to(to(Phase::Live, self.live()), said))
            }
            Suspicion::Confirmed(evidence) => {
                let reason = "outcomes fell, which was confirmed";
                Some(self.rolled_back(Said::by_itself(Action::Rollback, reason, evidence.clone())))
            }
            Suspicion::Raised(_) | Suspicion::Cleared(_) => None,
        }
    }

    /// Whether a model may be promoted or climb by itself.
    pub(super) fn may_promote(&self) -> bool {
        let cools_down = matches!(self.state.phase, Phase::RolledBack { .. });
        let is_pinned = self.state.champion.as_ref().is_some_and(|champion| champion.pinned) && self.state.serves();
        let is_suspected = self.state.phase == Phase::Suspected;
        self.rules.automatic && self.state.hold.is_none() && !cools_down && !is_pinned && !is_suspected
    }

    fn promotion(&self, judgements: &[Judgement]) -> Option<Transition> {
        // A trial is not disturbed: the next challenger waits for its end.
        let candidate = match self.state.phase {
            Phase::Trial => self.state.champion.as_ref().map(|champion| &champion.model),
            _ => self.state.challenger.as_ref(),
        };
        let candidate = candidate.filter(|_| self.may_promote())?;
        let judgement = judgements
            .iter()
            .find(|judgement| judgement.promote && judgement.model == *candidate)?;
        if self.is_barred(candidate) {
            return None;
        }
        let said = Said::by_itself(Action::Promote, "every criterion holds", judgement.evidence.clone());
        Some(self.promoted(candidate, judgement.as_of, said))
    }

    pub(super) fn is_barred(&self, model: &ModelId) -> bool {
        self.state.barred.contains(&model.version)
    }

    /// The model serves: on the ladder's first rung, or live. It takes the place of a model that
    /// is live or climbing, so that LTR's share stays.
    pub(super) fn promoted(&self, model: &ModelId, as_of: DateTime<Utc>, said: Said) -> Transition {
        let (phase, exposure) = match (&self.state.phase, self.rules.ladder.first()) {
            (Phase::Live, _) => (Phase::Live, self.live()),
            (Phase::Rung { index }, _) => (Phase::Rung { index: *index }, self.state.exposure),
            (_, Some(_)) => self.rung(0),
            (_, None) => (Phase::Live, self.live()),
        };
        let mut state = State {
            phase,
            since: self.now,
            exposure,
            champion: Some(Champion {
                model: model.clone(),
                grounds: Grounds::Verdict { as_of },
                pinned: false,
                serving_since: None,
            }),
            challenger: self.state.challenger.clone().filter(|challenger| challenger != model),
            ..self.state.clone()
        };
        state.next_epoch(self.now, true);
        self.to(state, said)
    }

    /// The next rung, once this one's time has passed, its criteria hold, and its users were served well:
    /// a kill switch must not let a model climb unseen. A rung that is no longer configured is not left
    /// by itself.
    fn climb(&self, findings: &Findings) -> Option<Transition> {
        let Phase::Rung { index } = self.state.phase else {
            return None;
        };
        let champion = self.state.champion.as_ref().filter(|_| self.may_promote())?;
        let health = findings.health.as_ref().filter(|health| is_of(champion, health))?;
        if !health.is_enough || !all_passed(&health.criteria) {
            return None;
        }
        let judgements = &findings.judgements;
        let judgement = judgements.iter().find(|judgement| judgement.model.is(&champion.model));
        let rung = self.rules.ladder.get(index)?;
        let hours = (self.now - self.state.since).num_milliseconds() as f64 / 3_600_000.0;
        let holds = |name: &String| {
            let criteria = judgement.map_or(&[][..], |judgement| &judgement.criteria);
            criteria
                .iter()
                .any(|criterion| criterion.name == name.as_str() && criterion.passed)
        };
        if hours < rung.min_hours || !rung.criteria.iter().all(holds) {
            return None;
        }
        let evidence =
            json!({ "from": rung, "hours": hours, "criteria": judgement.map(|judgement| &judgement.criteria) });
        let (phase, exposure) = if index + 1 < self.rules.ladder.len() {
            self.rung(index + 1)
        } else {
            (Phase::Live, self.live())
        };
        let state = State {
            phase,
            exposure,
            ..self.state.clone()
        };
        Some(self.to(state, Said::by_itself(Action::Climb, "", evidence)))
    }

    fn rung(&self, index: usize) -> (Phase, Exposure) {
        let rung = &self.rules.ladder[index];
        let exposure = Exposure {
            share: rung.share,
            display: rung.display,
            // As when live: who is held out sees LTR on no rung either.
            hold_out: self.rules.hold_out,
        };
        (Phase::Rung { index }, exposure)
    }

    fn live(&self) -> Exposure {
        Exposure {
            hold_out: self.rules.hold_out,
            ..Exposure::whole(1.0)
        }
    }

    fn rolled_back(&self, said: Said) -> Transition {
        let mut state = State {
            phase: Phase::RolledBack {
                until: self.now + self.rules.cool_down,
            },
            since: self.now,
            exposure: Exposure::NONE,
            ..self.state.clone()
        };
        if let Some(champion) = &mut state.champion {
            champion.pinned = false;
        }
        if let Some(champion) = self.state.champion.as_ref().filter(|_| self.state.serves()) {
            state.bar(&champion.model);
            state.next_epoch(self.now, false);
        }
        self.to(state, said)
    }

    fn order(&self, order: &Order) -> Result<Transition, Refused> {
        match &order.command {
            Command::Promote(judgement) => self.promote(judgement, order),
            // Always a transition: a promotion that is being written meanwhile then fails.
            Command::Rollback { blind } => {
                let evidence = if *blind { json!({ "blind": true }) } else { Value::Null };
                Ok(self.rolled_back(Said::by_order(Action::Rollback, order, evidence)))
            }
            Command::Hold(on) => Ok(self.hold(*on, order)),
            Command::Pin(model) => self.forced(model, 100, Action::Pin, order),
            Command::Weight { percent, model } => {
                let champion = self.state.champion.as_ref().map(|champion| &champion.model);
                match (percent, model.as_ref().or(champion)) {
                    (0, _) => Ok(self.without_ltr(order)),
                    (_, Some(model)) => self.forced(model, *percent, Action::Weight, order),
                    (_, None) => Err(Refused::NameVersion),
                }
            }
        }
    }

    fn promote(&self, judgement: &Judgement, order: &Order) -> Result<Transition, Refused> {
        let challenger = self.state.challenger.as_ref().ok_or(Refused::NoChallenger)?;
        if *challenger != judgement.model {
            return Err(Refused::OtherChallenger {
                judged: judgement.model.version.clone(),
                challenger: challenger.version.clone(),
            });
        }
        if !judgement.promote {
            return Err(Refused::Verdict(failed(&judgement.criteria).join(", ")));
        }
        if self.is_barred(challenger) {
            return Err(Refused::Barred(challenger.version.clone()));
        }
        let said = Said::by_order(Action::Promote, order, judgement.evidence.clone());
        Ok(self.promoted(challenger, judgement.as_of, said))
    }

    fn hold(&self, on: bool, order: &Order) -> Transition {
        let hold = on.then(|| Hold {
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            since: self.now,
        });
        let action = if on { Action::Hold } else { Action::Resume };
        let mut state = State {
            hold,
            ..self.state.clone()
        };
        if !on && let Some(champion) = &mut state.champion {
            champion.pinned = false;
        }
        // An operator's share of nothing is what shadow is.
        if !on && state.phase == Phase::Manual && !state.serves() {
            state.phase = Phase::Shadow;
        }
        self.to(state, Said::by_order(action, order, Value::Null))
    }

    /// A model serves because an operator named it, or because it was on record as champion.
    fn forced(&self, model: &ModelId, percent: u8, action: Action, order: &Order) -> Result<Transition, Refused> {
        let known = self.state.named(&model.version).filter(|known| known.is(model));
        let Some(known) = known else {
            return Err(self.unknown_version(model));
        };
        let is_champion = self.state.champion.as_ref().filter(|champion| champion.model.is(known));
        let evidence = json!({ "version": known.version, "from": self.state.exposure.percent(), "to": percent });
        let mut state = self.state.clone();
        state.champion = Some(Champion {
            model: known.clone(),
            grounds: match is_champion {
                Some(Champion { grounds, .. })
                    if action == Action::Weight && !matches!(grounds, Grounds::Trial { .. }) =>
                {
                    grounds.clone()
                }
                _ => Grounds::Operator {
                    actor: order.actor.clone(),
                },
            },
            pinned: action == Action::Pin,
            serving_since: None,
        });
        if is_champion.is_none() {
            state.challenger = None;
        }
        state.barred.retain(|version| *version != known.version);
        if action == Action::Pin {
            (state.phase, state.exposure) = (Phase::Live, self.live());
        } else {
            (state.phase, state.exposure) = (Phase::Manual, Exposure::whole(f64::from(percent) / 100.0));
            state.hold = Some(self.hold_of_weight(order));
        }
        Ok(self.to(state, Said::by_order(action, order, evidence)))
    }

    fn without_ltr(&self, order: &Order) -> Transition {
        let state = State {
            phase: Phase::Manual,
            exposure: Exposure::NONE,
            hold: Some(self.hold_of_weight(order)),
            ..self.state.clone()
        };
        let evidence = json!({ "from": self.state.exposure.percent(), "to": 0 });
        self.to(state, Said::by_order(Action::Weight, order, evidence))
    }

    /// A share chosen by hand stays until the operator gives the wheel back.
    fn hold_of_weight(&self, order: &Order) -> Hold {
        Hold {
            actor: order.actor.clone(),
            reason: if order.reason.is_empty() {
                "a share was set by hand".to_owned()
            } else {
                order.reason.clone()
            },
            since: self.now,
        }
    }

    fn unknown_version(&self, model: &ModelId) -> Refused {
        if let Some(known) = self.state.named(&model.version) {
            return other_content(known, model);
        }
        let champion = self.state.champion.as_ref().map(|champion| &champion.model);
        let known: Vec<&str> = [champion, self.state.challenger.as_ref()]
            .into_iter()
            .flatten()
            .map(|model| &*model.version)
            .collect();
        Refused::UnknownVersion {
            version: model.version.clone(),
            allowed: if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            },
        }
    }

    /// A program of the version before knows no state machine, but its operators' rollbacks count.
    fn former_weight(&self, weight: u8) -> Option<Transition> {
        if weight >= self.state.exposure.percent() {
            return None;
        }
        let said = Said {
            action: Action::Rollback,
            actor: "former program".to_owned(),
            reason: format!("a gateway of the version before set the weight to {weight} %"),
            evidence: json!({ "from": self.state.exposure.percent(), "to": weight }),
        };
        Some(self.rolled_back(said))
    }
}

/// Whether this was counted while the champion served as it does now.
fn is_of(champion: &Champion, health: &Health) -> bool {
    champion.model.is(&health.model) && champion.serving_since == Some(health.serving_since)
}

fn other_content(on_record: &ModelId, found: &ModelId) -> Refused {
    Refused::OtherContent {
        version: found.version.clone(),
        on_record: on_record.sha256.clone().unwrap_or_default(),
        found: found.sha256.clone().unwrap_or_default(),
    }
}

/// The first transition on record: the state machine takes over what a former program left, or begins
/// with nothing.
pub fn begin(left: State, now: DateTime<Utc>) -> Transition {
    let said = Said::by_itself(Action::Begin, "", Value::Null);
    let state = State {
        version: 1,
        since: now,
        ..left
    };
    Transition {
        effects: vec![Effect::Announce(sentence(&state, &said))],
        state,
        action: said.action,
        actor: said.actor,
        reason: said.reason,
        evidence: said.evidence,
    }
}

/// The transition in one sentence.
fn sentence(state: &State, said: &Said) -> String {
    let champion = state
        .champion
        .as_ref()
        .map_or("no model", |champion| &champion.model.version);
    let share = state.exposure.percent();
    let what = match said.action {
        Action::Begin => "the release controller took over".to_owned(),
        Action::Challenger => {
            let version = state.challenger.as_ref().map_or("none", |model| &model.version);
            format!("{version} is compared in shadow")
        }
        Action::Queue => {
            let version = |model: &Option<ModelId>| model.as_ref().map_or("none", |model| &model.version).to_owned();
            format!(
                "{} waits until {} is decided",
                version(&state.next),
                version(&state.challenger)
            )
        }
        Action::Replace => format!("{champion} took the place of last night's model of the same pipeline"),
        Action::Identify => "the content of a model of the former program is known".to_owned(),
        Action::Promote => format!("{champion} was promoted and answers {share} % of the users"),
        Action::Trial => format!("{champion} is tried: {share} % of the users see it drafted in turn with legacy"),
        Action::Reject => match said.evidence["version"].as_str() {
            Some(version) => format!("{version} was rejected"),
            None => "the challenger was rejected".to_owned(),
        },
        Action::Climb => format!("{champion} answers {share} % of the users now"),
        Action::Suspect => format!("{champion} is under suspicion and answers {share} % of the users"),
        Action::Clear => format!("{champion} is cleared and answers {share} % of the users"),
        Action::Rollback => "ROLLBACK: legacy answers everybody".to_owned(),
        Action::CoolDownOver => "the cool-down is over; models can be promoted again".to_owned(),
        Action::Hold => "promotions are on hold".to_owned(),
        Action::Resume => "promotions go on".to_owned(),
        Action::Pin => format!("{champion} is pinned and answers {share} % of the users"),
        Action::Weight => format!("{champion} answers {share} % of the users by hand"),
    };
    let reason = if said.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", said.reason)
    };
    format!("{what} ({}{reason})", said.actor)
}
