use super::*;

fn legacy() -> Weights {
    Settings::load(None, []).unwrap().presets().default_weights().clone()
}

fn grown(quality: Quality, truth: Truth) -> anyhow::Result<Ranker> {
    Ranker::grow(quality, truth, Drift::NONE, &Market::new(7), 7, &legacy())
}

fn worth(quality: Quality, truth: Truth) -> Worth {
    grown(quality, truth).unwrap().worth
}

#[test]
fn models_are_worth_what_their_names_say() {
    let [equal, better, random] =
        [Quality::Equal, Quality::Better, Quality::Random].map(|quality| worth(quality, Truth::Interactions));
    assert!(better.ranker > 1.1 * better.legacy, "{better:?}");
    assert!(random.ranker < 0.9 * random.legacy, "{random:?}");
    let gap = better.ranker - random.ranker;
    assert!((equal.ranker - equal.legacy).abs() < 0.03 * gap, "{equal:?}, {gap}");
}

#[test]
fn nothing_is_better_than_the_legacy_ranking_where_that_is_the_truth() {
    let error = grown(Quality::Better, Truth::Legacy).err().unwrap();
    assert_eq!(crate::outcome::exit_code(&Err(error)), 2);
    let random = worth(Quality::Random, Truth::Legacy);
    assert!(random.ranker < random.legacy, "{random:?}");
}

#[test]
fn the_error_of_a_model_says_nothing_of_what_clients_want_nor_of_the_legacy_score() {
    let truth = |features: &Features, quality| Truth::Interactions.utility(features, quality, &legacy(), Drift::NONE);
    let sample = Sample::draw("training", truth, &Market::new(7), 7, &legacy());
    let correlation = |values: &[f64]| {
        let (a, b) = (sample.centred(&sample.error), sample.centred(values));
        product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
    };
    assert!(correlation(&sample.seen).abs() < 1e-6);
    assert!(correlation(&sample.legacy).abs() < 1e-6);
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_seed_another() {
    let of = |seed| {
        let ranker = Ranker::grow(
            Quality::Random,
            Truth::Interactions,
            Drift::NONE,
            &Market::new(seed),
            seed,
            &legacy(),
        );
        ranker.unwrap().model
    };
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
}

#[tokio::test]
async fn a_published_model_loads_in_a_gateway_and_says_that_no_gate_has_seen_it() {
    use runtime::Engine;
    use runtime::artefact;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::load(None, []).unwrap();
    settings.models.dir = dir.path().join("models");
    settings.models.trusted_keys = dir.path().join("trusted");
    settings.publish.signing_key = dir.path().join("publish.key");
    settings.publish.notify_url = String::new();
    crate::keygen::run(&Default::default(), &settings).unwrap();
    let as_of = "2026-10-01T00:00:00Z".parse().unwrap();
    let ranker = grown(Quality::Random, Truth::Interactions).unwrap();
    let published = ranker.publish(as_of, &settings).await.unwrap();
    assert_eq!(published.version, "20261001T000000Z");
    let ring = artefact::KeyRing::read(&settings.models.trusted_keys).unwrap();
    let models = settings.models.dir.join("ltr");
    let (artefact, wasm) = artefact::open(&models, &published.version, &ring).unwrap();
    artefact::admit(&Engine::new(settings.models.limits()).unwrap(), &artefact, &wasm).unwrap();
    let manifest = &artefact.manifest;
    assert_eq!(manifest.gate_bypassed_as(), Some("simulate --publish-ranker random"));
    assert_eq!(manifest.gate["passed"], false);
    assert_eq!(manifest.metrics["simulated"]["quality"], "random");
    // Another quality is another model, and no version is published twice.
    let better = grown(Quality::Better, Truth::Interactions).unwrap();
    assert!(better.publish(as_of, &settings).await.is_err());
    assert_eq!(ranker.publish(as_of, &settings).await.unwrap().dir, published.dir);
}
