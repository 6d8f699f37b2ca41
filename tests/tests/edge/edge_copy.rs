//! A copy is a comparison and nothing else, however many hops copied the request and however often it was tried.

use evil::Behaviour;
use serde_json::{Value, json};
use servers::Envoy;
use uuid::Uuid;

use crate::client::{self, Answer, Protocol, post};
use crate::configuration::{Configuration, NOBODY, filter, mark, mirror_all, to, traced};
use crate::gateway::{Gateway, SMALL, Site, TOKEN, case};
use crate::model::filter_file;
use crate::origin::Origin;
use crate::settled;

/// A gateway with a model that is compared in shadow, and answers nobody.
async fn comparing() -> (Site, Gateway) {
    let site = Site::patient();
    let gateway = site.start().await;
    site.publish("honest", Behaviour::Honest);
    assert_eq!(gateway.notify("honest").await.status, 200);
    (site, gateway)
}

/// Copies all requests, with the caller's token, so that the gateway lets the copy in.
fn copying() -> Value {
    let mut own = mirror_all();
    own["mirror"]["headers"] = json!(["authorization"]);
    own
}

/// What is kept of all requests: rows of comparisons, comparisons, impressions.
async fn kept(site: &Site) -> (i64, i64, i64) {
    (
        site.number("SELECT count(*) FROM ltr_shadow_log").await,
        site.number("SELECT count(*) FROM ltr_shadow_request").await,
        site.number("SELECT count(*) FROM match_events").await,
    )
}

async fn rank(envoy: &Envoy, listener: &str, id: &str, case: &Value) -> Answer {
    let token = format!("Bearer {TOKEN}");
    let headers: [(&str, &[u8]); 3] = [
        ("x-request-id", id.as_bytes()),
        ("authorization", token.as_bytes()),
        ("content-type", b"application/json"),
    ];
    let request = post("/rank", &headers, case.to_string());
    client::send(envoy.listener(listener), Protocol::Http1, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_request_leaves_one_comparison_and_no_impression() {
    let (site, gateway) = comparing().await;
    let origin = Origin::start().await;
    let filters = [filter(&filter_file(), &copying())];
    let configuration = Configuration::new()
        .listener("edge", &filters, to("origin"))
        .cluster("origin", origin.address())
        .cluster("shadow", gateway.address());
    let envoy = Envoy::start(&configuration.to_json());
    let id = Uuid::new_v4();
    let answer = rank(&envoy, "edge", &id.to_string(), &case("copied", SMALL)).await;
    assert_eq!(answer.status, 200);
    let seen = origin.take().remove(0);
    assert_eq!(seen.header("x-ltr-edge-copy"), None, "the original is no copy");
    settled(&envoy).await;
    assert_eq!(envoy.stat("mirror_answered_total"), Some(1), "{}", site.logged());
    assert_eq!(kept(&site).await, (SMALL as i64, 1, 0));
    let joined = "SELECT count(*) FROM ltr_shadow_log WHERE rank_legacy IS NOT NULL AND rank_ltr IS NOT NULL";
    assert_eq!(site.number(joined).await, SMALL as i64);
    assert_eq!(
        site.texts("SELECT request_id FROM ltr_shadow_request").await,
        [id.to_string()]
    );
}

/// Two Envoys one behind the other, both of which copy, and the second of which writes its trace reason into the id.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_two_hops_copy_leaves_one_comparison() {
    let (site, gateway) = comparing().await;
    let origin = Origin::start().await;
    let filters = [filter(&filter_file(), &copying())];
    let inner = Configuration::new()
        .listener_with("inner", &filters, to("origin"), traced(100.0))
        .cluster("origin", origin.address())
        .cluster("shadow", gateway.address())
        // Not the origin, which would take a report of spans for a request.
        .cluster("collector", NOBODY.into());
    let inner = Envoy::start(&inner.to_json());
    let outer = Configuration::new()
        .listener("outer", &filters, to("inner"))
        .cluster("inner", inner.listener("inner"))
        .cluster("shadow", gateway.address());
    let outer = Envoy::start(&outer.to_json());
    for at in 0..20 {
        let id = Uuid::new_v4().to_string();
        let answer = rank(&outer, "outer", &id, &case(&format!("twice {at}"), SMALL)).await;
        assert_eq!(answer.status, 200);
        let rewritten = origin.take().remove(0).id();
        assert_ne!(rewritten, id, "the second hop has traced it");
        settled(&outer).await;
        settled(&inner).await;
    }
    for envoy in [&outer, &inner] {
        assert_eq!(envoy.stat("mirror_answered_total"), Some(20), "{}", site.logged());
    }
    assert_eq!(kept(&site).await, (20 * SMALL as i64, 20, 0));
}

/// The answer to a ranking is lost between gateway and Envoy, which asks again; the edge copies and marks it besides.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_adds_nothing() {
    let (site, gateway) = comparing().await;
    let losing = crate::losing::Losing::start(gateway.address()).await;
    let again = json!({
        "cluster": "gateway", "timeout": "30s",
        "retry_policy": { "retry_on": "5xx,reset,connect-failure", "num_retries": 3 },
    });
    let mut copying = copying();
    copying["routes"][1]["modes"] = json!(["mark", "mirror"]);
    let configuration = Configuration::new()
        .listener("marked", &[filter(&filter_file(), &mark(1.0))], again.clone())
        .listener("copied", &[filter(&filter_file(), &copying)], again)
        .cluster("gateway", losing.address())
        .cluster("shadow", gateway.address());
    let envoy = Envoy::start(&configuration.to_json());
    for (at, listener) in ["marked", "copied"].into_iter().enumerate() {
        let before = losing.passed();
        losing.lose(2);
        let answer = rank(&envoy, listener, &Uuid::new_v4().to_string(), &case(listener, SMALL)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(losing.passed() - before, 3, "it was sent three times");
        settled(&envoy).await;
        let once = at as i64 + 1;
        assert_eq!(kept(&site).await, (once * SMALL as i64, once, once), "{listener}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_what_was_selected_and_nothing_personal() {
    let (origin, shadow) = (Origin::start().await, Origin::start().await);
    let mut own = mirror_all();
    own["mirror"]["headers"] = json!(["x-kept"]);
    own["mirror"]["personal"] = json!({
        "redact": ["/case/notes", "/lawyers/*/phone"], "pseudonymise": ["/case/user_id"], "salt_env": "LTR_PRIVACY_SALT",
    });
    let configuration = Configuration::new()
        .listener("edge", &[filter(&filter_file(), &own)], to("origin"))
        .cluster("origin", origin.address())
        .cluster("shadow", shadow.address());
    let envoy = Envoy::start(&configuration.to_json());
    let (id, user) = (Uuid::new_v4().to_string(), Uuid::new_v4());
    let body = json!({
        "case": { "user_id": user, "notes": "she said", "kind": "labour" },
        "lawyers": [{ "phone": "+55 11", "lawyer_id": "adv_1" }, { "phone": "+55 21" }],
    });
    let headers: [(&str, &[u8]); 6] = [
        ("x-request-id", id.as_bytes()),
        ("content-type", b"application/json"),
        ("cookie", b"session=1"),
        ("authorization", b"Bearer secret"),
        ("x-kept", b"yes"),
        ("x-forwarded-for", b"203.0.113.7"),
    ];
    let request = post("/rank?user=somebody", &headers, body.to_string());
    assert_eq!(
        client::send(envoy.listener("edge"), Protocol::Http1, request)
            .await
            .status,
        200
    );
    let original = origin.take().remove(0);
    assert_eq!(original.body, body.to_string(), "the original is as it was");
    let copy = shadow.wait_for(1).await.remove(0);
    assert_eq!((copy.method.as_str(), copy.path.as_str()), ("POST", "/rank"));
    for (name, value) in [("x-ltr-edge-copy", "1"), ("x-request-id", &id), ("x-kept", "yes")] {
        assert_eq!(copy.header(name), Some(value.as_bytes()), "{name}");
    }
    for name in ["cookie", "authorization"] {
        assert_eq!(copy.header(name), None, "{name}");
    }
    let pseudonym = ranking::pseudonym_of_text(crate::configuration::SALT.as_bytes(), &user.to_string());
    let expected = json!({
        "case": { "user_id": pseudonym, "notes": null, "kind": "labour" },
        "lawyers": [{ "phone": null, "lawyer_id": "adv_1" }, { "phone": null }],
    });
    assert_eq!(serde_json::from_slice::<Value>(&copy.body).unwrap(), expected);
    let shown = format!("{copy:?}");
    assert!(
        !shown.contains("203.0.113.7") && !shown.contains(&user.to_string()),
        "{shown}"
    );
}

/// A user's rows under a pseudonym that the edge made are those that erasure finds: the gateway's own.
#[tokio::test(flavor = "multi_thread")]
async fn the_edges_pseudonym_is_the_gateways() {
    let (site, gateway) = comparing().await;
    let origin = Origin::start().await;
    let salt = std::fs::read_to_string(site.path().join("var/keys/privacy.salt")).unwrap();
    let mut own = copying();
    own["mirror"]["personal"] = json!({ "pseudonymise": ["/case/user_id"], "salt_env": "LTR_PRIVACY_SALT" });
    let mut pseudonymous = filter(&filter_file(), &own);
    let variables = &mut pseudonymous["typed_config"]["config"]["vm_config"]["environment_variables"];
    variables["key_values"]["LTR_PRIVACY_SALT"] = salt.trim().into();
    let configuration = Configuration::new()
        .listener("edge", &[pseudonymous], to("gateway"))
        .cluster("gateway", gateway.address())
        .cluster("origin", origin.address())
        .cluster("shadow", gateway.address());
    let envoy = Envoy::start(&configuration.to_json());
    let shadow_headers: [(&str, &[u8]); 1] = [("x-shadow-ltr", b"1")];
    let token = format!("Bearer {TOKEN}");
    let direct = post(
        "/rank",
        &[shadow_headers[0], ("authorization", token.as_bytes())],
        case("direct", SMALL).to_string(),
    );
    assert_eq!(
        client::send(gateway.address(), Protocol::Http1, direct).await.status,
        200
    );
    assert_eq!(
        rank(&envoy, "edge", &Uuid::new_v4().to_string(), &case("at the edge", SMALL))
            .await
            .status,
        200
    );
    settled(&envoy).await;
    assert_eq!(
        site.number("SELECT count(*) FROM ltr_shadow_request").await,
        2,
        "{}",
        site.logged()
    );
    let users = site.texts("SELECT DISTINCT user_id FROM ltr_shadow_log").await;
    assert_eq!(users.len(), 1, "both are the same user's: {users:?}");
}
