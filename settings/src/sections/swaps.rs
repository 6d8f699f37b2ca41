//! Swaps of neighbours on purpose, which tell how attention falls with the place.

use ranking::outcomes::ExaminationRules;
use ranking::swaps::{Design, InvalidDesign, Pair};

use crate::section::Rule::{Between, Whole, Words};
use crate::section::{CONFIDENCE, SALT, SHARE, section};

section! {
    /// Swaps of neighbours: for a share of the users, a fair coin decides whether two neighbours of the ranking change
    /// places. Clicks then say how attention falls with the place, which no other log can.
    ["swaps"] Swaps {
        /// Share of the users. Swaps change on purpose what clients see, so that nobody is in unless this is set.
        share: f64 = 0.0, SHARE;
        /// Salt of the hash of the user that decides who is in.
        salt: String = "ltr-swaps-v1".into(), SALT;
        /// The pairs that are swapped, each named by its upper place. Of several, one is chosen by weight for each case.
        pairs: Vec<Pair> = vec![Pair::FIRST], Words("a list of { upper = 1, weight = 1.0 }, with places 1 to 99, each once, and weights above 0 and at most 1000000");
        /// Attention is known once the interval of its exponent is narrower than this.
        width: f64 = 0.8, Between(0.0, 10.0);
        /// Confidence of the interval.
        confidence: f64 = 0.95, CONFIDENCE;
        /// Days whose swaps count. Clients look at another page in another way.
        window_days: u32 = 365, Whole(1, 3_650);
    }
}

impl Swaps {
    /// Who is in, and which pairs are swapped.
    ///
    /// # Errors
    /// A share or pairs that `validate` would refuse.
    pub fn design(&self) -> Result<Design, InvalidDesign> {
        Design::new(&self.salt, self.share, &self.pairs)
    }

    /// When attention is known.
    pub fn examination_rules(&self) -> ExaminationRules {
        ExaminationRules {
            width: self.width,
            confidence: self.confidence,
            share: self.share,
            pairs: self.pairs.clone(),
        }
    }
}
