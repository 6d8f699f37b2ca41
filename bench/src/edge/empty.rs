//! A filter that Envoy calls for the head of each request, and that does nothing: what it costs is Envoy's and V8's, and
//! no filter in WebAssembly that sees requests costs less.

use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemorySection, MemoryType, Module, TypeSection,
    ValType,
};

/// What Envoy asks for, as proxy-wasm 0.2.1 has it: parameters, results (all of them 32 bits), name. All results are 0,
/// which for a request's head is that it goes on.
const FUNCTIONS: [(usize, usize, &str); 3] = [
    (0, 0, "proxy_abi_version_0_2_1"),
    (1, 1, "proxy_on_memory_allocate"),
    (3, 1, "proxy_on_request_headers"),
];

/// The module.
pub fn module() -> Vec<u8> {
    let (mut types, mut functions, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    let (mut memories, mut exports) = (MemorySection::new(), ExportSection::new());
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    exports.export("memory", ExportKind::Memory, 0);
    for (at, (parameters, results, name)) in (0..).zip(FUNCTIONS) {
        types
            .ty()
            .function(vec![ValType::I32; parameters], vec![ValType::I32; results]);
        functions.function(at);
        let mut body = Function::new([]);
        let mut instructions = body.instructions();
        if results == 1 {
            instructions.i32_const(0);
        }
        instructions.end();
        code.function(&body);
        exports.export(name, ExportKind::Func, at);
    }
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code);
    module.finish()
}
