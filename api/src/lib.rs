//! Request and response bodies of the HTTP interface. The gateway and the Envoy filter share them,
//! so both refuse the same bodies with the same words.

pub mod headers;
pub mod json;
pub mod refusal;
pub mod score;

pub use refusal::{Invalid, Malformed, Refusal, shortened};
