//! What can be said about a component without running or compiling it.

use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmparser::{BinaryReaderError, Parser, Payload, WasmFeatures};

use crate::contract::{CONTRACT_VERSION, INTERFACE};
use crate::{Limits, LoadError};

mod code;
mod structure;

/// How many names of imports or exports are kept for a report, and how much of each.
const MAX_NAMES: usize = 64;
const MAX_NAME_CHARS: usize = 200;

/// The outside of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentFacts {
    /// Names of the component's imports (at most 64 of them); a scorer has none.
    pub imports: Vec<String>,
    /// Names of the component's exports (at most 64 of them).
    pub exports: Vec<String>,
    /// Size of the whole component.
    pub size_bytes: usize,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Core functions over all modules inside; of a component with imports perhaps not all.
    pub functions: u64,
    /// Bytes of the function bodies, as complete as `functions`.
    pub code_bytes: usize,
}

/// Parses and validates a component and says what it imports and exports. Of one that imports anything, and is made
/// of other parts than a scorer, that is all: it is not looked into.
///
/// # Errors
/// `TooLarge`, `NotAComponent` and `TooComplex`, by the default [`Limits`].
pub fn inspect(component: &[u8]) -> Result<ComponentFacts, LoadError> {
    inspect_within(component, &Limits::default())
}

pub(crate) fn inspect_within(component: &[u8], limits: &Limits) -> Result<ComponentFacts, LoadError> {
    if component.len() > limits.max_component_bytes {
        return Err(LoadError::TooLarge {
            size: component.len(),
            limit: limits.max_component_bytes,
        });
    }
    if !Parser::is_component(component) {
        return Err(LoadError::NotAComponent(if Parser::is_core_wasm(component) {
            "it is a core module; wrap it with `ltr-trainer compile`".into()
        } else {
            "it does not start with the component header".into()
        }));
    }
    let mut facts = outside(component)?;
    match structure::check(component, limits, &mut facts) {
        // What it imports, for which it is refused, may be why it is made of other parts than a scorer.
        Err(_) if !facts.imports.is_empty() => return Ok(facts),
        checked => checked?,
    }
    code::validate(component)?;
    Ok(facts)
}

/// The WebAssembly features a scorer may use; the engine is configured to the same. Without blocks that take and give
/// several values, each of which would be there once per block.
fn features() -> WasmFeatures {
    (WasmFeatures::WASM2 | WasmFeatures::COMPONENT_MODEL).difference(WasmFeatures::MULTI_VALUE)
}

/// What the component imports and exports, without a look at what is in it.
fn outside(component: &[u8]) -> Result<ComponentFacts, LoadError> {
    let mut facts = ComponentFacts {
        imports: Vec::new(),
        exports: Vec::new(),
        size_bytes: component.len(),
        sha256: hex::encode(Sha256::digest(component)),
        functions: 0,
        code_bytes: 0,
    };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(malformed)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    keep(&mut facts.imports, import.map_err(malformed)?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    keep(&mut facts.exports, export.map_err(malformed)?.name.name);
                }
            }
            _ => {}
        }
    }
    Ok(facts)
}

fn keep(names: &mut Vec<String>, name: &str) {
    if names.len() < MAX_NAMES {
        names.push(name.chars().take(MAX_NAME_CHARS).collect());
    }
}

fn malformed(error: BinaryReaderError) -> LoadError {
    LoadError::NotAComponent(error.to_string())
}

impl ComponentFacts {
    /// Whether the component is shaped like a scorer: imports nothing, exports the scoring interface.
    pub(crate) fn check_world(&self) -> Result<(), LoadError> {
        if !self.imports.is_empty() {
            return Err(LoadError::HasImports(self.imports.clone()));
        }
        if self
            .exports
            .iter()
            .any(|name| *name == format!("{INTERFACE}@{CONTRACT_VERSION}"))
        {
            return Ok(());
        }
        let other = self
            .exports
            .iter()
            .find_map(|name| name.strip_prefix(INTERFACE)?.strip_prefix('@'));
        Err(match other {
            Some(version) => LoadError::WrongContract {
                found: version.to_owned(),
            },
            None if self.exports.is_empty() => LoadError::WrongWorld("it exports nothing".into()),
            None => LoadError::WrongWorld(format!("it exports {}", self.exports.join(", "))),
        })
    }
}
