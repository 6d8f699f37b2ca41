//! Whether what was acted on was shown.

use ranking::events::{Action, ActionKind};
use store::{Acted, Record, Store};
use uuid::Uuid;

use crate::database::*;

/// Whether these lawyers at these places were shown in the case, to either of the users.
pub(crate) async fn was_shown(
    store: &Store,
    case: u128,
    users: [Uuid; 2],
    places: &[(&str, u32)],
) -> Vec<Option<bool>> {
    let actions: Vec<Action> = places
        .iter()
        .map(|(lawyer, rank)| Action::new(ActionKind::ClickProfile, *lawyer, *rank))
        .collect();
    let acted = actions.iter().map(|action| Acted {
        case_id: Uuid::from_u128(case),
        users,
        action,
    });
    store.was_shown(&acted.collect::<Vec<_>>()).await.unwrap()
}

pub(crate) async fn an_action_is_on_what_was_shown_to_its_user_at_its_place_and_on_nothing_else(database: Database) {
    let store = database.open().await;
    let events = [
        impression(1, 5, day(0), &["adv_1", "adv_2"]),
        impression(2, 5, day(1), &["adv_3"]),
        impression(3, 6, day(1), &["adv_4"]),
        click(4, 5, day(1), "adv_5"),
    ];
    store.append(&events.map(Record::Event)).await.unwrap();
    let (nobody, pseudonym) = (Uuid::from_u128(8), USER);
    for (case, lawyer, rank, shown) in [
        (5, "adv_1", 1, true),
        (5, "adv_2", 2, true),
        (5, "adv_3", 1, true),
        (5, "adv_1", 2, false),
        (5, "adv_2", 4_294_967_295, false),
        (5, "adv_4", 1, false),
        (5, "adv_5", 1, false),
        (7, "adv_1", 1, false),
    ] {
        let found = was_shown(&store, case, [nobody, pseudonym], &[(lawyer, rank)]).await;
        assert_eq!(found, [Some(shown)], "{case} {lawyer} {rank}");
    }
    assert_eq!(was_shown(&store, 5, [nobody; 2], &[("adv_1", 1)]).await, [Some(false)]);
    assert_eq!(was_shown(&store, 5, [USER; 2], &[]).await, []);

    let mut action = Action::new(ActionKind::ClickProfile, "adv_1", 1);
    for (request, shown) in [(1, true), (2, false)] {
        action.request_id = Some(Uuid::from_u128(request));
        let acted = Acted {
            case_id: Uuid::from_u128(5),
            users: [USER; 2],
            action: &action,
        };
        assert_eq!(store.was_shown(&[acted]).await.unwrap(), [Some(shown)], "{request}");
    }
}

pub(crate) async fn a_case_that_was_ranked_very_often_is_looked_through_in_part(database: Database) {
    let store = database.open().await;
    let mut records: Vec<Record> = (0..1_000)
        .map(|id| Record::Event(impression(id, 5, day(0), &["adv_1"])))
        .collect();
    records.push(Record::Event(impression(1_000, 6, day(0), &["adv_2"])));
    records.push(Record::Event(impression(1_001, 5, day(0), &["adv_9"])));
    store.append(&records).await.unwrap();
    let found = was_shown(&store, 5, [USER; 2], &[("adv_1", 1), ("adv_2", 1), ("adv_9", 1)]).await;
    assert_eq!(found, [Some(true), None, None], "the last ones are not read");
    let found = was_shown(&store, 6, [USER; 2], &[("adv_2", 1), ("adv_1", 1)]).await;
    assert_eq!(found, [Some(true), Some(false)], "another case is not touched by it");
    // Nor is another user's look at the same case.
    let found = was_shown(&store, 5, [Uuid::from_u128(8); 2], &[("adv_2", 1)]).await;
    assert_eq!(found, [Some(false)]);
}
