//! The edge chooses the requests that the gateway chooses, and its choice has to do with no other.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use evil::Behaviour;
use serde_json::{Value, json};
use servers::Envoy;
use uuid::Uuid;

use crate::client::{Connection, Headers, Protocol, get, post};
use crate::configuration::{Configuration, NOBODY, filter, mark, past, to, traced};
use crate::gateway::{Site, TOKEN, case};
use crate::model::{filter_file, mark_file};
use crate::origin::{Origin, Seen};

const REQUESTS: usize = 100_000;
const CONNECTIONS: usize = 32;
/// Two-sided 99.9 % of a normal distribution.
const Z: f64 = 3.2905;
/// Of the chi-square distribution with one degree of freedom: 99.9 %, and all but one in a million.
const CHI_SQUARE: f64 = 10.828;
const CHI_SQUARE_OF_DICE: f64 = 23.928;

/// Ids as a generator makes them, the same at every run: what follows from them holds always or never.
fn ids() -> Vec<Uuid> {
    let spread = |at: u128| (at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    let ids = (0..REQUESTS as u128).map(|at| uuid::Builder::from_random_bytes(spread(at).to_be_bytes()));
    ids.map(uuid::Builder::into_uuid).collect()
}

/// The trace reason is in an id's character 14, and no part of what a request is.
fn name(id: &str) -> String {
    let mut name = id.to_owned();
    name.replace_range(14..15, "4");
    name
}

/// Sends every id on one of many connections, and gives what `read` sees in each answer.
async fn send_all<T: Send + 'static>(
    address: SocketAddr,
    ids: &[Uuid],
    request: impl Fn(&str) -> hyper::Request<crate::client::Sent> + Clone + Send + 'static,
    read: impl Fn(crate::client::Answer) -> T + Clone + Send + 'static,
) -> HashMap<String, T> {
    let shares = ids.chunks(ids.len().div_ceil(CONNECTIONS)).map(<[Uuid]>::to_vec);
    let senders: Vec<_> = shares
        .map(|share| {
            let (request, read) = (request.clone(), read.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(address, Protocol::Http1).await;
                let mut answers = Vec::with_capacity(share.len());
                for id in share {
                    let id = id.to_string();
                    let answer = connection.send(request(&id)).await.unwrap();
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answers.push((id, read(answer)));
                }
                answers
            })
        })
        .collect();
    let mut all = HashMap::new();
    for sender in senders {
        all.extend(sender.await.unwrap());
    }
    all
}

/// Of a two-by-two table: how far two choices are from independence.
fn chi_square(pairs: impl Iterator<Item = (bool, bool)>) -> f64 {
    let mut table = [[0.0f64; 2]; 2];
    for (a, b) in pairs {
        table[usize::from(a)][usize::from(b)] += 1.0;
    }
    let [[a, b], [c, d]] = table;
    let n = a + b + c + d;
    n * (a * d - b * c).powi(2) / ((a + b) * (c + d) * (a + c) * (b + d))
}

/// Both filters have to sample the same requests, with and without the bypass. Each case has a
/// listener of this name.
const LISTENERS: [&str; 3] = ["edge-filter", "edge-mark", "edge-mark with bypass"];

/// An Envoy that marks a tenth, traces half, and leads half of the requests another way.
fn edge(origin: &Origin) -> Envoy {
    let arm = |name: &str| {
        json!({
            "name": name, "weight": 50,
            "request_headers_to_add": [{ "header": { "key": "x-arm", "value": name } }],
        })
    };
    let route = json!({ "weighted_clusters": { "clusters": [arm("a"), arm("b")] } });
    let [whole, only] = [filter_file(), mark_file()].map(|file| [filter(&file, &mark(0.10))]);
    let mut bypass = past(&mark(0.10), &route);
    bypass["tracing"] = traced(50.0)["tracing"].take();
    let configuration = Configuration::new()
        .inline_headers()
        .listener_with(LISTENERS[0], &whole, route.clone(), traced(50.0))
        .listener_with(LISTENERS[1], &only, route.clone(), traced(50.0))
        .listener_with(LISTENERS[2], &only, route, bypass)
        .cluster("a", origin.address())
        .cluster("b", origin.address())
        .cluster("collector", NOBODY.into());
    Envoy::start(&configuration.to_json())
}

/// What the gateway does by itself about the same ids: whom it compares in shadow, and whom LTR answers.
async fn gateway(ids: &[Uuid]) -> (HashSet<String>, HashMap<String, bool>) {
    let site = Site::patient();
    let gateway = site.start().await;
    site.publish("honest", Behaviour::Honest);
    assert_eq!(gateway.notify("honest").await.status, 200);
    gateway.set_weight(50).await;
    // The one that serves is not compared.
    site.publish("newer", Behaviour::Honest);
    assert_eq!(gateway.notify("newer").await.status, 200);
    let case = case("sampled", 1);
    let request = move |id: &str| {
        let token = format!("Bearer {TOKEN}");
        let mut case = case.clone();
        // A user for each request: LTR's share is of the users.
        case["case"]["user_id"] = id.into();
        post(
            "/rank",
            &[("x-request-id", id.as_bytes()), ("authorization", token.as_bytes())],
            case.to_string(),
        )
    };
    let served = send_all(gateway.address(), ids, request, |answer| {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["source"] == "ltr"
    });
    let served = served.await;
    let compared = site.texts("SELECT request_id FROM ltr_shadow_request").await;
    (compared.into_iter().collect(), served)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make soak runs it"]
async fn the_edge_chooses_a_tenth_which_the_gateway_chooses_too_and_no_other_choice_depends_on_it() {
    let ids = ids();
    let origin = Origin::start().await;
    let envoy = edge(&origin);
    let request = |id: &str| get("/fast", &[("x-request-id", id.as_bytes())]);
    let (compared, served) = gateway(&ids).await;
    let (mut marks, mut asked) = (0, 0);
    for listener in LISTENERS {
        let answers = send_all(envoy.listener(listener), &ids, request, drop);
        assert_eq!(answers.await.len(), REQUESTS);
        let seen: HashMap<String, Seen> = origin.take().into_iter().map(|seen| (name(&seen.id()), seen)).collect();
        assert_eq!(seen.len(), REQUESTS);
        let marked = seen.iter().filter(|(_, seen)| seen.is_marked());
        let marked: HashSet<String> = marked.map(|(id, _)| id.clone()).collect();
        let differ: Vec<&String> = marked.symmetric_difference(&compared).collect();
        let example = differ.first();
        assert!(
            differ.is_empty(),
            "{listener}: {} differ, for example {example:?}",
            differ.len()
        );
        assert_a_tenth_that_depends_on_nothing(&seen, &served);
        marks += marked.len() as u64;
        assert_eq!(envoy.stat("ltr_edge_marked_total"), Some(marks));
        // With the bypass, requests that are not sampled skip the filter.
        if listener != LISTENERS[2] {
            asked += (REQUESTS - marked.len()) as u64;
        }
        assert_eq!(envoy.stat("ltr_edge_not_chosen_total"), Some(asked), "{listener}");
    }
}

/// Of the requests that were seen, and of whether LTR served each.
fn assert_a_tenth_that_depends_on_nothing(seen: &HashMap<String, Seen>, served: &HashMap<String, bool>) {
    let expected = REQUESTS as f64 * 0.10;
    let marked = seen.values().filter(|seen| seen.is_marked()).count();
    let off = (marked as f64 - expected).abs();
    assert!(off <= Z * (expected * 0.90).sqrt(), "{marked} marked");

    // Envoy writes into the id what it decided about tracing.
    let traced = seen
        .values()
        .map(|seen| (seen.is_marked(), seen.id().as_bytes()[14] == b'9'));
    let by_trace = chi_square(traced);
    assert!(by_trace < CHI_SQUARE, "trace sampling: {by_trace}");
    let salted = seen.iter().map(|(id, seen)| (seen.is_marked(), served[id]));
    let by_salt = chi_square(salted);
    assert!(by_salt < CHI_SQUARE, "the gateway's rollout: {by_salt}");
    // Envoy throws dice for each request, others at every run.
    let routed = seen
        .values()
        .map(|seen| (seen.is_marked(), seen.header("x-arm") == Some(b"a")));
    let by_route = chi_square(routed);
    assert!(by_route < CHI_SQUARE_OF_DICE, "the weighted route: {by_route}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_envoy_makes_are_chosen_alike() {
    let origin = Origin::start().await;
    let envoy = edge(&origin);
    for listener in LISTENERS {
        let mut connection = Connection::open(envoy.listener(listener), Protocol::Http1).await;
        for _ in 0..2_000 {
            assert_eq!(connection.send(get("/fast", &[])).await.unwrap().status, 200);
        }
    }
    let sampler = ranking::Sampler::new("ltr-shadow-v1", 0.10).unwrap();
    let seen = origin.take();
    for seen in &seen {
        let id: Uuid = seen.id().parse().unwrap();
        assert_eq!(seen.is_marked(), sampler.selects(id), "{id}");
    }
    assert!(seen.iter().any(Seen::is_marked) && !seen.iter().all(Seen::is_marked));
}

/// Envoy replaces the ids of clients, so that no client chooses whether it is sampled.
#[tokio::test(flavor = "multi_thread")]
async fn where_envoy_makes_all_ids_it_is_no_matter_what_clients_send() {
    let origin = Origin::start().await;
    let own = mark(0.3);
    let mut more = past(&own, &to("origin"));
    more["preserve_external_request_id"] = json!(false);
    more["tracing"] = traced(50.0)["tracing"].take();
    let configuration = Configuration::new()
        .listener_with("edge", &[filter(&mark_file(), &own)], to("origin"), more)
        .cluster("origin", origin.address())
        .cluster("collector", NOBODY.into());
    let envoy = Envoy::start(&configuration.to_json());
    let sampler = ranking::Sampler::new("ltr-shadow-v1", 0.3).unwrap();
    let mut connection = Connection::open(envoy.listener("edge"), Protocol::Http1).await;
    for (at, id) in ids().into_iter().take(1_000).enumerate() {
        let mut id = id.to_string();
        id.replace_range(14..15, ["4", "9", "a", "b"][at % 4]);
        let id = if at % 3 == 0 { id.to_uppercase() } else { id };
        let headers: [(&str, &[u8]); 1] = [("x-request-id", id.as_bytes())];
        assert_eq!(connection.send(get("/fast", &headers)).await.unwrap().status, 200);
        let seen = origin.take().remove(0);
        let made = seen.id();
        assert_ne!(name(&made), name(&id.to_lowercase()));
        assert_eq!(seen.is_marked(), sampler.selects(made.parse().unwrap()), "{made}");
    }
    assert_eq!(envoy.stat("ltr_edge_not_chosen_total"), Some(0));
}

/// Whatever a header says: users who come twice, not at all, or in bytes that are no text.
#[tokio::test(flavor = "multi_thread")]
async fn users_are_chosen_alike_past_the_filter_and_through_it() {
    let origin = Origin::start().await;
    let mut own = mark(0.3);
    own["sampling"]["key_header"] = json!("x-user-id");
    let only = [filter(&mark_file(), &own)];
    let configuration = Configuration::new()
        .listener("through", &only, to("origin"))
        .listener_with("past", &only, to("origin"), past(&own, &to("origin")))
        .cluster("origin", origin.address());
    let envoy = Envoy::start(&configuration.to_json());
    let users: Vec<String> = (0..200).map(|at| format!("user {at}")).collect();
    let mut requests: Vec<Vec<(&str, &[u8])>> = vec![vec![], vec![("x-user-id", b"")]];
    for (at, user) in users.iter().enumerate() {
        let user: (&str, &[u8]) = ("x-user-id", user.as_bytes());
        requests.push(vec![user]);
        requests.push(vec![user, ("x-user-id", users[at / 2].as_bytes())]);
        requests.push(vec![("x-user-id", b"\xff"), user]);
    }
    let mut marked = Vec::new();
    for listener in ["through", "past"] {
        let mut connection = Connection::open(envoy.listener(listener), Protocol::Http1).await;
        for headers in &requests {
            let headers: Headers<'_> = headers;
            assert_eq!(connection.send(get("/fast", headers)).await.unwrap().status, 200);
        }
        marked.push(origin.take().iter().map(Seen::is_marked).collect::<Vec<_>>());
    }
    assert_eq!(marked[0], marked[1]);
    let sampler = ranking::Sampler::new("ltr-shadow-v1", 0.3).unwrap();
    for (user, marked) in users.iter().zip(marked[1].iter().skip(2).step_by(3)) {
        assert_eq!(*marked, sampler.selects_key(user.as_bytes()), "{user}");
    }
}

#[test]
fn a_choice_that_depends_on_another_does_not_pass_for_independent() {
    let fair = |at: u32| at.is_multiple_of(2);
    let independent = (0..REQUESTS as u32).map(|at| (at.is_multiple_of(10), fair(at / 10)));
    assert!(chi_square(independent) < CHI_SQUARE);
    // One in a hundred follows.
    let dependent = (0..REQUESTS as u32).map(|at| {
        let chosen = at.is_multiple_of(10);
        (chosen, if at % 50 == 0 { chosen } else { fair(at / 10) })
    });
    assert!(chi_square(dependent) > CHI_SQUARE_OF_DICE);
}
