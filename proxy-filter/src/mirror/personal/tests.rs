use proptest::prelude::*;
use serde_json::json;

use super::*;

const SALT: &[u8] = b"0123456789abcdef0123456789abcdef";

fn personal(redact: &[&str], pseudonymise: &[&str]) -> Personal {
    let pointers = |texts: &[&str]| texts.iter().map(|text| Pointer::parse(text).unwrap()).collect();
    Personal {
        redact: pointers(redact),
        pseudonymise: pointers(pseudonymise),
        salt: SALT.to_vec(),
    }
}

fn cleaned(personal: &Personal, json: &Value) -> (Value, Option<String>) {
    let clean = personal.clean(json.to_string().into_bytes()).unwrap();
    (serde_json::from_slice(&clean.body).unwrap(), clean.user_under)
}

#[test]
fn fields_are_redacted_or_come_under_the_gateways_pseudonym() {
    let personal = personal(
        &["/case/notes", "/lawyers/*/groups", "/tags/1", "/absent/x", "/a~1b"],
        &["/case/user_id", "/case/email", "/case/age"],
    );
    let user = "6f1b1a34-3c1e-4c5a-9e0d-2f5b8c7d9e10";
    let (json, user_under) = cleaned(
        &personal,
        &json!({
            "case": {"user_id": user, "email": "a@b.c", "age": 40, "notes": {"text": "ill"}, "case_id": "c"},
            "lawyers": [{"groups": {"gender": "F"}, "x": 0.1}, {"x": 0.30000000000000004}],
            "tags": ["kept", "gone"],
            "a/b": 1,
        }),
    );
    let pseudonym = |text: &str| pseudonym_of_text(SALT, text).to_string();
    let expected = json!({
        "case": {"user_id": pseudonym(user), "email": pseudonym("a@b.c"), "age": null, "notes": null, "case_id": "c"},
        "lawyers": [{"groups": null, "x": 0.1}, {"x": 0.30000000000000004}],
        "tags": ["kept", null],
        "a/b": null,
    });
    assert_eq!(json, expected);
    assert_eq!(user_under, Some(salt_id(SALT).to_string()));
}

#[test]
fn the_user_is_said_to_be_a_pseudonym_only_if_it_is_one() {
    let both = personal(&["/case/user_id"], &["/case/user_id"]);
    let (json, _) = cleaned(&both, &json!({"case": {"user_id": "u"}}));
    assert_eq!(json["case"]["user_id"], Value::Null, "redacting wins");
    let personal = personal(&[], &["/case/user_id", "/case/email"]);
    for body in [
        json!({"case": {"email": "x"}}),
        json!({"case": {"user_id": null}}),
        json!(1),
    ] {
        assert_eq!(cleaned(&personal, &body).1, None, "{body}");
    }
}

#[test]
fn what_cannot_be_read_does_not_leave() {
    let personal = personal(&["/notes"], &[]);
    let gzip = b"\x1f\x8b\x08\x00secret";
    for body in [
        gzip.as_slice(),
        b"notes=secret",
        b"{\"notes\": \"secret\"",
        b"\xff",
        b"{\"notes\": 1, \"\\u006eotes\": 2}",
    ] {
        assert!(personal.clean(body.to_vec()).is_err());
    }
    assert_eq!(
        personal.clean(Vec::new()).unwrap().body,
        b"",
        "an empty body has no personal fields"
    );
}

proptest! {
    #[test]
    fn without_personal_fields_any_body_is_as_it_was(body: Vec<u8>) {
        prop_assert_eq!(personal(&[], &[]).clean(body.clone()).unwrap().body, body);
    }

    #[test]
    fn numbers_keep_every_bit(numbers in proptest::collection::vec(proptest::num::f64::NORMAL, 1..20)) {
        let (json, _) = cleaned(&personal(&["/x"], &[]), &json!({ "numbers": numbers }));
        let kept: Vec<f64> = serde_json::from_value(json["numbers"].clone()).unwrap();
        prop_assert!(kept.iter().zip(&numbers).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn no_body_and_no_pointer_panics(body: Vec<u8>, text in "(/[a~0*]{0,2}){0,3}") {
        if let Some(pointer) = Pointer::parse(&text) {
            let personal = Personal { redact: vec![pointer], pseudonymise: Vec::new(), salt: SALT.to_vec() };
            let _ = personal.clean(body);
        }
    }
}
