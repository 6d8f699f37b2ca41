//! The gateway: ranks cases, compares a challenger in shadow, keeps events, loads models under traffic.
//!
//! Arrows go one way: [`server`] accepts connections and hands requests to the [`router`], which admits them to one of
//! the [`routes`]. A route works on the [`state`]: the [`models`] that serve, the [`release`] controller that changes
//! them, the [`flags`] that stop them, and the writer in [`ingest`] that keeps what must be kept. [`http`] and
//! [`telemetry`] are leaves that all of them use; [`cli`] has the commands of the program.

pub mod cli;
pub mod flags;
pub mod http;
pub mod ingest;
pub mod models;
pub mod release;
pub mod router;
pub mod routes;
pub mod server;
pub mod state;
pub mod telemetry;
