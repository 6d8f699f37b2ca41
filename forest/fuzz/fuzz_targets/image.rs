//! Any bytes are refused as an image, or score and explain without panicking.
#![no_main]

use forest::{Forest, Output};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut room = vec![0; bytes.len() + 8];
    let start = room.as_ptr().align_offset(8);
    let image = &mut room[start..start + bytes.len()];
    image.copy_from_slice(bytes);
    let Ok(forest) = Forest::new(image) else { return };
    if forest.width() > 1 << 12 || forest.outputs() > 1 << 8 {
        return;
    }
    let values = [f64::NAN, 0.0, 1.0, -1.0, 40.0, f64::INFINITY, f64::NEG_INFINITY];
    let rows: Vec<f64> = (0..9 * forest.width()).map(|n| values[n % values.len()]).collect();
    forest.score(&rows, Output::Converted, &mut vec![0.0; 9 * forest.outputs()]);
    let group = forest.width() + 1;
    let _ = forest.explain(&rows[..forest.width()], &mut vec![0.0; forest.outputs() * group]);
});
