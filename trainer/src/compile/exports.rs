//! What Envoy calls in the filter.

use wasm_encoder::{ExportKind, ExportSection, Module, RawSection, SectionId};
use wasmparser::{BinaryReader, ExportSectionReader, ExternalKind};

use super::{CompileError, damaged, sections};

/// What Envoy needs to call any filter.
const ALL: &[&str] = &[
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
];

/// The callbacks of the filter with all modes. The SDK exports all that there are, and Envoy calls what is exported: for
/// each request that would be seven calls that do nothing, and one for every part of an answer.
const WHOLE: &[&str] = &[
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

/// The callbacks of the filter that only marks, which the module exports beside the SDK's, and what Envoy calls them.
const MARK: &[(&str, &str)] = &[
    ("mark_on_context_create", "proxy_on_context_create"),
    ("mark_on_configure", "proxy_on_configure"),
    ("mark_on_request_headers", "proxy_on_request_headers"),
];

/// The module with the callbacks for all modes.
pub(super) fn whole(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    keep(module, &as_they_are(&[ALL, WHOLE].concat()))
}

/// The module of which Envoy calls nothing for bodies, nor for the end of a request.
pub(super) fn mark(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    keep(module, &[&as_they_are(ALL), MARK].concat())
}

fn as_they_are<'a>(names: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    names.iter().map(|name| (*name, *name)).collect()
}

/// The module with no exports but these, under their second names.
fn keep(module: &[u8], called: &[(&str, &str)]) -> Result<Vec<u8>, CompileError> {
    let mut out = Module::new();
    for (id, range) in sections(module)? {
        let content = &module[range];
        match id == SectionId::Export as u8 {
            true => out.section(&kept(content, called)?),
            false => out.section(&RawSection { id, data: content }),
        };
    }
    Ok(out.finish())
}

fn kept(content: &[u8], called: &[(&str, &str)]) -> Result<ExportSection, CompileError> {
    let mut kept = ExportSection::new();
    for export in ExportSectionReader::new(BinaryReader::new(content, 0)).map_err(damaged)? {
        let export = export.map_err(damaged)?;
        let kind = match export.kind {
            ExternalKind::Func => ExportKind::Func,
            ExternalKind::Memory => ExportKind::Memory,
            // Envoy has no use for any other.
            _ => continue,
        };
        if let Some((_, name)) = called.iter().find(|(name, _)| *name == export.name) {
            kept.export(name, kind, export.index);
        }
    }
    match kept.len() as usize == called.len() {
        true => Ok(kept),
        false => Err(damaged("it does not export what Envoy calls")),
    }
}
