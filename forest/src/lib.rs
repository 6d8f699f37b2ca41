//! LightGBM text models, evaluated bit for bit as LightGBM does.
//!
//! The road of a model through this crate:
//!
//! ```text
//! model text --Model::parse--> Model --pack--> image (bytes) --Forest::new--> Forest --score--> scores
//!                                |             nodes, tables                    +--explain--> contributions
//!                                +--oracle::score, oracle::explain--> the same, by the rules one by one
//! ```
//!
//! [`oracle`] reads like LightGBM's rules and is what everything else is held against; [`Forest`] is
//! what production runs. An image is position-independent and little-endian, so it can be baked into
//! a WebAssembly data segment and read in place. [`bundle`] puts a description in front of it.
//!
//! An image holds a model twice. Its *nodes* are the trees as they are: explaining goes over them, and
//! so does scoring where nothing better fits. Its *tables* are what the kernels in `fast` score
//! ordinary models by; `docs/scorer.md` explains them.
//!
//! The crate does no I/O and needs only `alloc`. Unsafe code is denied, but in `fast`, whose unchecked
//! reads rest on what has been checked of the tables before the first row. Model texts and images are
//! treated as hostile: neither parsing nor scoring panics, and memory is bounded by the input's size.
//!
//! ```
//! let text = b"tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nfeature_names=x\n\n\
//!     Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=0.5\ndecision_type=2\n\
//!     left_child=-1\nright_child=-2\nleaf_value=-1.5 2.5\n\nend of trees\n";
//! let model = forest::Model::parse(text).unwrap();
//! let image = forest::pack(&model, None);
//! let forest = forest::Forest::new(&image).unwrap();
//! let mut scores = [0.0; 2];
//! forest.score(&[0.5, 0.75], forest::Output::Raw, &mut scores);
//! assert_eq!(scores, [-1.5, 2.5]);
//! ```
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod bundle;
mod explain;
mod fast;
mod image;
pub mod math;
mod model;
mod objective;
pub mod oracle;
mod output;
mod pack;
mod packed;
mod parse;
mod scaler;
mod zero;

pub use explain::ExplainError;
pub use fast::Scratch;
pub use image::ImageError;
pub use model::Model;
pub use output::Output;
pub use pack::pack;
pub use packed::Forest;
pub use parse::ParseError;
pub use scaler::{Scaler, ScalerError};
