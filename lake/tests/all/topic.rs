//! From the bus into the raw tables: each record once, whatever happens.

use std::time::Duration as StdDuration;

use bus::{Access, Bus, Kafka, Message};
use lake::TopicSink;

use super::*;

fn bus_of(broker: &servers::Kafka) -> Kafka {
    let address = broker.url().parse().unwrap();
    Kafka::new(address, Access::default(), StdDuration::from_secs(10), Utc::now)
}

fn message(event: &Event) -> Message {
    Message {
        id: event.event_id,
        case_id: event.case_id,
        json: serde_json::to_string(event).unwrap(),
    }
}

fn raw(json: &str) -> Message {
    Message {
        id: Uuid::from_u128(1),
        case_id: Uuid::from_u128(1),
        json: json.to_owned(),
    }
}

async fn total(lake: &Lake) -> [u64; 4] {
    let mut sum = [0; 4];
    for day in lake::inspect(lake).await.unwrap() {
        for (sum, number) in sum
            .iter_mut()
            .zip([day.impressions, day.actions, day.comparisons, day.rejected])
        {
            *sum += number;
        }
    }
    sum
}

#[tokio::test]
async fn records_get_from_the_bus_into_the_lake_once() {
    let broker = servers::Kafka::start(3);
    let bus = bus_of(&broker);
    let place = Place::new().await;
    let events: Vec<Message> = sinking::some_events(0..300).map(|event| message(&event)).collect();
    assert!(bus.send(&events).await.unwrap().is_empty());
    // Sent again, as after a crash.
    assert!(bus.send(&events[100..200]).await.unwrap().is_empty());
    let features = features();
    let mut sink = TopicSink::new(&place.lake, &features, None).unwrap();
    let topic = bus.topic().await.unwrap();
    sink.run(&topic, |_, _| {}).await.unwrap();
    assert_eq!(total(&place.lake).await, [100, 200, 0, 0]);
    assert_eq!(sink.run(&topic, |_, _| {}).await.unwrap(), lake::Sank::default());
    // Another program, and one without its bookmarks.
    std::fs::remove_dir_all(place.path().join("lake/ltr/sink")).unwrap();
    let mut other = TopicSink::new(&place.lake, &features, None).unwrap();
    assert_eq!(other.run(&topic, |_, _| {}).await.unwrap(), lake::Sank::default());
    // What comes later is taken by whoever comes.
    let more: Vec<Message> = sinking::some_events(300..330).map(|event| message(&event)).collect();
    bus.send(&more).await.unwrap();
    let (one, two) = tokio::join!(sink.run(&topic, |_, _| {}), other.run(&topic, |_, _| {}));
    one.unwrap();
    two.unwrap();
    assert_eq!(total(&place.lake).await, [110, 220, 0, 0]);
}

#[tokio::test]
async fn the_same_events_give_the_same_matrix_from_bus_and_database() {
    let broker = servers::Kafka::start(2);
    let bus = bus_of(&broker);
    let (by_bus, by_database) = (Place::new().await, Place::new().await);
    let events: Vec<Event> = sinking::some_events(0..90).collect();
    by_database.log(events.clone()).await;
    by_database.night(later(500)).await;
    let messages: Vec<Message> = events.iter().rev().map(message).collect();
    bus.send(&messages).await.unwrap();
    let mut sink = TopicSink::new(&by_bus.lake, &features(), None).unwrap();
    sink.run(&bus.topic().await.unwrap(), |_, _| {}).await.unwrap();
    by_bus.night(later(500)).await;
    let rows = by_bus.rows(later(500)).await;
    assert!(rows.iter().any(|row| row.grade > 0));
    assert_eq!(rows, by_database.rows(later(500)).await);
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_stops_nothing() {
    let broker = servers::Kafka::start(1);
    let bus = bus_of(&broker);
    let place = Place::new().await;
    let bad = [
        "",
        "null",
        "{\"event\":",
        "[[[[",
        "{\"event\":\"comparison\"}",
        "{\"event\":\"contract_signed\",\"event_id\":\"x\"}",
    ];
    let mut messages: Vec<Message> = bad.iter().map(|json| raw(json)).collect();
    messages.insert(3, message(&event(9, 9, start(), shown(&["a", "b"]))));
    bus.send(&messages).await.unwrap();
    let mut sink = TopicSink::new(&place.lake, &features(), None).unwrap();
    let topic = bus.topic().await.unwrap();
    sink.run(&topic, |_, _| {}).await.unwrap();
    assert_eq!(total(&place.lake).await, [1, 0, 0, bad.len() as u64]);
    sink.run(&topic, |_, _| {}).await.unwrap();
    assert_eq!(total(&place.lake).await, [1, 0, 0, bad.len() as u64]);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named() {
    let broker = servers::Kafka::start(1);
    let address = broker.url().replace(servers::Kafka::TOPIC, "other").parse().unwrap();
    let bus = Kafka::new(address, Access::default(), StdDuration::from_secs(10), Utc::now);
    let error = bus.topic().await.err().unwrap().to_string();
    assert!(error.contains("no topic \"other\""), "{error}");
}

/// One by one: the broker of these tests says that a topic ends where what was sent last begins.
async fn send_each(bus: &Kafka, numbers: std::ops::Range<u128>) {
    for event in sinking::some_events(numbers) {
        bus.send(&[message(&event)]).await.unwrap();
    }
}

#[tokio::test]
async fn of_another_topic_under_the_same_name_everything_is_read() {
    let place = Place::new().await;
    let features = features();
    let mut sink = TopicSink::new(&place.lake, &features, None).unwrap();
    let old = servers::Kafka::start(1);
    let bus = bus_of(&old);
    send_each(&bus, 0..30).await;
    sink.run(&bus.topic().await.unwrap(), |_, _| {}).await.unwrap();
    // A new one, which has more than the old one had when it was read.
    let new = servers::Kafka::start(1);
    let bus = bus_of(&new);
    send_each(&bus, 300..360).await;
    let topic = bus.topic().await.unwrap();
    sink.run(&topic, |_, _| {}).await.unwrap();
    assert_eq!(total(&place.lake).await, [30, 60, 0, 0]);
    assert_eq!(sink.run(&topic, |_, _| {}).await.unwrap(), lake::Sank::default());
}

#[tokio::test]
async fn after_files_were_lost_the_topic_is_read_from_its_start() {
    let broker = servers::Kafka::start(1);
    let bus = bus_of(&broker);
    let place = Place::new().await;
    let features = features();
    let mut sink = TopicSink::new(&place.lake, &features, None).unwrap();
    send_each(&bus, 0..30).await;
    let topic = bus.topic().await.unwrap();
    sink.run(&topic, |_, _| {}).await.unwrap();
    let before = total(&place.lake).await;
    std::fs::remove_dir_all(place.path().join("lake/ltr/raw/2026/10/01")).unwrap();
    sink.run(&topic, |_, _| {}).await.unwrap();
    assert_ne!(total(&place.lake).await, before, "the bookmark is behind them");
    sink.from_start();
    sink.run(&topic, |_, _| {}).await.unwrap();
    assert_eq!(total(&place.lake).await, before);
}
