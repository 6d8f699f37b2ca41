//! `ltr-trainer compile`: any LightGBM text model as a component, and as an Envoy filter. `ltr-trainer edge-mark`: the
//! filter that needs none.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;

use crate::compile;
use crate::feature_map::FeatureMap;
use crate::files;
use crate::outcome::Outcome;

const EXAMPLES: &str = "Examples:
  ltr-trainer compile LightGBM_model.txt -o scorer.wasm
  ltr-trainer compile ltr_model.txt --feature-map feature_map.json -o scorer.wasm --model-version 20261123T021500Z
  ltr-trainer compile ltr_model.txt -o scorer.wasm --edge-filter edge-filter.wasm";

/// Compiles a LightGBM text model into a WebAssembly component that imports nothing.
///
/// The evaluator is inside this program: neither Rust nor a network is needed. The same inputs give
/// the same bytes.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model, as LightGBM saves it
    #[arg(value_name = "MODEL.txt")]
    pub model: PathBuf,
    /// Feature order and scaler, baked in
    #[arg(long, value_name = "JSON")]
    pub feature_map: Option<PathBuf>,
    /// Where the component goes
    #[arg(short, long, value_name = "WASM")]
    pub output: PathBuf,
    /// Where the Envoy filter with the same model goes
    #[arg(long, value_name = "WASM")]
    pub edge_filter: Option<PathBuf>,
    /// What the component says it is
    #[arg(long, value_name = "TEXT", default_value = "unversioned")]
    pub model_version: String,
}

/// Runs the command.
///
/// # Errors
/// A model or map that cannot be used; the output is then as it was.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let model = files::read(&args.model)?;
    let feature_map = match &args.feature_map {
        Some(path) => {
            Some(FeatureMap::parse(&files::read(path)?).with_context(|| format!("feature map {}", path.display()))?)
        }
        None => None,
    };
    let request = compile::Request {
        model: &model,
        feature_map: feature_map.as_ref(),
        model_version: &args.model_version,
        training_window: None,
    };
    let compiling = || format!("compiling {}", args.model.display());
    write(&args.output, compile::compile(&request).with_context(compiling)?)?;
    if let Some(path) = &args.edge_filter {
        write(path, compile::edge_filter(&request).with_context(compiling)?)?;
    }
    Ok(Outcome::Done)
}

/// Writes the Envoy filter that only marks, for sidecars without scores and copies.
///
/// It has no model and does not change with one. Envoy does not call it for the parts of a body, as it calls
/// edge-filter.wasm, so that marking costs less.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  ltr-trainer edge-mark -o edge-mark.wasm")]
pub struct MarkArgs {
    /// Where the filter goes
    #[arg(short, long, value_name = "WASM")]
    pub output: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be written.
pub fn edge_mark(args: &MarkArgs) -> anyhow::Result<Outcome> {
    write(&args.output, compile::edge_mark()?)?;
    Ok(Outcome::Done)
}

fn write(path: &Path, module: Vec<u8>) -> anyhow::Result<()> {
    files::write(path, &module)?;
    println!("{}: {} bytes", path.display(), module.len());
    Ok(())
}
