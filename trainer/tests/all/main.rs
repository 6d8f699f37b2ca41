//! `ltr-trainer train` from outside: what a process needs, and what several of them do together.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

mod machines;
mod market;
mod memory;
