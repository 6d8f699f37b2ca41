//! Simulated years of a marketplace, against which the rules that decide are tried out: [`ranking::decide`] itself, the
//! watch on outcomes, and beside them the simpler rules that one would use instead.
//!
//! `market` has clients, lawyers and two rankings; `shadow` has years in which a challenger is compared without being
//! shown, `town` days on which lists are displayed, `trials` what follows from these, and `logs` what logs alone say.
//! Seeds are fixed: the same numbers come out everywhere.

pub mod chance;
pub mod logs;
pub mod market;
pub mod shadow;
pub mod shares;
pub mod town;
pub mod trials;
