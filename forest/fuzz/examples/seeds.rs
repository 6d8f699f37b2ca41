//! Writes seeds for the fuzz targets: models that get past the parser, and their images.
//!
//! `cargo run --release --example seeds`, in this folder.

use std::{fs, io};

use forest::{Model, Scaler, pack};

#[allow(dead_code, reason = "the tests draw rows with it too")]
#[path = "../../tests/all/generator.rs"]
mod generator;

use generator::{Growth, Pool, Shape, model_text};

fn main() -> io::Result<()> {
    for target in ["parse", "score", "image"] {
        fs::create_dir_all(format!("corpus/{target}"))?;
    }
    for (number, shape) in shapes().into_iter().enumerate() {
        let (text, _) = model_text(&shape);
        let model = Model::parse(text.as_bytes()).expect("valid");
        let scaler = Scaler::new(vec![0.25; shape.features], vec![2.0; shape.features]).expect("valid");
        let image = pack(&model, (number % 3 == 0).then_some(&scaler));
        fs::write(format!("corpus/parse/seed-{number}"), &text)?;
        fs::write(format!("corpus/score/seed-{number}"), &text)?;
        // Small ones: most of a large image is alike, and reading it takes the time of many runs.
        if image.len() <= 1 << 17 {
            fs::write(format!("corpus/image/seed-{number}"), image)?;
        }
    }
    Ok(())
}

fn shapes() -> Vec<Shape> {
    let growths = [
        Growth::Random,
        Growth::Balanced,
        Growth::Left,
        Growth::Right,
        Growth::Alternating,
        Growth::Bushy,
    ];
    let pools = [Pool::Special, Pool::Wild(60), Pool::Crowded(40, 4), Pool::Even(300)];
    let objectives = [
        "",
        "binary sigmoid:0.7",
        "multiclass num_class:3",
        "regression sqrt",
        "poisson",
    ];
    // Of every size from a single leaf to what is cut into parts, of many columns and of one.
    let sizes = [
        (1, 1, 1),
        (2, 3, 2),
        (3, 2, 9),
        (2, 9, 4),
        (1, 1, 300),
        (40, 6, 12),
        (1, 70, 3),
        (2, 2, 64),
        (1, 300, 3),
    ];
    let shape = |number: usize| {
        let (features, iterations, leaves) = sizes[number % sizes.len()];
        Shape {
            seed: number as u64,
            features,
            iterations,
            leaves,
            full: number.is_multiple_of(3),
            growth: growths[number % growths.len()],
            pool: pools[number / 2 % pools.len()],
            one_kind: number % 4 == 1,
            objective: objectives[number % objectives.len()],
            average: number.is_multiple_of(7),
            explained: !number.is_multiple_of(5),
            ..Shape::default()
        }
    };
    (0..80).map(shape).collect()
}
