//! A bundle gives back what was put in, and refuses what is not one.

use forest::bundle::{Description, decode, encode};

fn description() -> Description {
    Description {
        model_version: "20261123T021500Z".into(),
        feature_names: vec!["area_match".into(), "preço".into()],
        objective: "lambdarank".into(),
        trees: 21,
        outputs: 1,
        training_window: Some(("2026-10-01T00:00:00Z".into(), "2026-11-01T00:00:00Z".into())),
    }
}

#[test]
fn round_trip_keeps_description_and_aligned_image() {
    for window in [None, description().training_window] {
        let description = Description {
            training_window: window,
            ..description()
        };
        let bytes = encode(&description, b"image");
        let (decoded, image) = decode(&bytes).unwrap();
        assert_eq!(decoded, description);
        assert_eq!(image, b"image");
        assert_eq!((bytes.len() - image.len()) % 8, 0);
    }
}

#[test]
fn a_bundle_cut_short_is_refused() {
    let bytes = encode(&description(), b"");
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn any_byte_changed_never_panics() {
    let bytes = encode(&description(), b"12345678");
    for index in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[index] = value;
            let _ = decode(&changed);
        }
    }
}
