//! Why a component was not loaded, and why a batch was not scored.

use std::time::Duration;

/// The sandbox itself could not be set up: this machine lacks something, whatever the component.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the WebAssembly engine: {0}")]
pub struct EngineError(pub(crate) String);

/// Why a component was refused. Nothing of it stays behind.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the component has {size} bytes; allowed: at most {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("not a WebAssembly component: {0}")]
    NotAComponent(String),
    #[error("the component is too complex to compile: {0}")]
    TooComplex(String),
    #[error("the component imports {}; a scorer imports nothing", .0.join(", "))]
    HasImports(Vec<String>),
    #[error("the component does not export ltr:scorer/scoring@1.1.0: {0}")]
    WrongWorld(String),
    #[error(
        "the component is built for contract {found}; this host speaks {}",
        crate::CONTRACT_VERSION
    )]
    WrongContract { found: String },
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    #[error("compiling the component takes longer than {0:?}")]
    CompileTimeout(Duration),
    #[error("the component failed while it was being loaded: {0}")]
    Trap(String),
    #[error("the component did not describe itself within {0:?}")]
    Timeout(Duration),
    #[error("the component's description is not usable: {0}")]
    BadDescription(String),
}

impl LoadError {
    /// A short name that stays the same across versions: the `code` in `/models` and in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            LoadError::TooLarge { .. } => "too_large",
            LoadError::NotAComponent(_) => "not_a_component",
            LoadError::TooComplex(_) => "too_complex",
            LoadError::HasImports(_) => "has_imports",
            LoadError::WrongWorld(_) => "wrong_world",
            LoadError::WrongContract { .. } => "wrong_contract",
            LoadError::Compile(_) => "compile",
            LoadError::CompileTimeout(_) => "compile_timeout",
            LoadError::Trap(_) => "trap",
            LoadError::Timeout(_) => "timeout",
            LoadError::BadDescription(_) => "bad_description",
        }
    }
}

/// Why a batch was not scored. In every case the process and the scorer's other calls go on; after all but
/// `Refused` and `Busy` the instance that failed is gone and the next call gets a fresh one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    #[error("no scores within the time allowed")]
    Timeout,
    #[error("the component trapped: {0}")]
    Trap(String),
    #[error("the component's answer is not usable: {0}")]
    BadOutput(String),
    #[error("refused: {0}")]
    Refused(String),
    #[error("all instances of the scorer are busy")]
    Busy,
}

impl ScoreError {
    /// The label in metrics, and `/rank`'s `fallback`.
    pub fn reason(&self) -> &'static str {
        match self {
            ScoreError::Timeout => "timeout",
            ScoreError::Trap(_) => "trap",
            ScoreError::BadOutput(_) => "bad_output",
            ScoreError::Refused(_) => "refused",
            ScoreError::Busy => "busy",
        }
    }
}
