use std::fs;
use std::time::Duration;

use runtime::Engine;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::evaluate::tests::trained;
use crate::evaluate::{EVALUATION, evaluate};
use crate::matrix::tests::{start, synthetic};

const VERSION: &str = "20261001T080000Z";

/// An evaluated model in its own directory, with keys and without a webhook.
fn evaluated(cases: usize, seed: u64) -> (TempDir, Settings, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = crate::evaluate::tests::settings();
    settings.models.dir = dir.path().join("models");
    settings.models.trusted_keys = dir.path().join("trusted");
    settings.publish.signing_key = dir.path().join("publish.key");
    settings.publish.notify_url = String::new();
    crate::keygen::run(&Default::default(), &settings).unwrap();
    let (run, matrix) = trained(&dir, &synthetic(cases, seed), &settings);
    evaluate(&run, &matrix, None, &settings).unwrap();
    (dir, settings, run, matrix)
}

fn nothing_published(settings: &Settings) -> bool {
    !settings.models.dir.join("ltr").join(VERSION).exists()
}

#[tokio::test]
async fn a_published_artefact_loads_in_a_gateway_and_describes_its_origin() {
    let (_dir, settings, run, matrix) = evaluated(400, 1);
    let attempt = publish(&run, &matrix, start(), &settings).await.unwrap();
    let PublishOutcome::Published(published) = attempt else {
        panic!("{attempt:?}");
    };
    assert_eq!((published.version.as_str(), published.notified), (VERSION, None));

    let ring = artefact::KeyRing::read(&settings.models.trusted_keys).unwrap();
    let models = settings.models.dir.join("ltr");
    let (artefact, wasm) = artefact::open(&models, VERSION, &ring).unwrap();
    let scorer = artefact::admit(&Engine::new(settings.models.limits()).unwrap(), &artefact, &wasm).unwrap();
    assert_eq!(scorer.description().model_version, VERSION);
    assert_eq!(scorer.description().feature_names, settings.schema().names());
    let window = scorer.description().training_window.clone().unwrap();
    assert_eq!(window.start, start().to_rfc3339());
    assert!(artefact.manifest.golden.rows.len() >= 16 + 8);
    assert!(artefact.manifest.golden.rows.iter().flatten().any(Option::is_none));
    assert_eq!(artefact.manifest.gate["passed"], true);
    assert!(artefact.manifest.metrics["ltr"]["ndcg5"]["estimate"].as_f64().unwrap() > 0.0);
    let why = &artefact.manifest.metrics["propensities"]["unknown"]["reason"];
    assert!(why.as_str().unwrap().contains("evaluate.eta"), "{why}");
    assert_eq!(artefact.manifest.gate["informative"][0]["name"], "weighted_ndcg5");
}

#[tokio::test]
async fn a_version_is_published_once_and_published_again_it_is_only_made_known_again() {
    let (_dir, settings, run, matrix) = evaluated(400, 1);
    let again = async || publish(&run, &matrix, start(), &settings).await;
    assert!(matches!(again().await.unwrap(), PublishOutcome::Published(_)));
    let manifest = settings.models.dir.join("ltr").join(VERSION).join(artefact::MANIFEST);
    let signed = fs::read(&manifest).unwrap();
    let PublishOutcome::Published(published) = again().await.unwrap() else {
        panic!("refused");
    };
    assert_eq!(published.version, VERSION);
    assert_eq!(fs::read(&manifest).unwrap(), signed);

    let mut shorter = settings.clone();
    shorter.train.max_rounds = 3;
    crate::train::train_matrix(&matrix, None, &shorter, &run).unwrap();
    evaluate(&run, &matrix, None, &settings).unwrap();
    let refusal = again().await;
    let error = refusal.unwrap_err();
    assert!(format!("{error:#}").contains(VERSION), "{error:#}");
    assert_eq!(crate::outcome::exit_code(&Err(error)), 2);
    assert_eq!(fs::read(&manifest).unwrap(), signed);
}

#[tokio::test]
async fn a_model_that_fails_the_gate_is_not_published() {
    let (_dir, mut settings, run, matrix) = evaluated(200, 2);
    settings.gate.ndcg5_gain = 0.99;
    let attempt = publish(&run, &matrix, start(), &settings).await.unwrap();
    let PublishOutcome::Refused(result) = attempt else {
        panic!("{attempt:?}");
    };
    assert!(result.criteria.iter().any(|c| c.name == "ndcg5" && !c.passed));
    assert!(nothing_published(&settings));
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused_by_name() {
    let (_dir, settings, run, matrix) = evaluated(200, 3);
    let model = run.join(artefact::MODEL);
    let map = run.join(artefact::FEATURE_MAP);
    let evaluation = run.join(EVALUATION);
    let text = fs::read_to_string(&model).unwrap();
    let map_text = fs::read_to_string(&map).unwrap();
    let report = fs::read_to_string(&evaluation).unwrap();
    let digest = crate::files::sha256(text.as_bytes());
    let cases: [(&PathBuf, String, &str); 6] = [
        (
            &model,
            text.replace("objective=lambdarank", "objective=poisson"),
            "objective: \"poisson\"; allowed: lambdarank, rank_xendcg or regression",
        ),
        (&model, text[..text.len() / 2].to_owned(), artefact::MODEL),
        (
            &model,
            text.replace("shrinkage=0.05", "shrinkage=0.06"),
            "as recorded in training.json beside it",
        ),
        (&map, map_text.replace("geo", "zodiac"), artefact::FEATURE_MAP),
        (&map, map_text.replace("geo", "similarity"), artefact::FEATURE_MAP),
        (
            &evaluation,
            report.replace(&digest, &"0".repeat(64)),
            "run `ltr-trainer evaluate` again",
        ),
    ];
    for (path, spoiled, expected) in cases {
        let sound = fs::read(path).unwrap();
        fs::write(path, spoiled).unwrap();
        let refusal = publish(&run, &matrix, start(), &settings).await.unwrap_err();
        assert!(format!("{refusal:#}").contains(expected), "{expected}: {refusal:#}");
        fs::write(path, sound).unwrap();
    }
    fs::remove_file(&evaluation).unwrap();
    let refusal = publish(&run, &matrix, start(), &settings).await.unwrap_err();
    assert!(format!("{refusal:#}").contains(EVALUATION), "{refusal:#}");
    assert!(nothing_published(&settings));
}

#[tokio::test]
async fn a_model_with_other_features_than_the_schema_is_refused() {
    let (_dir, mut settings, run, matrix) = evaluated(200, 4);
    settings.ranking.features.pop();
    for weights in settings.ranking.presets.values_mut() {
        weights.remove("maturity");
    }
    let refusal = publish(&run, &matrix, start(), &settings).await.unwrap_err();
    assert!(format!("{refusal:#}").contains("feature_names"), "{refusal:#}");
    assert!(nothing_published(&settings));
}

#[tokio::test]
async fn a_gateway_that_cannot_be_notified_leaves_the_artefact_and_an_error() {
    let (_dir, mut settings, run, matrix) = evaluated(400, 5);
    let answers = |status: &'static str| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/models/notify", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let mut length = 0;
            while !request[..length].ends_with(b"}") {
                length += stream.read(&mut request[length..]).await.unwrap();
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (url, asked)
    };
    let (url, asked) = answers("202 Accepted").await;
    settings.publish.notify_url = url;
    let attempt = publish(&run, &matrix, start(), &settings).await.unwrap();
    assert!(
        matches!(&attempt, PublishOutcome::Published(p) if p.notified == Some(true)),
        "{attempt:?}"
    );
    let request = asked.await.unwrap();
    assert!(request.starts_with("POST /models/notify"), "{request}");
    assert!(
        request.ends_with(&format!("{{\"version\":\"{VERSION}\"}}")),
        "{request}"
    );

    let (url, asked) = answers("422 Unprocessable Entity").await;
    settings.publish.notify_url = url;
    let later = start() + Duration::from_secs(1);
    let PublishOutcome::Published(published) = publish(&run, &matrix, later, &settings).await.unwrap() else {
        panic!("the gate has not changed its mind");
    };
    asked.await.unwrap();
    assert!(published.dir.exists());
    let error = check_deliveries(&published, &settings).unwrap_err().to_string();
    assert!(error.contains("is published, but the gateway"), "{error}");
}

#[tokio::test]
async fn a_gateway_is_notified_over_https_if_the_configured_authority_issued_its_certificate() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let folder = tempfile::tempdir().unwrap();
    let authority = servers::Authority::new();
    let port = servers::https(&authority.sign("127.0.0.1"), OK);
    let url = format!("https://127.0.0.1:{port}/models/notify");
    let caller = settings::Client {
        ca_file: folder.path().join("ca.pem"),
        ..Default::default()
    };
    fs::write(&caller.ca_file, authority.certificate.pem()).unwrap();
    notify::notify(&url, &caller, VERSION).await.unwrap();
    assert!(
        notify::notify(&url, &settings::Client::default(), VERSION)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_envoy_filter_is_part_of_the_artefact_and_has_the_same_model() {
    let (_dir, settings, run, matrix) = evaluated(400, 1);
    let attempt = publish(&run, &matrix, start(), &settings).await.unwrap();
    let PublishOutcome::Published(Published { dir, .. }) = attempt else {
        panic!("{attempt:?}");
    };
    let filter = fs::read(dir.join(artefact::EDGE_FILTER)).unwrap();
    let manifest: artefact::Manifest = crate::files::read_json(&dir.join(artefact::MANIFEST)).unwrap();
    assert_eq!(manifest.files[artefact::EDGE_FILTER], crate::files::sha256(&filter));
    let trained = TrainingRun::open(&run, &settings.schema()).unwrap();
    let model = forest::Model::parse(&trained.model).unwrap();
    let image = forest::pack(&model, Some(&trained.feature_map.scaler()));
    for file in [artefact::SCORER, artefact::EDGE_FILTER] {
        let module = fs::read(dir.join(file)).unwrap();
        assert!(module.windows(image.len()).any(|bytes| bytes == image), "{file}");
    }
    // A change to the file is detected.
    fs::write(dir.join(artefact::EDGE_FILTER), &filter[..filter.len() - 1]).unwrap();
    let ring = artefact::KeyRing::read(&settings.models.trusted_keys).unwrap();
    let refusal = artefact::open(&settings.models.dir.join("ltr"), VERSION, &ring).unwrap_err();
    assert!(refusal.to_string().contains(artefact::EDGE_FILTER), "{refusal}");
}
