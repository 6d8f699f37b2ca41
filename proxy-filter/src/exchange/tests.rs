use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::Fake;

mod mark;
mod mirror;
mod score;

const SALT: &str = "0123456789abcdef0123456789abcdef";
const VERSION: &str = "20261001T021500Z";
const USER: &str = "6f1b1a34-3c1e-4c5a-9e0d-2f5b8c7d9e10";

fn config() -> Value {
    json!({
        "sampling": {"salt": "ltr-shadow-v1", "fraction": 1.0},
        "routes": [
            {"path_prefix": "/rank", "method": "POST", "modes": ["mark"]},
            {"path_prefix": "/copied", "method": "POST", "modes": ["mirror"]},
            {"path_prefix": "/both", "method": "POST", "modes": ["mark", "mirror"]},
            {"path_prefix": "/ltr/score", "method": "POST", "modes": ["score"]},
        ],
        "mirror": {
            "cluster": "shadow", "authority": "shadow.internal", "headers": ["authorization", "x-team"],
            "max_body_bytes": 1000, "max_in_flight": 2, "timeout_ms": 1000, "personal": {},
        },
        "score": {"max_body_bytes": 1000, "max_rows": 3, "max_json_depth": 32, "tokens_sha256": []},
    })
}

/// The configuration with changes by JSON pointer. A missing last member is added.
fn filter(changes: &[(&str, Value)]) -> Rc<Filter> {
    let mut json = config();
    for (place, value) in changes {
        let (parent, name) = place.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    let config = Config::read(json.to_string().as_bytes(), |_| Some(SALT.to_owned())).unwrap();
    Rc::new(Filter::new(config, Some(model())))
}

/// A stump on `x`: -1.5 up to 0.5, else 2.5.
fn model() -> Model {
    let text = b"tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nfeature_names=x\n\n\
        Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=0.5\ndecision_type=2\n\
        left_child=-1\nright_child=-2\nleaf_value=-1.5 2.5\n\nend of trees\n";
    let model = forest::Model::parse(text).unwrap();
    let image: &'static [u8] = Box::leak(forest::pack(&model, None).into_boxed_slice());
    let forest = Box::leak(Box::new(forest::Forest::new(image).unwrap()));
    Model::new(VERSION, &["x".to_owned()], forest).unwrap()
}

/// Sends a whole request, with its body in these parts.
fn send(filter: &Rc<Filter>, proxy: &Fake, parts: &[&[u8]]) -> Vec<Next> {
    let mut exchange = Exchange::new(filter.clone());
    let mut said = vec![exchange.headers(proxy, parts.is_empty())];
    for (at, part) in parts.iter().enumerate() {
        *proxy.body.borrow_mut() = part.to_vec();
        said.push(exchange.body(proxy, part.len(), at + 1 == parts.len()));
    }
    exchange.over(proxy);
    filter.tick(proxy);
    said
}

fn passed(said: &[Next]) -> bool {
    said.iter().all(|next| *next == Next::Continue)
}

fn trusting() -> (&'static str, Value) {
    ("/trusted", json!({"cidrs": ["127.0.0.0/8"]}))
}

proptest! {
    #[test]
    fn no_header_panics_or_holds_up_what_is_not_to_be_scored(
        headers in proptest::collection::btree_map(
            "(:path|:method|x-request-id|x-shadow-ltr|x-ltr-edge-copy|x-ltr-opt-out|x-ltr-shadow-fraction|content-length|content-type|upgrade)",
            any::<Vec<u8>>(), 0..10),
        end: bool,
    ) {
        let proxy = headers.iter().fold(Fake::post("/both"), |proxy, (name, value)| proxy.with(name, value));
        let mut exchange = Exchange::new(filter(&[trusting()]));
        prop_assert_eq!(exchange.headers(&proxy, end), Next::Continue);
        exchange.over(&proxy);
    }
}
