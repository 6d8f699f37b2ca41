//! What Envoy calls in the filter.

use wasm_encoder::{ExportKind, ExportSection, Module, RawSection, SectionId};
use wasmparser::{BinaryReader, ExportSectionReader, ExternalKind};

use super::{CompileError, damaged, sections};

/// The callbacks that every filter answers, and what Envoy needs to call any. The SDK exports all that there are, and
/// Envoy calls what is exported: for each request that would be seven calls that do nothing, and one for every part of
/// an answer.
const HEADS: &[&str] = &[
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_delete",
];

/// The callbacks of copies and scores.
const BODIES: &[&str] = &[
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_http_call_response",
    "proxy_on_tick",
];

/// The module with all that Envoy has to call.
pub(super) fn whole(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    keep(module, &[HEADS, BODIES].concat())
}

/// The module of which Envoy calls nothing for bodies.
pub(super) fn without_bodies(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    keep(module, HEADS)
}

/// The module with no exports but these.
fn keep(module: &[u8], called: &[&str]) -> Result<Vec<u8>, CompileError> {
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

fn kept(content: &[u8], called: &[&str]) -> Result<ExportSection, CompileError> {
    let mut kept = ExportSection::new();
    for export in ExportSectionReader::new(BinaryReader::new(content, 0)).map_err(damaged)? {
        let export = export.map_err(damaged)?;
        let kind = match export.kind {
            ExternalKind::Func => ExportKind::Func,
            ExternalKind::Memory => ExportKind::Memory,
            // Envoy has no use for any other.
            _ => continue,
        };
        if called.contains(&export.name) {
            kept.export(export.name, kind, export.index);
        }
    }
    match kept.len() as usize == called.len() {
        true => Ok(kept),
        false => Err(damaged("it does not export what Envoy calls")),
    }
}
