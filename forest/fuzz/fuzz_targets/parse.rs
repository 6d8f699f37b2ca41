//! Any text parses or is refused; what parses scores the same by the rules and packed, and is the same model with the
//! line ends of Windows.
#![no_main]

use forest::{Forest, Model, Output, oracle, pack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(model) = Model::parse(text) else { return };
    let image = pack(&model, None);
    if !text.contains(&b'\r') {
        let windows: Vec<u8> = text
            .iter()
            .flat_map(|&byte| if byte == b'\n' { vec![b'\r', byte] } else { vec![byte] })
            .collect();
        let other = Model::parse(&windows).expect("line ends change nothing");
        assert_eq!(pack(&other, None), image);
    }
    let forest = Forest::new(&image).expect("pack makes valid images");
    let (width, outputs) = (forest.width(), forest.outputs());
    // Rows out of the text's own bytes: thresholds as written are not hit, special values are.
    let special = [
        f64::NAN,
        0.0,
        -0.0,
        1e-35,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.5,
        1.0,
        33.0,
    ];
    let value = |n: usize| match text[n % text.len()] {
        byte if (byte as usize) < 128 => special[byte as usize % special.len()],
        byte => f64::from(byte) - 190.0,
    };
    let rows: Vec<f64> = (0..9 * width).map(value).collect();
    let mut packed = vec![0.0; 9 * outputs];
    forest.score(&rows, Output::Converted, &mut packed);
    let mut expected = vec![0.0; outputs];
    for (row, packed) in rows.chunks(width).zip(packed.chunks(outputs)) {
        oracle::score(&model, row, Output::Converted, &mut expected);
        let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        assert!(packed.iter().zip(&expected).all(same), "{packed:?} {expected:?}");
    }
});
