//! The gateway: ranks cases, compares a challenger in shadow, stores events, loads models under
//! traffic.
//!
//! Dependencies go one way. [`server`] accepts connections and passes requests to the [`router`],
//! which admits them to one of the [`routes`]. A route works on the [`state`]: the [`models`] that
//! serve, the [`release`] controller that changes them, the [`flags`] that stop them, and the
//! writer in [`ingest`] that stores records. All of them use [`http`] and [`telemetry`], which use
//! none of them; [`cli`] holds the program's commands.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests make, read and time what they like"
    )
)]

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
