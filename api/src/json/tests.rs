use proptest::prelude::*;
use serde_json::json;

use super::*;

fn code(body: &[u8]) -> &'static str {
    Document::parse(body, 32).err().expect("refused").code
}

#[test]
fn each_malformed_body_is_refused_with_its_own_code() {
    assert_eq!(code(b"{\"a\": \"\xff\"}"), "invalid_utf8");
    assert_eq!(code(b"{\"a\": 1"), "invalid_json");
    assert_eq!(code(b""), "invalid_json");
    assert_eq!(code(b"{} {}"), "invalid_json");
    assert_eq!(code(b"{\"a\": NaN}"), "invalid_json");
    assert_eq!(code(b"{\"a\": 1e999}"), "invalid_json");
    assert_eq!(code("[".repeat(10_000).as_bytes()), "too_deep");
    assert_eq!(code("{\"a\":".repeat(10_000).as_bytes()), "too_deep");
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for max_depth in [8, 126] {
        assert!(Document::parse(nested(max_depth).as_bytes(), max_depth).is_ok());
        let deeper = nested(max_depth + 1);
        let error = Document::parse(deeper.as_bytes(), max_depth).err().unwrap();
        assert_eq!(error.code, "too_deep", "{}", error.message);
        assert!(error.message.contains("host.max_json_depth"), "{}", error.message);
    }
    assert_eq!(
        code(format!("[{}0]", "0,".repeat(MAX_VALUES)).as_bytes()),
        "too_many_values"
    );
    for read in [Document::parse, Document::parse_many] {
        let error = read(b"{\"a\": 1,\n \"a\": 2}", 32).err().unwrap();
        assert_eq!(error.code, "doubled_name");
        assert!(error.message.contains("at line 2 column "), "{}", error.message);
    }
}

#[test]
fn a_too_large_number_and_an_unpaired_surrogate_are_named_in_the_error() {
    let number = "a number is too large for a double at line 1 column ";
    let surrogate = "unpaired surrogate";
    for (body, says) in [
        (r#"{"a": 1e400}"#, number),
        (r#"{"a": [-1e400]}"#, number),
        (r#"[123456789e999999]"#, number),
        (r#"{"a": "\ud800"}"#, surrogate),
        (r#"{"a": "\udc00"}"#, surrogate),
        (r#"{"a": "\ud800x"}"#, surrogate),
        (r#"{"a": "\ud800\u0041"}"#, surrogate),
        (r#"{"\udfff": 1}"#, surrogate),
    ] {
        for read in [Document::parse, Document::parse_many] {
            let error = read(body.as_bytes(), 32)
                .err()
                .unwrap_or_else(|| panic!("{body} is accepted"));
            assert_eq!(error.code, "invalid_json", "{body}");
            assert!(error.message.contains(says), "{body}: {}", error.message);
        }
    }
    assert!(Document::parse(br#"["\ud83d\ude00", 1e308, 5e-324, 1e-999, 18446744073709551616]"#, 32).is_ok());
}

#[test]
fn a_name_that_comes_twice_is_refused_in_small_and_in_large_objects() {
    assert_eq!(code(br#"{"a": 1, "b": {"x": 1, "x": 2}}"#), "doubled_name");
    assert_eq!(code(br#"{"a": 1, "\u0061": 2}"#), "doubled_name");
    for (count, doubled) in [(FEW - 1, 0), (FEW, 0), (FEW, FEW - 1), (FEW + 5, FEW + 2), (FEW + 5, 3)] {
        let names: Vec<String> = (0..count).map(|i| format!("\"n{i}\": 0")).collect();
        let body = format!("{{{}, \"n{doubled}\": 1}}", names.join(", "));
        assert_eq!(
            code(body.as_bytes()),
            "doubled_name",
            "{count} names, then n{doubled} again"
        );
    }
}

#[test]
fn values_may_follow_each_other_on_lines_of_their_own() {
    let document = Document::parse_many(b"{\"a\": 1}\n\n{\"a\": 2}\r\n", 32).unwrap();
    let values: Vec<Value> = document.roots().map(Json::to_value).collect();
    assert_eq!(values, [json!({"a": 1}), json!({"a": 2})]);
}

#[test]
fn fields_come_by_name_in_any_order_and_others_are_refused() {
    let body = br#"{"b": [1, {"x": null}], "a": "\u00e9", "c": null}"#;
    let document = Document::parse(body, 32).unwrap();
    let [a, b, c, d] = document.root().fields(&["a", "b", "c", "d"]).unwrap();
    assert_eq!(a.read(Json::string).unwrap(), "\u{e9}");
    assert_eq!(b.required().unwrap().to_value(), json!([1, {"x": null}]));
    assert!(c.optional().is_none() && c.required().unwrap().is_null());
    assert_eq!(d.required().err().unwrap().field, "d");
    assert_eq!(a.read(|json| json.unsigned(9)).unwrap_err().field, "a");
    let error = document.root().fields(&["a", "b"]).err().unwrap();
    assert_eq!((error.field.as_str(), error.value.as_str()), ("c", "null"));
}

proptest! {
    #[test]
    fn any_value_is_read_as_serde_json_reads_it(value in value(), spaced: bool) {
        let text = if spaced { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let document = Document::parse(text.as_bytes(), 32).unwrap();
        prop_assert_eq!(document.root().to_value(), value);
    }

    #[test]
    fn a_mutated_text_is_refused_if_serde_json_refuses_it(
        value in value(), place: prop::sample::Index, by in "[\\[\\]{}:,\"\\\\0-9eE.+\\- a-z\u{1}\n\u{e9}]{0,3}",
    ) {
        let text = value.to_string();
        let at = text.floor_char_boundary(place.index(text.len()));
        let rest = text[at..].chars().next().map_or(0, char::len_utf8);
        let text = format!("{}{by}{}", &text[..at], &text[at + rest..]);
        let reference = serde_json::from_str::<Value>(&text);
        match Document::parse(text.as_bytes(), 32) {
            Ok(document) => prop_assert_eq!(document.root().to_value(), reference.unwrap()),
            Err(error) if error.code == "invalid_json" => prop_assert!(reference.is_err(), "{}", error.message),
            Err(_) => {}
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        proptest::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 200, 40, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..40).prop_map(Value::from),
            proptest::collection::hash_map(any::<String>(), inner, 0..40)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
