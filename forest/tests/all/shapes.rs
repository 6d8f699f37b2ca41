//! Which models are drawn.

use proptest::prelude::*;

use crate::generator::Shape;

pub(crate) fn objectives() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "regression",
        "regression sqrt",
        "binary sigmoid:1",
        "binary sigmoid:0.7",
        "poisson",
        "tweedie tweedie_variance_power:1.5",
        "cross_entropy",
        "cross_entropy_lambda",
        "lambdarank",
        "multiclass num_class:3",
        "multiclassova num_class:3 sigmoid:1.3",
        "custom",
    ])
}

/// Small models of every kind.
pub(crate) fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = (1..6_usize, 0..20_usize, 1..24_usize);
    (any::<u64>(), sizes, objectives(), any::<[bool; 2]>()).prop_map(
        |(seed, (features, iterations, leaves), objective, [average, explained])| Shape {
            seed,
            features,
            iterations,
            leaves,
            objective,
            average,
            explained,
            ..Shape::default()
        },
    )
}
