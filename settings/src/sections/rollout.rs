//! Shadow comparisons, and who serves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use ranking::Criteria;
use ranking::outcomes::{TrialRules, WatchRules};
use ranking::release::replacement::ReplacementRules;
use ranking::release::watch::Limits;
use ranking::release::{Display, Exposure, Rules, Rung, TrialStep};
use ranking::verdict::Futility;

use crate::section::Rule::{Between, Flag, Number, OneOf, Whole, Words};
use crate::section::{CONFIDENCE, MILLISECONDS, RESAMPLES, ROWS, SALT, SEED, SHARE, choice, section, section_of};

section! {
    /// Which requests the challenger scores in shadow, without serving.
    ["shadow"] Shadow {
        /// Share of the requests.
        fraction: f64 = 0.10, SHARE;
        /// Salt of the sampling hash.
        salt: String = "ltr-shadow-v1".into(), SALT;
    }
}

section! {
    /// Who serves: how a model gets its share of the users, and how it loses it.
    ["rollout"] Rollout {
        /// Salt of the hash of the user that decides who gets a share below 100 %.
        salt: String = "ltr-rollout-v1".into(), SALT;
        /// Share of the users of live traffic who stay with the legacy ranking, for comparison.
        hold_out: f64 = 0.05, Number(0.0, 0.5);
        /// Salt of the hash of the user that decides who is held out.
        hold_out_salt: String = "ltr-hold-out-v1".into(), SALT;
        /// Steps between the verdict and live traffic; none: live at once.
        ladder: Vec<Rung> = Vec::new(), Words("a list of { share = 0.05, display = \"whole\" or \"interleaved\", min_hours = 24.0, criteria = [\"latency\"] }, with shares above 0 and at most 1 that rise, hours of at least 0, and names of criteria of the verdict");
        /// Whose comparisons in shadow a verdict counts: pipeline (all models since the last one that was rolled back or
        /// rejected: each night's is the same rules on newer data) or model (those of the challenger alone).
        unit: Unit = Unit::Pipeline, OneOf(Unit::NAMES);
        /// Days of comparisons after which a challenger that is still undecided is given up, so that the next one gets its
        /// turn.
        patience_days: u32 = 90, Whole(1, 3_650);
        /// Whether a model is promoted by itself when its verdict allows it. Rollbacks always happen by
        /// themselves.
        automatic: bool = true, Flag;
        /// How long after a rollback no model is promoted by itself.
        cool_down_hours: f64 = 24.0, Number(0.0, 8760.0);
        /// Share of the users who are shown a suspected model's ranking, drafted in turn with legacy's, until the suspicion
        /// is confirmed or cleared.
        confirm_share: f64 = 0.9, Between(0.0, 1.0);
        /// Seconds between two evaluations of the evidence and of the technical watch.
        evaluate_seconds: u32 = 10, Whole(1, 3600);
        /// Interval between two looks at the state on record, in milliseconds. With PostgreSQL gateways
        /// also hear of each change at once.
        poll_ms: u64 = 400, Whole(20, 10_000);
        /// For how long the gateway that evaluates holds its lease; another takes over after that.
        lease_seconds: u32 = 10, Whole(2, 300);
        /// This gateway's name in the fleet; empty: its host name and port.
        gateway: String = String::new(), Words("text of at most 100 characters, or empty");
        /// Directory that Envoys watch: the gateway writes the champion's filter and ecds.json there, from
        /// ecds.template.json; empty: none.
        edge_dir: PathBuf = PathBuf::new(), Words("a path, or empty");
    } sections {
        /// What the shadow evidence must show before a promotion.
        criteria: Criteria = Criteria::default();
        /// How interleaving decides on a model that shadow evidence leaves undecided.
        trial: Trial = Trial::default();
        /// When a model that serves is rolled back for technical reasons.
        watch: Watch = Watch::default();
        /// When a model that serves is suspected of doing worse than it did.
        relevance: Relevance = Relevance::default();
        /// When a night's model takes the place of the one that is live.
        replacement: Replacement = Replacement::default();
    }
}

choice! {
    /// Whose comparisons a verdict counts.
    Unit {
        /// Of all models since the last one that was rolled back or rejected.
        Pipeline = "pipeline";
        /// Of the challenger alone.
        Model = "model";
    }
}

section! {
    /// The technical watch over the model that serves, pooled over the fleet: a breach rolls it back.
    ["rollout.watch"] Watch {
        /// Maximum of the 95th percentile of the scoring time.
        latency_p95_ms: f64 = 25.0, MILLISECONDS;
        /// Maximum share of the requests that legacy answers in LTR's place.
        fallback_rate: f64 = 0.02, SHARE;
        /// Maximum share of the gateways whose breaker is open, or that cannot load the model.
        broken_gateways: f64 = 0.02, SHARE;
        /// Latency and fallbacks of fewer requests decide nothing.
        min_requests: u64 = 200, Whole(20, 100_000);
        /// Seconds that a model may take to arrive at a gateway that never had it, before it counts as lost.
        arrival_seconds: u32 = 30, Whole(0, 3_600);
    }
}

section! {
    /// The trial of a model that meets all criteria but those of relevance, which shadow figures cannot decide: its ranking
    /// is shown drafted in turn with legacy's, and clients decide.
    ["rollout.trial"] Trial {
        /// Share of the users who are shown both rankings; the others are what contracts are compared with. 0: no trials.
        share: f64 = 0.5, Number(0.0, 0.95);
        /// How many contracts a user interleaving may cost at most.
        margin: f64 = 0.1, Number(0.0, 0.9);
        /// Days after which an undecided trial ends, so that the next model gets its turn.
        patience_days: u32 = 60, Whole(1, 3_650);
        /// Confidence of each decision, however often one looks.
        confidence: f64 = 0.95, CONFIDENCE;
    }
}

section! {
    /// The watch on relevance: a fall of the contracts of those whom LTR answers raises a suspicion, and interleaving
    /// decides it.
    ["rollout.relevance"] Relevance {
        /// Number of users whose contracts are the usual rate; fewer raise no suspicion.
        baseline_users: u64 = 700, Whole(30, 1_000_000_000);
        /// A smaller fall of the share of users with a contract is none.
        margin: f64 = 0.02, Number(0.0, 0.9);
        /// Share of the years with a suspicion although nothing changed, at most.
        false_alarms: f64 = 0.05, Between(0.0, 1.0);
        /// Days after which a suspicion is decided by what is most likely, if nothing decided it before.
        confirm_days: u64 = 10, Whole(1, 365);
    }
}

section! {
    /// With the unit pipeline, the night's model takes the place of the one that is live, if the offline gate found it no
    /// worse on the same test cases and the comparisons in shadow show that it ranks much alike.
    ["rollout.replacement"] Replacement {
        /// Least requests that both ranked.
        min_requests: u64 = 200, Whole(20, 1_000_000_000);
        /// Least share of the live model's first 3 who are among the other's.
        top3_overlap: f64 = 0.6, SHARE;
        /// Largest mean distance of a lawyer's two scores, each scaled to 0 to 1 within the case.
        score_shift: f64 = 0.15, SHARE;
    }
}

impl Watch {
    /// How long a model may take to arrive at a gateway that never had it.
    pub fn arrival(&self) -> Duration {
        Duration::from_secs(self.arrival_seconds.into())
    }
}

impl Rollout {
    /// The rules of the state machine.
    pub fn rules(&self) -> Rules {
        Rules {
            ladder: self.ladder.clone(),
            hold_out: self.hold_out,
            trial: TrialStep {
                share: self.trial.share,
                patience: TimeDelta::days(self.trial.patience_days.into()),
            },
            confirm: Exposure {
                share: self.confirm_share,
                display: Display::Interleaved,
                hold_out: self.hold_out,
            },
            cool_down: TimeDelta::milliseconds((self.cool_down_hours * 3_600_000.0) as i64),
            automatic: self.automatic,
            queues: self.unit == Unit::Model,
        }
    }

    /// When a challenger is given up.
    pub fn futility(&self) -> Futility {
        Futility {
            has_trials: self.trial.share > 0.0,
            patience_days: self.patience_days.into(),
        }
    }

    /// When a night's model takes the place of the one that is live.
    pub fn replacement_rules(&self) -> ReplacementRules {
        ReplacementRules {
            min_requests: self.replacement.min_requests,
            top3_overlap: self.replacement.top3_overlap,
            score_shift: self.replacement.score_shift,
        }
    }

    /// What interleaving must show.
    pub fn trial_rules(&self) -> TrialRules {
        TrialRules {
            confidence: self.trial.confidence,
            level: 1.0 - self.trial.confidence,
            margin: self.trial.margin,
        }
    }

    /// When outcomes raise a suspicion, and how it ends.
    pub fn relevance_rules(&self) -> WatchRules {
        WatchRules {
            baseline_users: self.relevance.baseline_users,
            margin: self.relevance.margin,
            false_alarms: self.relevance.false_alarms,
            confirm_days: self.relevance.confirm_days,
        }
    }

    /// The limits of the technical watch.
    pub fn watch_limits(&self) -> Limits {
        Limits {
            latency_p95_ms: self.watch.latency_p95_ms,
            fallback_rate: self.watch.fallback_rate,
            broken_gateways: self.watch.broken_gateways,
            min_requests: self.watch.min_requests,
            window_seconds: f64::from(self.evaluate_seconds),
        }
    }

    /// The pause between two looks at the state on record.
    pub fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }

    /// The pause between two evaluations.
    pub fn evaluate(&self) -> Duration {
        Duration::from_secs(self.evaluate_seconds.into())
    }

    /// The time that a lease lasts.
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.into())
    }

    /// What is wrong with the ladder, in words.
    pub(crate) fn ladder_fault(&self) -> Option<String> {
        const CRITERIA: [&str; 6] = ["duration", "users", "hit3", "mrr_gap", "fair_gap", "latency"];
        let mut below = 0.0;
        for (at, rung) in (1..).zip(&self.ladder) {
            if !(rung.share > below && rung.share <= 1.0) {
                return Some(format!("rung {at}: the share is {}", rung.share));
            }
            if !(0.0..=8760.0).contains(&rung.min_hours) {
                return Some(format!("rung {at}: min_hours is {}", rung.min_hours));
            }
            let unknown = rung.criteria.iter().find(|name| !CRITERIA.contains(&name.as_str()));
            if let Some(name) = unknown {
                return Some(format!(
                    "rung {at}: there is no criterion {name:?}; known: {}",
                    CRITERIA.join(", ")
                ));
            }
            below = rung.share;
        }
        None
    }
}

impl Rollout {
    /// The directory where Envoys watch for the filter, if configured.
    pub fn edge_dir(&self) -> Option<&Path> {
        let set = !self.edge_dir.as_os_str().is_empty();
        set.then_some(&self.edge_dir)
    }
}

section_of! {
    /// Shadow evidence required for a promotion.
    ["rollout.criteria"] CRITERIA: Criteria {
        /// Minimum days between the first and the last case; this or min_cases is enough.
        min_days, Number(0.0, 3650.0);
        /// Minimum number of compared cases.
        min_cases, Whole(1, 1_000_000_000);
        /// Minimum number of users with a contract.
        min_users, Whole(1, 1_000_000_000);
        /// Minimum gain in Hit@3 over legacy, as a share.
        hit3_gain, Number(-1.0, 1.0);
        /// Confidence that the MRR gap is above 0, however often one looks, and level of the intervals.
        confidence, CONFIDENCE;
        /// Maximum excess of the fair gap over legacy's.
        fair_gap_worsening, SHARE;
        /// The 95th percentile of the scoring time must be below this.
        latency_p95_ms, MILLISECONDS;
        /// Bootstrap draws.
        resamples, RESAMPLES;
        /// Seed of the bootstrap.
        seed, SEED;
        /// Groups with fewer rows are left out of the fair gap.
        fair_min_rows, ROWS;
    }
}
