//! Compiles a LightGBM text model into the scorer component or the Envoy filter.
//!
//! Neither Rust nor a network is needed: build.rs compiles both core modules once, each with an
//! empty slot for a model, and this program embeds them. Compiling packs the model, splices the
//! bytes into the module's memory and points the slot at them. The scorer module is then wrapped
//! as a component.

use std::ops::Range;

use forest::bundle::{self, Description};
use forest::{Model, ParseError};
use rows::Categories;
use wasm_encoder::{CustomSection, Encode, MemorySection, MemoryType, Module, RawSection, SectionId};
use wasmparser::{Parser, Payload};

use crate::feature_map::{FeatureMap, FeatureMapError};

pub mod command;

mod categories;
mod exports;

/// The scorer module with an empty slot, built by build.rs.
const SCORER: &[u8] = include_bytes!(env!("LTR_SCORER_MODULE"));
/// The Envoy filter module with an empty slot, built by build.rs.
const EDGE_FILTER: &[u8] = include_bytes!(env!("LTR_EDGE_FILTER_MODULE"));
/// Marks the slot in the module's data: 16 bytes, then the address and length of the model as u32.
const SLOT: &[u8; 16] = b"ltr:model-slot/1";
const PAGE: u64 = 65_536;
/// A wasm32 memory ends at 4 GiB, and the component needs room for rows and scores as well.
const MAX_BUNDLE: usize = 1 << 30;

/// Why a model cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The model text is invalid.
    #[error(transparent)]
    Model(#[from] ParseError),
    /// The feature map is invalid or does not match the model.
    #[error(transparent)]
    FeatureMap(#[from] FeatureMapError),
    /// The packed model does not fit into a component's memory.
    #[error("model: {0} bytes once packed; allowed: up to {MAX_BUNDLE}")]
    TooLarge(usize),
    /// The embedded module is not the one that build.rs built.
    #[error("the module embedded in this program is damaged: {0}")]
    Module(String),
}

/// What to compile.
#[derive(Debug)]
pub struct Request<'a> {
    /// LightGBM model text.
    pub model: &'a [u8],
    /// Scaling that the component applies before the trees; `None`: no scaling.
    pub feature_map: Option<&'a FeatureMap>,
    /// The version that the component reports.
    pub model_version: &'a str,
    /// Times of the first and the last training case, RFC 3339.
    pub training_window: Option<(&'a str, &'a str)>,
}

/// Compiles the scorer component. The same request gives the same bytes.
///
/// If the model was trained on pandas categories, a custom section of the component lists them, for
/// tools that read files of rows. The scorer itself takes category codes.
///
/// # Errors
/// An invalid model text, a feature map of other features, or a model too large for a component.
pub fn compile(request: &Request) -> Result<Vec<u8>, CompileError> {
    let module = splice(SCORER, &bundle(request)?)?;
    let mut component = wit_component::ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(false).encode())
        .map_err(|e| CompileError::Module(format!("{e:#}")))?;
    if let Some(categories) = categories::of(request.model) {
        let section = CustomSection {
            name: Categories::SECTION.into(),
            data: categories.to_json().into(),
        };
        component.push(SectionId::Custom as u8);
        section.encode(&mut component);
    }
    Ok(component)
}

/// Compiles the Envoy filter with the same model, bit for bit. The output is reproducible, too.
///
/// # Errors
/// As [`compile`].
pub fn edge_filter(request: &Request) -> Result<Vec<u8>, CompileError> {
    exports::all_modes(&splice(EDGE_FILTER, &bundle(request)?)?)
}

/// The mark-only Envoy filter, without a model. It rejects configurations with other modes.
///
/// It does not export the callbacks for bodies and for the end of a request, so Envoy does not
/// make those calls.
///
/// # Errors
/// Only a damaged embedded module, which the tests would catch.
pub fn edge_mark() -> Result<Vec<u8>, CompileError> {
    exports::mark_only(EDGE_FILTER)
}

fn bundle(request: &Request) -> Result<Vec<u8>, CompileError> {
    let model = Model::parse(request.model)?;
    let scaler = match request.feature_map {
        Some(map) => {
            map.check(model.feature_names())?;
            Some(map.scaler())
        }
        None => None,
    };
    let description = Description {
        model_version: request.model_version.to_owned(),
        feature_names: model.feature_names().to_vec(),
        objective: model.objective().to_owned(),
        trees: model.num_trees() as u32,
        outputs: model.num_outputs() as u32,
        training_window: request
            .training_window
            .map(|(start, end)| (start.to_owned(), end.to_owned())),
    };
    let bundle = bundle::encode(&description, &forest::pack(&model, scaler.as_ref()));
    if bundle.len() > MAX_BUNDLE {
        return Err(CompileError::TooLarge(bundle.len()));
    }
    Ok(bundle)
}

/// Appends `bundle` to the module's memory as a data segment and points the slot at it.
///
/// The bytes lie behind the memory that the linker laid out, and the memory's minimum size grows to
/// include them. The allocator only uses pages from `memory.grow`, so it never touches them.
fn splice(module: &[u8], bundle: &[u8]) -> Result<Vec<u8>, CompileError> {
    let sections = sections(module)?;
    let old_pages = memory(module)?.minimum;
    let address = u32::try_from(old_pages * PAGE).map_err(|_| damaged("its memory is full"))?;
    let mut out = Module::new();
    for (id, range) in sections {
        let content = &module[range];
        let content = match id {
            id if id == SectionId::Memory as u8 => {
                let mut memories = MemorySection::new();
                let pages = old_pages + (bundle.len() as u64).div_ceil(PAGE);
                memories.memory(MemoryType {
                    minimum: pages,
                    ..memory(module)?
                });
                out.section(&memories);
                continue;
            }
            id if id == SectionId::DataCount as u8 => {
                let mut count = Vec::new();
                (segments(content)?.0 + 1).encode(&mut count);
                count
            }
            id if id == SectionId::Data as u8 => data(content, address, bundle)?,
            _ => content.to_vec(),
        };
        out.section(&RawSection { id, data: &content });
    }
    Ok(out.finish())
}

/// The data section with the slot filled in and the bundle as an additional segment.
fn data(content: &[u8], address: u32, bundle: &[u8]) -> Result<Vec<u8>, CompileError> {
    let (count, entries) = segments(content)?;
    let mut entries = content[entries..].to_vec();
    let mut found = entries
        .windows(SLOT.len())
        .enumerate()
        .filter(|(_, bytes)| bytes == SLOT);
    let (Some((slot, _)), None) = (found.next(), found.next()) else {
        return Err(damaged("it does not have exactly one slot for a model"));
    };
    let fields = slot + SLOT.len();
    let Some(slot) = entries.get_mut(fields..fields + 8) else {
        return Err(damaged("its slot for a model is cut off"));
    };
    slot[..4].copy_from_slice(&address.to_le_bytes());
    slot[4..].copy_from_slice(&(bundle.len() as u32).to_le_bytes());

    let mut out = Vec::with_capacity(content.len() + bundle.len() + 32);
    (count + 1).encode(&mut out);
    out.extend(entries);
    out.push(0); // active segment, memory 0
    wasm_encoder::ConstExpr::i32_const(address as i32).encode(&mut out);
    bundle.encode(&mut out);
    Ok(out)
}

/// The id and the content range of every section.
fn sections(module: &[u8]) -> Result<Vec<(u8, Range<usize>)>, CompileError> {
    let mut sections = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        sections.extend(payload.map_err(damaged)?.as_section());
    }
    Ok(sections)
}

/// The module's one memory.
fn memory(module: &[u8]) -> Result<MemoryType, CompileError> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::MemorySection(memories) = payload.map_err(damaged)? {
            let mut all = memories.into_iter();
            if let (Some(memory), None) = (all.next(), all.next()) {
                let memory = memory.map_err(damaged)?;
                return Ok(MemoryType {
                    minimum: memory.initial,
                    maximum: memory.maximum,
                    memory64: memory.memory64,
                    shared: memory.shared,
                    page_size_log2: memory.page_size_log2,
                });
            }
        }
    }
    Err(damaged("it does not have exactly one memory"))
}

/// The segment count at the start of a data or data-count section, and the offset behind it.
fn segments(content: &[u8]) -> Result<(u32, usize), CompileError> {
    let mut reader = wasmparser::BinaryReader::new(content, 0);
    let count = reader.read_var_u32().map_err(damaged)?;
    Ok((count, reader.original_position()))
}

fn damaged(reason: impl ToString) -> CompileError {
    CompileError::Module(reason.to_string())
}
