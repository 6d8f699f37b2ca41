//! Any bytes are refused as an image, or score, by every kernel, and explain without panicking.
#![no_main]

use forest::{Forest, Output};
use libfuzzer_sys::fuzz_target;

const SPECIAL: [f64; 13] = [
    f64::NAN,
    0.0,
    -0.0,
    1.0,
    -1.0,
    40.0,
    1e-35,
    1e300,
    -1e300,
    0.3,
    2_147_483_648.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

fuzz_target!(|bytes: &[u8]| {
    // Hardly anything behind the image, so that what reads past its end is seen.
    let mut room = vec![0_u64; bytes.len().div_ceil(8)];
    // SAFETY: the words' own bytes.
    let image = unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast::<u8>(), bytes.len()) };
    image.copy_from_slice(bytes);
    let Ok(forest) = Forest::new(image) else { return };
    if forest.width() > 1 << 12 || forest.outputs() > 1 << 8 {
        return;
    }
    for count in [1, 9, 20, 130] {
        let rows: Vec<f64> = (0..count * forest.width())
            .map(|n| SPECIAL[n * 7 % SPECIAL.len()])
            .collect();
        forest.score(&rows, Output::Converted, &mut vec![0.0; count * forest.outputs()]);
    }
    let row: Vec<f64> = (0..forest.width()).map(|n| SPECIAL[n % SPECIAL.len()]).collect();
    let group = forest.width() + 1;
    let _ = forest.explain(&row, &mut vec![0.0; forest.outputs() * group]);
});
