//! What Envoy calls in the filter.

use wasm_encoder::{ExportKind, ExportSection, Module, RawSection, SectionId};
use wasmparser::{BinaryReader, ExportSectionReader, ExternalKind};

use super::{CompileError, damaged, sections};

/// The callbacks that the filter answers, and what Envoy needs to call any. The SDK exports all that there are, and
/// Envoy calls what is exported: for each request that would be six calls that do nothing, and one for every part of an
/// answer.
const CALLED: [&str; 14] = [
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_http_call_response",
    "proxy_on_tick",
    "proxy_on_done",
    "proxy_on_delete",
];

/// The module with no exports but those.
pub(super) fn keep_called(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    let mut out = Module::new();
    for (id, range) in sections(module)? {
        let content = &module[range];
        match id == SectionId::Export as u8 {
            true => out.section(&called(content)?),
            false => out.section(&RawSection { id, data: content }),
        };
    }
    Ok(out.finish())
}

fn called(content: &[u8]) -> Result<ExportSection, CompileError> {
    let mut kept = ExportSection::new();
    for export in ExportSectionReader::new(BinaryReader::new(content, 0)).map_err(damaged)? {
        let export = export.map_err(damaged)?;
        let kind = match export.kind {
            ExternalKind::Func => ExportKind::Func,
            ExternalKind::Memory => ExportKind::Memory,
            // Envoy has no use for any other.
            _ => continue,
        };
        if CALLED.contains(&export.name) {
            kept.export(export.name, kind, export.index);
        }
    }
    match kept.len() as usize == CALLED.len() {
        true => Ok(kept),
        false => Err(damaged("it does not export what Envoy calls")),
    }
}
