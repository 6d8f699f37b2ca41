//! Reduces the filter module's exports to the functions that Envoy must call.
//!
//! The SDK exports every callback, and Envoy calls each exported one. Unreduced, that would be
//! seven no-op calls per request, and one more per chunk of a response body.

use wasm_encoder::{ExportKind, ExportSection, Module, RawSection, SectionId};
use wasmparser::{BinaryReader, ExportSectionReader, ExternalKind};

use super::{CompileError, damaged, sections};

/// The exports that Envoy needs of every filter.
const REQUIRED: &[&str] = &[
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
];

/// The callbacks that the filter needs to serve all modes.
const ALL_MODES: &[&str] = &[
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_http_call_response",
    "proxy_on_tick",
    "proxy_on_delete",
];

/// The callbacks of the mark-only filter: (the module's own export, Envoy's name for it). They
/// replace the SDK's callbacks of these names.
const MARK_ONLY: &[(&str, &str)] = &[
    ("mark_on_context_create", "proxy_on_context_create"),
    ("mark_on_configure", "proxy_on_configure"),
    ("mark_on_request_headers", "proxy_on_request_headers"),
];

/// The module with the callbacks that serve all modes.
pub(super) fn all_modes(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    keep_exports(module, &under_own_names(&[REQUIRED, ALL_MODES].concat()))
}

/// The module without callbacks for bodies and for the end of a request.
pub(super) fn mark_only(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    keep_exports(module, &[&under_own_names(REQUIRED), MARK_ONLY].concat())
}

/// Pairs of equal names: exports that keep their names.
fn under_own_names<'a>(names: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    names.iter().map(|name| (*name, *name)).collect()
}

/// The module with only these exports: (name in the module, name in the result).
fn keep_exports(module: &[u8], exports: &[(&str, &str)]) -> Result<Vec<u8>, CompileError> {
    let mut out = Module::new();
    for (id, range) in sections(module)? {
        let content = &module[range];
        if id == SectionId::Export as u8 {
            out.section(&select(content, exports)?)
        } else {
            out.section(&RawSection { id, data: content })
        };
    }
    Ok(out.finish())
}

fn select(content: &[u8], exports: &[(&str, &str)]) -> Result<ExportSection, CompileError> {
    let mut selected = ExportSection::new();
    for export in ExportSectionReader::new(BinaryReader::new(content, 0)).map_err(damaged)? {
        let export = export.map_err(damaged)?;
        let kind = match export.kind {
            ExternalKind::Func => ExportKind::Func,
            ExternalKind::Memory => ExportKind::Memory,
            // Envoy uses no other kind of export.
            _ => continue,
        };
        if let Some((_, name)) = exports.iter().find(|(name, _)| *name == export.name) {
            selected.export(name, kind, export.index);
        }
    }
    if selected.len() as usize == exports.len() {
        Ok(selected)
    } else {
        Err(damaged("it does not export what Envoy calls"))
    }
}
