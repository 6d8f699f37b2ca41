//! Runs scorer components, the compiled ranking models, as if each of them were hostile.
//!
//! A component is checked, compiled and asked to describe itself by [`Engine::load`]; what comes back is a
//! [`Scorer`], whose one call turns rows into scores within a time limit. Whatever a component does (trap,
//! spin, allocate for ever, overflow its stack, lie about lengths), the caller gets a typed error and the
//! process goes on. [`artefact`] is how models travel: a signed directory that is published in one step and
//! checked in full before anything in it is used.
//!
//! Everything here blocks; asynchronous callers bring their own threads.

pub mod artefact;
mod cache;
mod contract;
mod engine;
mod error;
mod inspect;
mod instance;
mod limits;
mod scorer;
mod section;

pub use cache::{CacheError, CodeCache, CodeOrigin};
pub use contract::{CONTRACT_VERSION, Description, Output, Window};
pub use engine::Engine;
pub use error::{EngineError, LoadError, ScoreError};
pub use inspect::{ComponentFacts, inspect};
pub use limits::Limits;
pub use scorer::{Instances, Scorer};
pub use section::custom_section;
