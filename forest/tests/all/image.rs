//! Images are hostile: they are refused, or they score without panicking.

use forest::{Forest, Model, Output, Scaler, pack};
use proptest::prelude::*;

use crate::generator::{Random, edges, model_text, rows};
use crate::shapes::shapes;

/// Bytes at an address that is a multiple of 8.
fn aligned(bytes: &[u8], use_them: impl FnOnce(&[u8])) {
    let mut room = vec![0_u8; bytes.len() + 8];
    let start = room.as_ptr().align_offset(8);
    room[start..start + bytes.len()].copy_from_slice(bytes);
    use_them(&room[start..start + bytes.len()]);
}

fn refuse_or_score(bytes: &[u8]) {
    aligned(bytes, |image| {
        let Ok(forest) = Forest::new(image) else {
            return;
        };
        if forest.width() > 1 << 12 || forest.outputs() > 1 << 8 {
            return;
        }
        let rows = rows(9, forest.width(), &edges(), &mut Random(7));
        let mut scores = vec![0.0; 9 * forest.outputs()];
        forest.score(&rows, Output::Converted, &mut scores);
        let mut contributions = vec![0.0; 9 * forest.outputs() * (forest.width() + 1)];
        let _ = forest.explain(&rows, &mut contributions);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_damaged_image_is_refused_or_scores(shape in shapes(), seed: u64, flips in 1..4_usize) {
        let (text, _) = model_text(&shape);
        let model = Model::parse(text.as_bytes()).expect("valid");
        let ones = vec![1.0; shape.features];
        let scaler = Scaler::new(ones.clone(), ones).expect("valid");
        let image = pack(&model, (seed % 2 == 0).then_some(&scaler));
        let mut random = Random(seed);
        for _ in 0..20 {
            let mut damaged = image.clone();
            for _ in 0..flips {
                // Half of the damage goes to the header and the first sections.
                let bound = if random.chance(50) { damaged.len().min(256) } else { damaged.len() };
                let at = random.below(bound);
                damaged[at] ^= 1 << random.below(8);
            }
            refuse_or_score(&damaged);
        }
    }

    #[test]
    fn an_image_cut_short_is_refused(shape in shapes(), seed: u64) {
        let (text, _) = model_text(&shape);
        let image = pack(&Model::parse(text.as_bytes()).expect("valid"), None);
        let length = Random(seed).below(image.len() / 8) * 8;
        aligned(&image[..length], |cut| assert!(Forest::new(cut).is_err()));
    }
}

#[test]
fn an_image_out_of_alignment_is_refused() {
    let shape = crate::generator::Shape::default();
    let model = Model::parse(model_text(&shape).0.as_bytes()).expect("valid");
    let mut shifted = vec![0];
    shifted.extend(pack(&model, None));
    aligned(&shifted, |bytes| {
        let error = Forest::new(&bytes[1..]).expect_err("one byte off");
        assert!(error.to_string().contains("aligned"), "{error}");
    });
}
