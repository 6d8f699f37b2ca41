use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::outcome::Permanent;

const PARENT: &str = "airflow/train_ltr_daily.model.train/01234567-89ab-7def-8123-456789abcdef";

/// Settings whose run records go to a file in `dir`.
fn settings(dir: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.lake.dir = dir.join("lake");
    settings
}

fn events(settings: &Settings) -> Vec<Value> {
    let text = std::fs::read_to_string(settings.lake.dir.join("ltr/lineage.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn done(_: &mut Record) -> anyhow::Result<Outcome> {
    Ok(Outcome::Done)
}

/// What OpenLineage 2-0-2 asks of every run event, dataset and facet.
fn check_shape(event: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{event}")).to_owned();
    assert!(["START", "COMPLETE", "FAIL"].contains(&text(&event["eventType"]).as_str()));
    chrono::DateTime::parse_from_rfc3339(&text(&event["eventTime"])).unwrap();
    reqwest::Url::parse(&text(&event["producer"])).unwrap();
    assert_eq!(
        event["schemaURL"],
        "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    );
    uuid::Uuid::parse_str(&text(&event["run"]["runId"])).unwrap();
    let datasets = || {
        ["inputs", "outputs"]
            .into_iter()
            .flat_map(|key| event[key].as_array().unwrap())
    };
    for named in datasets().chain([&event["job"]]) {
        assert!(
            !text(&named["namespace"]).is_empty() && !text(&named["name"]).is_empty(),
            "{named}"
        );
    }
    let of_datasets = ["facets", "inputFacets", "outputFacets"];
    let facets = of_datasets
        .iter()
        .flat_map(|key| datasets().map(move |dataset| &dataset[key]));
    for facets in facets.chain([&event["run"]["facets"], &event["job"]["facets"]]) {
        for facet in facets.as_object().into_iter().flatten().map(|(_, facet)| facet) {
            reqwest::Url::parse(&text(&facet["_producer"])).unwrap();
            reqwest::Url::parse(&text(&facet["_schemaURL"])).unwrap();
        }
    }
}

#[tokio::test]
async fn a_step_leaves_what_it_read_and_wrote_with_hashes_and_rows() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (matrix, model) = (dir.path().join("days.json"), dir.path().join("ltr_model.txt"));
    std::fs::write(&matrix, "[]").unwrap();
    let outcome = recorded("train", &settings, Some(PARENT), async |record| {
        record.read(Dataset::file(&matrix));
        record.read(Dataset::file(&matrix).rows(7));
        std::fs::write(&model, "tree").unwrap();
        record.wrote(Dataset::file(&model));
        // What it read back is still an output.
        record.read(Dataset::file(&model));
        Ok(Outcome::Done)
    });
    assert_eq!(outcome.await.unwrap(), Outcome::Done);

    let events = events(&settings);
    events.iter().for_each(check_shape);
    let [start, complete] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&start["eventType"], &complete["eventType"]),
        (&"START".into(), &"COMPLETE".into())
    );
    assert_eq!(start["run"]["runId"], complete["run"]["runId"]);
    let job = &complete["job"];
    assert_eq!((&job["namespace"], &job["name"]), (&"ltr".into(), &"train".into()));
    for event in [start, complete] {
        let parent = &event["run"]["facets"]["parent"];
        assert_eq!(parent["job"]["namespace"], "airflow");
        assert_eq!(parent["job"]["name"], "train_ltr_daily.model.train");
        assert_eq!(parent["run"]["runId"], "01234567-89ab-7def-8123-456789abcdef");
    }
    let end = &complete["run"]["facets"]["ltr_end"];
    assert!(
        end["durationSeconds"].as_f64().unwrap() >= 0.0 && end["exitCode"] == 0,
        "{end}"
    );
    let [input] = &complete["inputs"].as_array().unwrap()[..] else {
        panic!("{complete}")
    };
    let [output] = &complete["outputs"].as_array().unwrap()[..] else {
        panic!("{complete}")
    };
    assert_eq!(
        (&input["namespace"], &input["name"]),
        (&"file".into(), &matrix.to_str().unwrap().into())
    );
    assert_eq!(input["inputFacets"]["inputStatistics"]["rowCount"], 7);
    for (dataset, content) in [(input, "[]"), (output, "tree")] {
        let hash = format!("sha256:{}", crate::files::sha256(content.as_bytes()));
        assert_eq!(dataset["facets"]["version"]["datasetVersion"], hash);
    }
}

#[tokio::test]
async fn a_step_that_fails_or_is_refused_leaves_the_reason_and_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let failed = recorded("etl", &settings, None, async |record| {
        record.read(Dataset::folder(Path::new("s3://lake/ltr/raw")));
        Err(Permanent::Refused("row 7 is damaged".to_owned())).context("reading the matrix")
    });
    assert_eq!(
        format!("{:#}", failed.await.unwrap_err()),
        "reading the matrix: row 7 is damaged"
    );
    let refused = recorded("gate", &settings, None, async |_: &mut Record| Ok(Outcome::Refused));
    assert_eq!(refused.await.unwrap(), Outcome::Refused);

    let events = events(&settings);
    events.iter().for_each(check_shape);
    let [_, failed, _, refused] = &events[..] else {
        panic!("{events:?}")
    };
    for (event, reason) in [(failed, "reading the matrix: row 7 is damaged"), (refused, "refused")] {
        assert_eq!(event["eventType"], "FAIL");
        let facets = &event["run"]["facets"];
        assert!(
            facets["errorMessage"]["message"].as_str().unwrap().contains(reason),
            "{facets}"
        );
        assert_eq!(facets["ltr_end"]["exitCode"], 3);
        assert_eq!(facets.get("parent"), None);
    }
    let input = &failed["inputs"][0];
    assert_eq!(
        (&input["namespace"], &input["name"]),
        (&"s3://lake".into(), &"ltr/raw".into())
    );
}

#[tokio::test]
async fn a_target_that_is_down_or_no_file_fails_no_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    settings.lineage.url = format!("http://user:hunter2@{closed}/api/v1/lineage?key=hunter2").into();
    for file in [
        dir.path(),
        &fifo,
        Path::new("/dev/full"),
        Path::new("/proc/nowhere/lineage.ndjson"),
    ] {
        settings.lineage.file = file.to_owned();
        assert_eq!(
            recorded("gate", &settings, Some("no parent"), done).await.unwrap(),
            Outcome::Done
        );
    }
    // A server that takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    settings.lineage.url = format!("http://{}/", silent.local_addr().unwrap()).into();
    settings.lineage.timeout_ms = 100;
    let failed = recorded("gate", &settings, None, async |_: &mut Record| bail!("its own reason"));
    assert_eq!(failed.await.unwrap_err().to_string(), "its own reason");
}

#[tokio::test]
async fn each_event_is_posted_to_the_url() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = Settings::default();
    settings.lineage.file = "".into();
    settings.lineage.url = format!("http://{}/api/v1/lineage", server.local_addr().unwrap()).into();
    let posted = tokio::spawn(async move {
        let mut requests = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = server.accept().await.unwrap();
            let (mut request, mut buffer) = (String::new(), [0; 4096]);
            let body = loop {
                let length = stream.read(&mut buffer).await.unwrap();
                request.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
                let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                if let Ok(event) = serde_json::from_str::<Value>(body) {
                    break event;
                }
            };
            let answer = "HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            assert!(request.starts_with("POST /api/v1/lineage HTTP/1.1\r\n"), "{request}");
            requests.push(body);
        }
        requests
    });
    recorded("sink", &settings, None, done).await.unwrap();
    let events = posted.await.unwrap();
    events.iter().for_each(check_shape);
    let kinds: Vec<&Value> = events.iter().map(|event| &event["eventType"]).collect();
    assert_eq!(kinds, ["START", "COMPLETE"]);
}

#[tokio::test]
async fn an_event_is_a_whole_line_even_after_one_that_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let path = settings.lake.dir.join("ltr/lineage.ndjson");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "{\"eventType\":\"STA").unwrap();
    let steps = (0..8).map(|_| recorded("sink", &settings, None, done));
    for step in steps {
        step.await.unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    assert_eq!(
        (lines.len(), lines[0], text.ends_with('\n')),
        (17, "{\"eventType\":\"STA", true)
    );
    for line in &lines[1..] {
        check_shape(&serde_json::from_str(line).unwrap());
    }
}

#[test]
fn a_table_is_named_without_user_password_and_parameters() {
    let name = |url: &str| {
        let table = Dataset::table(&url.into(), "match_events");
        (table.namespace, table.name)
    };
    let of = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    assert_eq!(
        name("postgres://ltr:hunter2@db.internal:6432/ltr?password=hunter2"),
        of("postgres://db.internal:6432", "ltr.match_events")
    );
    assert_eq!(name("postgres://db/ltr"), of("postgres://db:5432", "ltr.match_events"));
    assert_eq!(name("sqlite:///var/ltr.db"), of("file", "/var/ltr.db.match_events"));
}

#[test]
fn a_parent_is_a_namespace_a_job_and_a_uuid_or_none() {
    let parent = Parent::parse(Some(PARENT)).unwrap();
    let slash = Parent::parse(Some(&PARENT.replace("airflow", "airflow/a"))).unwrap();
    assert_ne!(slash, parent);
    for other in ["", "a", "a/b", "a/b/c", "//01234567-89ab-7def-8123-456789abcdef"] {
        assert_eq!(Parent::parse(Some(other)), None, "{other}");
    }
}
