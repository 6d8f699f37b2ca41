//! The gateway: ranks cases, compares a challenger in shadow, keeps events, loads models under traffic.
//!
//! Data flows forward: a request is let in ([`routes`]) and read ([`api::json`], [`rank`], [`events`]), its case is
//! ranked with the models that serve now ([`models`]) and answered, and what must be kept goes to one ordered
//! [`writer`].

pub mod access;
pub mod answer;
pub mod authority;
pub mod body;
pub mod clock;
pub mod copies;
pub mod errors;
pub mod events;
pub mod flags;
pub mod gateway;
pub mod ipc;
pub mod limits;
pub mod listen;
pub mod models;
pub mod observe;
pub mod offline;
pub mod probes;
pub mod rank;
pub mod request;
pub mod rollout;
pub mod routes;
pub mod score;
pub mod serve;
pub mod telemetry;
pub mod threads;
pub mod tls;
pub mod token;
pub mod writer;
