//! What parses scores by every kernel as it does by the rules, at and beside its own thresholds.
#![no_main]

use forest::{Forest, Model, Output, Scaler, Scratch, oracle, pack};
use libfuzzer_sys::fuzz_target;

/// Enough for the kernel of many rows, and for a second pass that is nearly empty.
const ROWS: usize = 131;
const SPECIAL: [f64; 20] = [
    f64::NAN,
    -f64::NAN,
    0.0,
    -0.0,
    1e-35_f32 as f64,
    -1e-35_f32 as f64,
    5e-324,
    -5e-324,
    f64::MAX,
    f64::MIN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    0.5,
    -0.5,
    1.0,
    -1.0,
    31.0,
    33.5,
    65_536.0,
    2_147_483_648.0,
];

fuzz_target!(|text: &[u8]| {
    let Ok(model) = Model::parse(text) else { return };
    let (width, outputs) = (model.num_features(), model.num_outputs());
    if width > 256 || outputs > 64 || model.num_trees() > 512 {
        return;
    }
    let scaler = Scaler::new(vec![0.25; width], vec![3.0; width]).expect("valid");
    let rows = rows(text, width);
    check(&model, None, &rows, &rows);
    let mut scaled = rows.clone();
    scaled.chunks_mut(width).for_each(|row| scaler.apply(row));
    check(&model, Some(&scaler), &rows, &scaled);
});

/// Values that the text writes, what they are before they are scaled, their neighbours, and special ones.
fn rows(text: &[u8], width: usize) -> Vec<f64> {
    let words = text.split(|byte| matches!(byte, b' ' | b'\n' | b'='));
    let numbers = words.filter_map(|word| str::from_utf8(word).ok()?.parse::<f64>().ok());
    let mut values = SPECIAL.to_vec();
    values.extend(numbers.take(4000).flat_map(|x| {
        let raw = x * 3.0 + 0.25;
        [x, x, x.next_up(), x.next_down(), raw, raw.next_up(), raw.next_down()]
    }));
    // A seed out of the text, so that the fuzzer has a hand in which values meet.
    let mut state = text.iter().fold(1_u64, |state, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut value = || {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        values[(state >> 33) as usize % values.len()]
    };
    (0..ROWS * width).map(|_| value()).collect()
}

/// `scaled` are the rows that the oracle is given.
fn check(model: &Model, scaler: Option<&Scaler>, rows: &[f64], scaled: &[f64]) {
    let image = pack(model, scaler);
    let mut room = vec![0; image.len() + 8];
    let start = room.as_ptr().align_offset(8);
    let room = &mut room[start..start + image.len()];
    room.copy_from_slice(&image);
    let forest = Forest::new(room).expect("pack makes valid images");
    let (width, outputs) = (forest.width(), forest.outputs());
    let mut scratch = Scratch::default();
    for output in [Output::Raw, Output::Converted] {
        let mut expected = vec![0.0; ROWS * outputs];
        for (row, out) in scaled.chunks(width).zip(expected.chunks_mut(outputs)) {
            oracle::score(model, row, output, out);
        }
        for count in [1, 4, 9, 20, ROWS] {
            let mut scores = vec![f64::NAN; count * outputs];
            forest.score_with(&mut scratch, &rows[..count * width], output, &mut scores);
            let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(
                scores.iter().zip(&expected).all(same),
                "{count} rows: {scores:?} {expected:?}"
            );
        }
    }
}
