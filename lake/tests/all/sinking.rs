//! From the database into the raw tables: each event once, whatever happens.

use lake::{Partition, inspect};

use super::*;

async fn total(place: &Place) -> Partition {
    let mut sum = Partition::default();
    for day in inspect(&place.lake).await.unwrap() {
        sum.impressions += day.impressions;
        sum.actions += day.actions;
        sum.rejected += day.rejected;
    }
    sum
}

pub(crate) fn some_events(numbers: std::ops::Range<u128>) -> impl Iterator<Item = Event> {
    numbers.map(|number| {
        let at = later(number as i64);
        match number % 3 {
            0 => event(number, number / 3, at, shown(&["a", "b"])),
            _ => event(number, number / 3, at, act(ActionKind::ClickProfile, "a", 1)),
        }
    })
}

#[tokio::test]
async fn each_event_is_taken_once_in_however_many_runs() {
    let place = Place::new().await;
    for run in 0..4 {
        place.log(some_events(0..100 * (run + 1))).await;
        let sank = place.sink().await;
        assert_eq!(sank.impressions + sank.actions, 100);
        assert_eq!(place.sink().await, lake::Sank::default());
    }
    let there = total(&place).await;
    assert_eq!((there.impressions, there.actions, there.rejected), (134, 266, 0));
}

#[tokio::test]
async fn an_event_under_an_id_that_another_has_is_taken_beside_it() {
    let place = Place::new().await;
    place.log([event(1, 1, start(), shown(&["a", "b"]))]).await;
    place
        .log([event(1, 1, later(1), act(ActionKind::ContactMade, "b", 2))])
        .await;
    place.log([event(1, 2, start(), shown(&["c", "d"]))]).await;
    place.night(later(500)).await;
    let there = total(&place).await;
    assert_eq!((there.impressions, there.actions, there.rejected), (2, 1, 0));
    let grades: Vec<(String, u8)> = place
        .rows(later(500))
        .await
        .into_iter()
        .map(|row| (row.lawyer_id, row.grade))
        .collect();
    let expected = [("a", 0), ("b", 2), ("c", 0), ("d", 0)].map(|(lawyer, grade)| (lawyer.to_owned(), grade));
    assert_eq!(grades, expected);
}

#[tokio::test]
async fn two_sinks_at_once_take_each_event_once() {
    let place = Place::new().await;
    place.log(some_events(0..500)).await;
    let (one, other) = tokio::join!(place.sink(), place.sink());
    assert!(one.files > 0 && one.files + other.files >= 60, "{one:?} {other:?}");
    let there = total(&place).await;
    assert_eq!((there.impressions, there.actions), (167, 333));
    let rows = {
        place.night(later(2_000)).await;
        place.rows(later(2_000)).await
    };
    assert_eq!(rows.len(), 2 * 167);
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_is_counted_and_changes_nothing_else() {
    let place = Place::new().await;
    place.log(some_events(0..30)).await;
    place.night(later(500)).await;
    let before = place.rows(later(500)).await;
    let url = format!("sqlite://{}", place.path().join("ltr.db").display());
    let mut other = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    for statement in [
        "INSERT INTO match_events (event_id, ts_utc, event, case_id, user_id, payload) \
         VALUES ('x', '2026-10-01T09:00:00.000000000Z', 'impression', 'y', 'z', '{\"event\":')",
        "INSERT INTO match_events (event_id, ts_utc, event, case_id, user_id, payload) \
         VALUES (x'ff00', 'yesterday', 'impression', 'y', 'z', 'null')",
        // Another day in the row than in the event.
        "INSERT INTO match_events SELECT '00000000-0000-0000-0000-00000000ffff', '2026-10-09T09:00:00.000000000Z', event, \
         case_id, user_id, lawyer_id, rank_pos, request_id, payload FROM match_events LIMIT 1",
    ] {
        sqlx::Executor::execute(&mut other, statement).await.unwrap();
    }
    assert_eq!(place.sink().await.rejected, 3);
    assert_eq!(place.sink().await, lake::Sank::default());
    assert_eq!(total(&place).await.rejected, 3);
    place.night(later(500)).await;
    assert_eq!(place.rows(later(500)).await, before);
}

#[tokio::test]
async fn a_file_that_is_missing_or_cut_short_is_named() {
    let place = Place::new().await;
    place.log([event(1, 1, start(), shown(&["a", "b"]))]).await;
    place.night(later(500)).await;
    let file = place
        .path()
        .join("lake/ltr/raw/2026/10/01/impression_lawyers/0000000000.parquet");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    place
        .log([event(2, 1, later(1), act(ActionKind::ClickProfile, "a", 1))])
        .await;
    let error = sink(&place.store, &place.lake, &features(), None, false, |_| {})
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("impression_lawyers/0000000000.parquet"),
        "{error}"
    );
    // As it says, it is made again.
    std::fs::remove_file(&file).unwrap();
    place.night(later(500)).await;
    let rows = place.rows(later(500)).await;
    assert_eq!(rows.iter().map(|row| row.grade).collect::<Vec<_>>(), [1, 0]);
}

#[tokio::test]
async fn a_feature_with_the_name_of_a_column_is_refused() {
    let place = Place::new().await;
    let features = Schema::new(vec!["position".to_owned()]).unwrap();
    let error = sink(&place.store, &place.lake, &features, None, false, |_| {})
        .await
        .unwrap_err();
    assert!(
        error.to_string().starts_with("ranking.features: \"position\""),
        "{error}"
    );
}

#[tokio::test]
async fn features_in_another_order_are_rejected_and_taken_once_the_order_is_back() {
    let place = Place::new().await;
    let other = Schema::new(vec!["area match".to_owned(), "price".to_owned()]).unwrap();
    let logged = Impression {
        features_id: Some(features().id()),
        ..impression(&["a", "b"], Origin::Gateway)
    };
    place.log([event(1, 1, start(), Body::Impression(logged))]).await;
    let sank = sink(&place.store, &place.lake, &other, None, false, |_| {})
        .await
        .unwrap();
    assert_eq!((sank.impressions, sank.rejected), (0, 1));
    // A rejected record is known by its id, so that it is not rejected every night.
    assert_eq!(place.sink().await, lake::Sank::default());
    std::fs::remove_dir_all(place.path().join("lake/ltr/rejected")).unwrap();
    let sank = sink(&place.store, &place.lake, &features(), None, true, |_| {})
        .await
        .unwrap();
    assert_eq!((sank.impressions, sank.rejected), (1, 0));
}
