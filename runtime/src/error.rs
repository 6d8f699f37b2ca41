//! Why a component was not loaded, and why a batch was not scored.

use std::time::Duration;

/// The sandbox itself could not be set up: this machine lacks something, whatever the component.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the WebAssembly engine: {0}")]
pub struct EngineError(pub(crate) String);

/// Why a component was refused. Nothing of it stays behind.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The component is larger than
    /// [`Limits::max_component_bytes`](crate::Limits::max_component_bytes).
    #[error("the component has {size} bytes; allowed: at most {limit}")]
    TooLarge {
        /// The component's size, bytes.
        size: usize,
        /// The largest size allowed, bytes.
        limit: usize,
    },
    /// The bytes are no component, or no valid one. Holds what is wrong.
    #[error("not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// The component has more of something than a scorer needs, or a part that no scorer has. Holds
    /// the part and its limit.
    #[error("the component is too complex to compile: {0}")]
    TooComplex(String),
    /// The component imports something. Holds the names: at most 64, each cut to 200 characters.
    #[error("the component imports {}; a scorer imports nothing", .0.join(", "))]
    HasImports(Vec<String>),
    /// The scoring interface is missing or has other types. Holds what was found instead.
    #[error("the component does not export ltr:scorer/scoring@{contract}: {0}", contract = crate::CONTRACT_VERSION)]
    WrongWorld(String),
    /// The component is built for another contract than
    /// [`CONTRACT_VERSION`](crate::CONTRACT_VERSION).
    #[error(
        "the component is built for contract {found}; this host speaks {}",
        crate::CONTRACT_VERSION
    )]
    WrongContract {
        /// The version in the exported interface's name, or in the description (cut to 40
        /// characters).
        found: String,
    },
    /// The compiler failed or could not be started. Holds its error.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    /// There was no machine code within [`Limits::max_compile`](crate::Limits::max_compile), the
    /// wait for another compilation included. Holds that limit.
    #[error("compiling the component takes longer than {0:?}")]
    CompileTimeout(Duration),
    /// The component trapped while it was started or described itself, or it could not be started.
    /// Holds the cause.
    #[error("the component failed while it was being loaded: {0}")]
    Trap(String),
    /// Start and description took longer than
    /// [`Limits::max_describe`](crate::Limits::max_describe). Holds that limit.
    #[error("the component did not describe itself within {0:?}")]
    Timeout(Duration),
    /// The description is not sane (see [`Description`](crate::Description)), or breaks the
    /// component interface. Holds what is wrong.
    #[error("the component's description is not usable: {0}")]
    BadDescription(String),
}

impl LoadError {
    /// Whether the component may be good and the machine was only too busy.
    pub fn is_transient(&self) -> bool {
        matches!(self, LoadError::Timeout(_) | LoadError::CompileTimeout(_))
    }

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
    /// An instance was free, but did not answer in time.
    #[error("no scores within the time allowed")]
    Timeout,
    /// The component trapped, for example by `unreachable` or a stack overflow. Holds the trap.
    #[error("the component trapped: {0}")]
    Trap(String),
    /// The answer has the wrong length, a contribution that is not finite, or breaks the component
    /// interface. Holds what is wrong.
    #[error("the component's answer is not usable: {0}")]
    BadOutput(String),
    /// The rows are not whole, or the component declined them; its instance is kept. Holds the
    /// reason.
    #[error("refused: {0}")]
    Refused(String),
    /// [`Limits::max_instances`](crate::Limits::max_instances) calls were running, and none ended
    /// in time.
    #[error("all instances of the scorer are busy")]
    Busy,
}

impl ScoreError {
    /// Whether the component may be good and the machine was only too busy.
    pub fn is_transient(&self) -> bool {
        matches!(self, ScoreError::Timeout | ScoreError::Busy)
    }

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
