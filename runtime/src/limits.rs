//! What a component may cost this process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Entries a component's tables may have: a scorer calls few functions through one, if any.
pub(crate) const MAX_TABLE_ENTRIES: u64 = 10_000;

/// Bounds on loading and running components. Every one of them is enforced, whatever the component does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Size of a component file, in bytes. A bigger one is refused before it is parsed.
    pub max_component_bytes: usize,
    /// Size of all function bodies together, in bytes of WebAssembly. The model is data, not code, so that an
    /// honest scorer stays far below whatever its number of trees.
    pub max_code_bytes: usize,
    /// Size of one function body, in bytes: register allocation grows faster than linearly with it.
    pub max_function_bytes: usize,
    /// How long a load waits for machine code.
    pub max_compile: Duration,
    /// How long instantiating a component and asking it for its description may take together.
    pub max_describe: Duration,
    /// Linear memory of one instance, in bytes, the baked model included.
    pub max_memory_bytes: usize,
    /// Growth of an instance's memory over its first size, in bytes, beyond which it is replaced after the
    /// call instead of being kept: linear memory never shrinks.
    pub max_kept_growth_bytes: usize,
    /// Stack of one call, in bytes. The calling thread must have at least this much, and some more, left.
    pub max_stack_bytes: usize,
    /// Instances of one scorer alive at a time, and so its calls at a time. A further call waits for one.
    pub max_instances: usize,
    /// Values handed to a component in one call; bigger batches are cut between rows.
    pub max_values_per_call: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_component_bytes: 64 << 20,
            max_code_bytes: 1 << 20,
            max_function_bytes: 64 << 10,
            max_compile: Duration::from_secs(20),
            max_describe: Duration::from_secs(2),
            max_memory_bytes: 256 << 20,
            max_kept_growth_bytes: 32 << 20,
            max_stack_bytes: 512 << 10,
            max_instances: 8,
            max_values_per_call: 1 << 20,
        }
    }
}
