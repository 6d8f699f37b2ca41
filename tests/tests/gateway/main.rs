//! The gateway as a process, from outside: killed without warning, given hostile models, sent bad input.

mod bad_input;
mod bus;
mod crash;
mod evidence;
mod fleet;
mod forging;
#[allow(dead_code, reason = "the edge's tests need more of it")]
mod harness;
mod hostile;
mod neighbours;
mod rankers;
mod soak;
mod swap;
mod zoo;
