//! HTTP as every route meets it: a request's id, body and caller, and the form of its answer.

pub mod auth;
pub mod body;
pub mod call;
pub mod clock;
pub mod edge_copy;
pub mod error;
pub mod host_check;
pub mod limits;
pub mod rate_limit;
pub mod request_id;
pub mod response;
