//! Bodies of the HTTP interface, as the gateway and the Envoy filter read and write them: what one of them refuses, the
//! other refuses in the same words.

pub mod headers;
pub mod json;
pub mod refusal;
pub mod score;

pub use refusal::{Invalid, Malformed, Refusal, shortened};
