//! `ltr-trainer compile`: compiles a LightGBM text model into a component and an Envoy filter.
//! `ltr-trainer edge-mark`: writes the Envoy filter that needs no model.

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
/// Needs neither Rust nor a network: this program contains the compiled evaluator. The same inputs
/// give the same bytes.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// LightGBM model in text format
    #[arg(value_name = "MODEL.txt")]
    pub model: PathBuf,
    /// Feature order and scaling to embed (feature_map.json)
    #[arg(long, value_name = "JSON")]
    pub feature_map: Option<PathBuf>,
    /// Write the component to this file
    #[arg(short, long, value_name = "WASM")]
    pub output: PathBuf,
    /// Also write the Envoy filter with the same model to this file
    #[arg(long, value_name = "WASM")]
    pub edge_filter: Option<PathBuf>,
    /// Version name to embed
    #[arg(long, value_name = "TEXT", default_value = "unversioned")]
    pub model_version: String,
}

/// Runs the command.
///
/// # Errors
/// An invalid model or feature map; the output file is then unchanged.
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

/// Writes the mark-only Envoy filter, for sidecars that neither score nor copy requests.
///
/// The filter contains no model, so a new model does not change it. Marking costs less than with
/// edge-filter.wasm, because Envoy does not call this filter for request and response bodies.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  ltr-trainer edge-mark -o edge-mark.wasm")]
pub struct MarkArgs {
    /// Write the filter to this file
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
