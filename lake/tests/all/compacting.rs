//! Few files of many, and nobody sees a difference.

use lake::{Table, compact, files, inspect};

use super::*;

/// So many runs of the sink with something new in each.
async fn many_runs(place: &Place, runs: u128) {
    for run in 0..runs {
        place
            .log((0..4).map(|step| {
                let number = 100 * run + step;
                let body = match step {
                    0 => shown(&["a", "b"]),
                    _ => act(ActionKind::ClickProfile, "b", 2),
                };
                event(number, run, later((run % 8) as i64), body)
            }))
            .await;
        place.sink().await;
    }
}

async fn count(place: &Place, table: Table) -> usize {
    files(&place.lake, table).await.unwrap().len()
}

#[tokio::test]
async fn a_day_that_grows_has_few_files_and_a_closed_one_has_one() {
    let place = Place::new().await;
    many_runs(&place, 100).await;
    let first = place.night(later(500)).await;
    let rows = place.rows(later(500)).await;
    let before = inspect(&place.lake).await.unwrap();
    for table in [Table::Impressions, Table::ImpressionLawyers, Table::Actions] {
        assert!(
            count(&place, table).await < 20,
            "{table:?}: {}",
            count(&place, table).await
        );
    }
    let now = Utc::now();
    let tomorrow = NaiveDate::MAX;
    compact(&place.lake, tomorrow, now).await.unwrap();
    for table in [Table::Impressions, Table::ImpressionLawyers, Table::Actions] {
        assert_eq!(count(&place, table).await, 1, "{table:?}");
    }
    let after = inspect(&place.lake).await.unwrap();
    assert_eq!(
        (before[0].impressions, before[0].actions, before[0].late),
        (after[0].impressions, after[0].actions, after[0].late)
    );
    assert_eq!(before[0].late, 400, "the day is long past");
    // Nothing new came, so nothing is made again; nor would it be another.
    assert!(place.night(later(500)).await.is_empty());
    let etl = place.etl(later(500)).await;
    for day in first {
        etl.make(day).await.unwrap();
    }
    assert_eq!(place.rows(later(500)).await, rows);
    // The sink goes on behind it.
    place
        .log([event(9_999, 3, later(3), act(ActionKind::ContactMade, "a", 1))])
        .await;
    assert_eq!(place.sink().await.actions, 1);
    assert_eq!(place.sink().await, lake::Sank::default());
}

#[tokio::test]
async fn replaced_files_stay_for_a_day() {
    let place = Place::new().await;
    many_runs(&place, 5).await;
    let all = || walk(&place.path().join("lake/ltr/raw"));
    let listed = files(&place.lake, Table::Actions).await.unwrap();
    let now = Utc::now();
    let done = compact(&place.lake, NaiveDate::MAX, now).await.unwrap();
    assert_eq!((done.merged, done.replaced, done.removed), (3, 15, 0));
    for file in &listed {
        assert!(place.path().join("lake").join(file.path().as_ref()).exists(), "{file}");
    }
    assert_eq!(all(), 18);
    assert_eq!(compact(&place.lake, NaiveDate::MAX, now).await.unwrap().removed, 0);
    let done = compact(&place.lake, NaiveDate::MAX, now + Duration::hours(25))
        .await
        .unwrap();
    assert_eq!((done.merged, done.removed), (0, 15));
    assert_eq!(all(), 3);
    assert_eq!(place.sink().await, lake::Sank::default());
}

fn walk(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { walk(&path) } else { 1 }).sum()
}
