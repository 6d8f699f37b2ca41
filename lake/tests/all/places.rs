//! A folder and a bucket of a real server: the same lake.

use super::*;

fn on(store: &servers::Seaweed, address: &str) -> Lake {
    let environment = store.environment();
    Lake::open_with(address, environment.iter().map(|(name, value)| (*name, value.as_str()))).unwrap()
}

/// Makes what is not current, as a night does.
pub(crate) async fn night(place: &Place, lake: &Lake, as_of: DateTime<Utc>) -> Result<(), lake::LakeError> {
    sink(&place.store, lake, &features(), None, false, |_| {}).await?;
    let etl = Etl::new(lake, &features(), place.rules.clone(), as_of).await?;
    for day in etl.days() {
        if !etl.is_current(day).await? {
            let made = etl.make(day).await?;
            etl.note_done(&made).await?;
        }
    }
    Ok(())
}

/// The rows of all days.
pub(crate) async fn rows(place: &Place, lake: &Lake, as_of: DateTime<Utc>) -> Vec<Row> {
    let etl = Etl::new(lake, &features(), place.rules.clone(), as_of).await.unwrap();
    let mut rows = Vec::new();
    for day in etl.days() {
        let report = etl.report(day).await.unwrap().unwrap();
        rows.extend(read(
            &lake.local_matrix(&report, &place.path().join("copies")).await.unwrap(),
        ));
    }
    rows
}

#[tokio::test]
async fn a_bucket_holds_what_a_folder_holds() {
    let mut server = servers::Seaweed::start();
    server.make_bucket("datalake");
    let lake = on(&server, "s3://datalake/some/folder");
    let place = Place::new().await;
    place.log(sinking::some_events(0..120)).await;
    night(&place, &lake, later(500)).await.unwrap();
    let in_bucket = rows(&place, &lake, later(500)).await;
    place.night(later(500)).await;
    assert_eq!(in_bucket, place.rows(later(500)).await);
    // Two sinks at once, and a server that ends and comes back.
    place.log(sinking::some_events(120..240)).await;
    let features = features();
    let (one, other) = tokio::join!(
        sink(&place.store, &lake, &features, None, false, |_| {}),
        sink(&place.store, &lake, &features, None, false, |_| {}),
    );
    one.unwrap();
    other.unwrap();
    server.crash();
    server.go_on();
    // It takes requests before it finds its volumes again.
    let start = std::time::Instant::now();
    while let Err(error) = sink(&place.store, &lake, &features, None, false, |_| {}).await {
        assert!(start.elapsed() < std::time::Duration::from_secs(120), "{error}");
    }
    night(&place, &lake, later(500)).await.unwrap();
    let in_bucket = rows(&place, &lake, later(500)).await;
    place.night(later(500)).await;
    assert_eq!(in_bucket, place.rows(later(500)).await);
    let count = |days: Vec<lake::Partition>| -> Vec<_> {
        days.iter().map(|day| (day.day, day.impressions, day.actions)).collect()
    };
    assert_eq!(
        count(lake::inspect(&lake).await.unwrap()),
        count(lake::inspect(&place.lake).await.unwrap())
    );
}

#[test]
fn another_address_is_refused() {
    for address in ["http://one/two", "gs://bucket"] {
        let error = Lake::open(address).err().unwrap().to_string();
        assert!(error.contains(address) && error.contains("s3://BUCKET"), "{error}");
    }
}
