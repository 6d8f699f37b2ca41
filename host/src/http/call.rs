//! The types of a request: as it arrives, and once admitted.

use std::net::IpAddr;

use hyper::http::request::Parts;

use super::auth::Caller;
use super::body::Body;
use super::request_id::RequestId;

/// A request as it arrives.
pub type Request = hyper::Request<Body>;

/// A request that was admitted to its route.
pub struct Call {
    /// The id that the response, the log and the records carry.
    pub id: RequestId,
    /// Who sent the request, by its token.
    pub caller: Caller,
    /// `None`: the call comes from this process.
    pub peer: Option<IpAddr>,
    /// Method, path and headers.
    pub head: Parts,
    /// The body, not read yet.
    pub body: Body,
}
