//! What the closed days say of position bias, for `GET /rollout`. Nothing is decided by it here.

use chrono::Days;
use ranking::outcomes::examination;
use serde_json::json;
use store::StoreError;

use super::controller::Controller;
use super::outcomes::readable;
use super::shown::Examined;

impl Controller {
    /// Looks at the closed days, if there are new ones or it is another day.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub(super) async fn refresh_examination(&self) -> Result<(), StoreError> {
        let today = self.now().date_naive();
        let made_from = (self.store.label_generation().await?, today);
        let known = self.snapshot.0.lock().examined.as_ref().map(|known| known.made_from);
        if known == Some(made_from) {
            return Ok(());
        }
        let rules = &self.config.examination;
        let window = Days::new(self.config.examination_days.into());
        let from = today.checked_sub_days(window).unwrap_or(today);
        let days = readable(self.store.outcome_days(from).await?);
        let found = examination(&days, rules);
        // The day that is needed closes as long after it as the last closed one did.
        let missing = found.days_missing.filter(|_| !found.identified);
        let known_on = missing.and_then(|missing| today.checked_add_days(Days::new(missing)));
        let closed = json!({
            "from": days.first().map(|day| day.date), "until": days.last().map(|day| day.date), "days": days.len(),
        });
        let shown = json!({
            "eta": found.eta, "standard_error": found.standard_error, "width": rules.width,
            "confidence": rules.confidence, "identified": found.identified, "known_on": known_on,
            "reason": found.reason, "share": rules.share, "swaps": found.swaps, "drafts": found.drafts,
            "pairs": found.pairs, "closed": closed,
        });
        self.snapshot.0.lock().examined = Some(Examined {
            made_from,
            eta: found.eta,
            identified: found.identified,
            shown,
        });
        Ok(())
    }
}
