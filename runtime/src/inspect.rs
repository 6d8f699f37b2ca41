//! What can be said about a component without running or compiling it.

use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use crate::contract::{CONTRACT_VERSION, INTERFACE};
use crate::limits::MAX_TABLE_ENTRIES;
use crate::{Limits, LoadError};

/// A scorer is one module in a component with a nested one for its exported interface. What is far beyond
/// that was not made to score.
const MAX_DEPTH: usize = 4;
const MAX_MODULES: usize = 16;
const MAX_FUNCTIONS: u64 = 20_000;
/// How many names of imports or exports are kept for a report.
const MAX_NAMES: usize = 64;

/// The outside of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentFacts {
    /// Names of the component's imports (at most 64 of them); a scorer has none.
    pub imports: Vec<String>,
    /// Names of the component's exports (at most 64 of them).
    pub exports: Vec<String>,
    pub size_bytes: usize,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Core functions and the bytes of their bodies, over all modules inside.
    pub functions: u64,
    pub code_bytes: usize,
}

/// Parses and validates a component and says what it imports and exports.
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
        return Err(LoadError::NotAComponent(match Parser::is_core_wasm(component) {
            true => "it is a core module; wrap it with `ltr-trainer compile`".into(),
            false => "it does not start with the component header".into(),
        }));
    }
    let facts = survey(component, limits)?;
    // After the survey, so that the validator's own work is bounded too.
    Validator::new_with_features(features())
        .validate_all(component)
        .map_err(|e| LoadError::NotAComponent(e.to_string()))?;
    Ok(facts)
}

/// The WebAssembly features a scorer may use; the engine is configured to the same.
fn features() -> WasmFeatures {
    WasmFeatures::WASM2 | WasmFeatures::COMPONENT_MODEL
}

fn survey(component: &[u8], limits: &Limits) -> Result<ComponentFacts, LoadError> {
    let mut facts = ComponentFacts {
        imports: Vec::new(),
        exports: Vec::new(),
        size_bytes: component.len(),
        sha256: hex::encode(Sha256::digest(component)),
        functions: 0,
        code_bytes: 0,
    };
    let mut depth = 0;
    let mut modules = 0;
    for payload in Parser::new(0).parse_all(component) {
        let malformed = |e: wasmparser::BinaryReaderError| LoadError::NotAComponent(e.to_string());
        match payload.map_err(malformed)? {
            Payload::ModuleSection { .. } => (depth, modules) = (depth + 1, modules + 1),
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = usize::saturating_sub(depth, 1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let name = import.map_err(malformed)?.name.name.to_owned();
                    keep(&mut facts.imports, name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let name = export.map_err(malformed)?.name.name.to_owned();
                    keep(&mut facts.exports, name);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let bytes = memory.map_err(malformed)?.initial.saturating_mul(1 << 16);
                    if bytes > limits.max_memory_bytes as u64 {
                        let limit = limits.max_memory_bytes;
                        let excess = format!("a memory of {bytes} bytes; allowed: at most {limit}");
                        return Err(LoadError::TooComplex(excess));
                    }
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    let entries = table.map_err(malformed)?.ty.initial;
                    if entries > MAX_TABLE_ENTRIES {
                        let excess = format!("a table of {entries} entries; allowed: at most {MAX_TABLE_ENTRIES}");
                        return Err(LoadError::TooComplex(excess));
                    }
                }
            }
            // Their number is told before they come, so that a giant is refused without being read.
            Payload::FunctionSection(section) => facts.functions += u64::from(section.count()),
            Payload::CodeSectionEntry(body) => {
                let bytes = body.range().len();
                facts.code_bytes += bytes;
                if bytes > limits.max_function_bytes {
                    let limit = limits.max_function_bytes;
                    return Err(LoadError::TooComplex(format!(
                        "a function of {bytes} bytes; allowed: at most {limit}"
                    )));
                }
            }
            _ => {}
        }
        refuse_excess(&facts, depth, modules, limits)?;
    }
    Ok(facts)
}

fn keep(names: &mut Vec<String>, name: String) {
    if names.len() < MAX_NAMES {
        names.push(name);
    }
}

fn refuse_excess(facts: &ComponentFacts, depth: usize, modules: usize, limits: &Limits) -> Result<(), LoadError> {
    let excess = if depth > MAX_DEPTH {
        format!("nested {depth} deep; allowed: at most {MAX_DEPTH}")
    } else if modules > MAX_MODULES {
        format!("{modules} modules; allowed: at most {MAX_MODULES}")
    } else if facts.functions > MAX_FUNCTIONS {
        format!("more than {MAX_FUNCTIONS} functions")
    } else if facts.code_bytes > limits.max_code_bytes {
        format!("more than {} bytes of code", limits.max_code_bytes)
    } else {
        return Ok(());
    };
    Err(LoadError::TooComplex(excess))
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
