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
    pub id: RequestId,
    pub caller: Caller,
    /// `None`: the call comes from this process.
    pub peer: Option<IpAddr>,
    pub head: Parts,
    pub body: Body,
}
