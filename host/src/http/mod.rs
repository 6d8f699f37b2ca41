//! The HTTP layer of all routes: a request's id, body, caller and limits, and the form of
//! responses.

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
