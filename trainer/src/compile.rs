//! LightGBM model text -> scorer component or Envoy filter, without Rust and without a network.
//!
//! Both are compiled once, when this program is built, and carried inside it as core modules with an empty slot.
//! Compiling a model packs it, splices the bytes into a module's memory and points the slot at them; the scorer's
//! module is then wrapped as a component.

use std::ops::Range;

use forest::bundle::{self, Description};
use forest::{Model, ParseError};
use rows::Categories;
use wasm_encoder::{CustomSection, Encode, MemorySection, MemoryType, Module, RawSection, SectionId};
use wasmparser::{Parser, Payload};

use crate::feature_map::{FeatureMap, FeatureMapError};

mod categories;
mod exports;

/// The evaluator with an empty slot, built by build.rs.
const SCORER: &[u8] = include_bytes!(env!("LTR_SCORER_MODULE"));
/// The filter with an empty slot, built by build.rs.
const EDGE_FILTER: &[u8] = include_bytes!(env!("LTR_EDGE_FILTER_MODULE"));
/// Marks the slot in the module's data: 16 bytes, then the address and length of the model as u32.
const SLOT: &[u8; 16] = b"ltr:model-slot/1";
const PAGE: u64 = 65_536;
/// wasm32 ends at 4 GiB, and the component still needs room for rows and scores.
const MAX_BUNDLE: usize = 1 << 30;

/// Why a model did not become a component or a filter.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The model text.
    #[error(transparent)]
    Model(#[from] ParseError),
    /// The feature map, alone or beside this model.
    #[error(transparent)]
    FeatureMap(#[from] FeatureMapError),
    /// More than fits into a component's memory.
    #[error("model: {0} bytes once packed; allowed: up to {MAX_BUNDLE}")]
    TooLarge(usize),
    /// The module inside this program is not the one it was built with.
    #[error("the module inside this program is damaged: {0}")]
    Module(String),
}

/// What to compile.
#[derive(Debug)]
pub struct Request<'a> {
    /// LightGBM model text.
    pub model: &'a [u8],
    /// Scaling to apply inside the component, before the trees; without it rows are taken as they are.
    pub feature_map: Option<&'a FeatureMap>,
    /// What the component says it is.
    pub model_version: &'a str,
    /// First and last moment of the training data, RFC 3339.
    pub training_window: Option<(&'a str, &'a str)>,
}

/// The scorer component. The same request gives the same bytes. Categories of pandas' that the model was trained on are a
/// custom section of it, for tools that read files; the scorer itself takes codes.
///
/// # Errors
/// A model text that is not one, a feature map about other features, a model beyond a component's memory.
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

/// The Envoy filter with the same model, bit for bit. The same request gives the same bytes.
///
/// # Errors
/// As [`compile`].
pub fn edge_filter(request: &Request) -> Result<Vec<u8>, CompileError> {
    exports::whole(&splice(EDGE_FILTER, &bundle(request)?)?)
}

/// The Envoy filter for those who only mark: without a model, and without the callbacks that Envoy would have to make
/// for each part of a body and for the end of a request. It refuses other modes.
///
/// # Errors
/// None that a test would not have found.
pub fn edge_mark() -> Result<Vec<u8>, CompileError> {
    exports::mark(EDGE_FILTER)
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
/// The bytes lie beyond the end the linker gave the memory, and the memory's minimum is raised over
/// them: the allocator, which takes what `memory.grow` gives it, never sees them.
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

/// The data section with the slot filled in and the bundle as one more segment.
fn data(content: &[u8], address: u32, bundle: &[u8]) -> Result<Vec<u8>, CompileError> {
    let (count, entries) = segments(content)?;
    let mut entries = content[entries..].to_vec();
    let mut found = entries
        .windows(SLOT.len())
        .enumerate()
        .filter(|(_, bytes)| bytes == SLOT);
    let (Some((slot, _)), None) = (found.next(), found.next()) else {
        return Err(damaged("its slot for a model is missing or doubled"));
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
    out.push(0); // an active segment of memory 0
    wasm_encoder::ConstExpr::i32_const(address as i32).encode(&mut out);
    bundle.encode(&mut out);
    Ok(out)
}

/// Every section: its id and where its content lies.
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

/// The count that a data or data-count section starts with, and where what follows begins.
fn segments(content: &[u8]) -> Result<(u32, usize), CompileError> {
    let mut reader = wasmparser::BinaryReader::new(content, 0);
    let count = reader.read_var_u32().map_err(damaged)?;
    Ok((count, reader.original_position()))
}

fn damaged(reason: impl ToString) -> CompileError {
    CompileError::Module(reason.to_string())
}
