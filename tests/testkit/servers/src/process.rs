//! What every server needs.

use std::net::TcpListener;
use std::process::{Command, Stdio};

pub(crate) use testkit::PATIENCE;

/// Attempts to find a port that nobody takes between our look and the server's.
pub(crate) const PORTS: usize = 5;

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn signal(name: &str, processes: &[u32]) {
    let ids = processes.iter().map(u32::to_string);
    // One that has just ended is as good as one that was signalled.
    let _ = Command::new("kill").arg(name).args(ids).stderr(Stdio::null()).status();
}

/// Prints a server's log where a test fails, before the folder that has it goes.
pub(crate) fn keep_log(server: &str, log: &str) {
    if std::thread::panicking() {
        eprintln!("--- {server}:\n{log}");
    }
}
