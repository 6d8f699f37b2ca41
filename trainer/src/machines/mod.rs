//! Several machines that train one model: the list of them, and the connections between them.

mod mesh;

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};

pub use mesh::{Mesh, MeshError};

/// Every two machines exchange their blocks in turn: more machines would only be slower.
const MAX_MACHINES: usize = 64;

/// The cases that one of several machines trains on: every n-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// This machine, from 0.
    pub rank: usize,
    /// Number of machines, at least 1.
    pub machines: usize,
}

impl Share {
    /// All cases.
    pub const WHOLE: Share = Share { rank: 0, machines: 1 };

    /// Whether the case of this number belongs to the share.
    pub fn has(self, case: usize) -> bool {
        case % self.machines == self.rank
    }
}

/// Why a list of machines cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MachinesError(String);

/// The machines of a training, and which of them this one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machines {
    /// `host:port` of each machine. All machines have the same list.
    pub addresses: Vec<String>,
    /// The place of this machine in the list, from 0.
    pub rank: usize,
}

impl Machines {
    /// Checks the list. Without a `rank`, this machine is the entry whose host has one of its own
    /// network addresses.
    ///
    /// # Errors
    /// An entry that is not `host:port`, or that is there twice; fewer than two machines; a list in which
    /// this machine is not, or more than once without a `rank`.
    pub fn new(addresses: Vec<String>, rank: Option<usize>) -> Result<Machines, MachinesError> {
        let refuse = |text: String| Err(MachinesError(text));
        for (at, address) in addresses.iter().enumerate() {
            if !is_address(address) {
                return refuse(format!(
                    "--machines: {address:?}; allowed: host:port, e.g. train-0.internal:12400"
                ));
            }
            if addresses[..at].iter().any(|other| other.eq_ignore_ascii_case(address)) {
                return refuse(format!(
                    "--machines: {address} is listed twice; allowed: each machine once"
                ));
            }
        }
        let count = addresses.len();
        if !(2..=MAX_MACHINES).contains(&count) {
            return refuse(format!(
                "--machines: {count} machines; allowed: 2 to {MAX_MACHINES}; leave --machines out to train on one"
            ));
        }
        let rank = match rank {
            Some(rank) => rank,
            None => own_rank(&addresses)?,
        };
        if rank >= count {
            return refuse(format!(
                "--machine-rank: {rank}; allowed: 0 to {}, the place of this machine in --machines",
                count - 1
            ));
        }
        Ok(Machines { addresses, rank })
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let port = port.parse().is_ok_and(|port: u16| port > 0);
    port && !host.is_empty() && !text.contains(char::is_whitespace)
}

fn own_rank(addresses: &[String]) -> Result<usize, MachinesError> {
    let own: Vec<usize> = (0..addresses.len()).filter(|at| is_own(&addresses[*at])).collect();
    match own[..] {
        [rank] => Ok(rank),
        [] => Err(MachinesError(format!(
            "--machines: {}; none of them is an address of this machine; add it, or say by --machine-rank which it is",
            addresses.join(", ")
        ))),
        _ => Err(MachinesError(format!(
            "--machines: {} of them are addresses of this machine; say by --machine-rank which one this process is",
            own.len()
        ))),
    }
}

/// Whether the host is this machine: only own addresses can be bound.
fn is_own(address: &str) -> bool {
    let Ok(found) = address.to_socket_addrs() else {
        return false;
    };
    let own = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    found.into_iter().any(|address| own(address.ip()))
}

#[cfg(test)]
mod tests;
