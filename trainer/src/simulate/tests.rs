use chrono::NaiveDate;
use ranking::Weights;

use super::client::Shown;
use super::*;

/// The events of some cases, as they are posted where everybody is shown the order of the request.
fn events(seed: u64, truth: Truth, attention: Attention) -> String {
    let market = Market::new(seed);
    let day = NaiveDate::from_ymd_opt(2026, 9, 1).unwrap();
    let legacy = Weights::new(&[1.0; 11]).unwrap();
    let mut deliveries = Deliveries::default();
    for index in 0..40 {
        let case = market.case(seed, day, index);
        let utility = |offer: &market::Offer| {
            let quality = market.lawyers[offer.lawyer].quality;
            truth.utility(&offer.features, quality, &legacy, client::Drift::NONE)
        };
        let shown = (1..).zip(&case.offers).map(|(rank_pos, offer)| Shown {
            lawyer: offer.lawyer,
            rank_pos,
            utility: utility(offer),
        });
        let rng = &mut chance::stream(seed, "client of", &case.case_id.to_string(), 0);
        let shown: Vec<Shown> = shown.collect();
        for act in respond(rng, case.opened_at, &shown, attention, client::SIGNS) {
            deliveries.plan(&market, &case, &act);
        }
    }
    let events = deliveries.take(None, usize::MAX);
    let lines: Vec<String> = events
        .iter()
        .map(|delivery| format!("{} {}", delivery.at, delivery.event))
        .collect();
    lines.join("\n")
}

#[test]
fn a_seed_gives_the_events_that_it_always_gave() {
    let of = |truth, attention| crate::files::sha256(events(7, truth, attention).as_bytes());
    let found = [
        of(Truth::Interactions, Attention::Patient),
        of(Truth::Legacy, Attention::Eta(1.0)),
    ];
    assert_eq!(
        found,
        [
            "0f6687364eaec9c96a09718eec1ba3873d7060f209338c4128d3aed117c59b07",
            "9e93f94eda2deac2ffb842b26e50579df01d970f1d342230a2b896043e9d9703"
        ]
    );
}
