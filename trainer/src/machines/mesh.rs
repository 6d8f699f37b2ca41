//! A TCP connection between every two machines, over which they exchange blocks of bytes.
//!
//! LightGBM has connections of its own (`linkers_socket.cpp`), but waits for ever once a machine is
//! killed (it takes the end of a stream for an empty message), ends the process by `std::terminate`
//! if a machine is not there, and reads numeric IPv4 addresses only. LightGBM can be given other
//! connections, so it is given these.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::Machines;

/// The first bytes of every connection: what this is, and its version.
const MAGIC: &[u8; 8] = b"LTRmesh1";
/// Length of the fingerprint of what is trained.
const FINGERPRINT: usize = 32;
/// Magic, rank, fingerprint.
const HELLO: usize = MAGIC.len() + 4 + FINGERPRINT;
/// Pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a new connection may take to introduce itself: a stranger must not hold up the others.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// Why the machines cannot train together.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// This machine cannot be reached by the others.
    #[error("--machines: cannot listen on {address}: {reason}; it must be an address of this machine with a free port")]
    Listen {
        /// This machine's entry.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// Not all machines came.
    #[error(
        "--machines: no connection with {missing} within {seconds} s (--machines-timeout); start the same command there"
    )]
    Missing {
        /// The machines.
        missing: String,
        /// The time limit.
        seconds: u64,
    },
    /// A machine trains something else.
    #[error(
        "machine {machine} trains something else; the program, --machines, the matrix, the parameters and the \
         settings under [train] and [ranking] must be the same on all machines"
    )]
    Different {
        /// The machine.
        machine: String,
    },
    /// A machine went away, or does not answer.
    #[error("machine {machine}: {problem}")]
    Lost {
        /// The machine.
        machine: String,
        /// What happened.
        problem: String,
    },
}

/// Connections to all other machines.
#[derive(Debug)]
pub struct Mesh {
    machines: Machines,
    timeout: Duration,
    /// By rank; `None` for this machine.
    peers: Vec<Option<TcpStream>>,
    /// Number of exchanges so far.
    exchanges: u32,
}

impl Mesh {
    /// Waits up to `timeout` until all machines are there. `fingerprint` says what is trained, and must
    /// be the same on all machines. `timeout` is also the longest wait for a message later on.
    ///
    /// # Errors
    /// A machine that does not come, or trains something else.
    pub fn connect(machines: Machines, fingerprint: [u8; FINGERPRINT], timeout: Duration) -> Result<Mesh, MeshError> {
        let own = &machines.addresses[machines.rank];
        let listener = listen(own).map_err(|error| MeshError::Listen {
            address: own.clone(),
            reason: error.to_string(),
        })?;
        let mut joining = Joining {
            peers: machines.addresses.iter().map(|_| None).collect(),
            hello: hello(machines.rank, &fingerprint),
            machines: &machines,
        };
        let deadline = Instant::now() + timeout;
        loop {
            joining.accept(&listener)?;
            joining.call()?;
            let missing = joining.missing();
            if missing.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                return Err(MeshError::Missing {
                    missing: missing.join(", "),
                    seconds: timeout.as_secs(),
                });
            }
            std::thread::sleep(PAUSE);
        }
        let peers = joining.peers;
        for stream in peers.iter().flatten() {
            let set = stream
                .set_read_timeout(Some(timeout))
                .and_then(|()| stream.set_write_timeout(Some(timeout)));
            set.map_err(|error| lost("a connection", &error, timeout))?;
        }
        Ok(Mesh {
            machines,
            timeout,
            peers,
            exchanges: 0,
        })
    }

    /// Number of machines.
    pub fn machines(&self) -> usize {
        self.machines.addresses.len()
    }

    /// This machine, from 0.
    pub fn rank(&self) -> usize {
        self.machines.rank
    }

    /// Sends `blocks[rank]` to each machine, and returns the block from each, by rank; the own one is
    /// returned as it is. `lengths` are those of the blocks to receive.
    ///
    /// # Errors
    /// A machine that went away, or did not answer in time.
    pub fn exchange(&mut self, blocks: &[&[u8]], lengths: &[usize]) -> Result<Vec<Vec<u8>>, MeshError> {
        self.exchanges = self.exchanges.wrapping_add(1);
        let own = self.machines.rank;
        let mut received = Vec::with_capacity(blocks.len());
        // In the order of ranks, the lower one of two sends first: of all exchanges between two machines
        // that are not done, the first one (by both ranks) has both sides waiting for it, so none waits
        // for ever.
        for (rank, peer) in self.peers.iter_mut().enumerate() {
            let Some(stream) = peer else {
                received.push(blocks[own].to_vec());
                continue;
            };
            let mut swap = || -> io::Result<Vec<u8>> {
                if own < rank {
                    send(stream, self.exchanges, blocks[rank])?;
                }
                let block = receive(stream, self.exchanges, lengths[rank])?;
                if own > rank {
                    send(stream, self.exchanges, blocks[rank])?;
                }
                Ok(block)
            };
            received.push(swap().map_err(|error| lost(&self.machines.addresses[rank], &error, self.timeout))?);
        }
        Ok(received)
    }

    /// Checks that the hash of the model, `value`, is the same on all machines.
    ///
    /// # Errors
    /// Another hash on another machine, and as [`Mesh::exchange`].
    pub fn agree(&mut self, value: &[u8]) -> Result<(), MeshError> {
        let count = self.machines();
        let values = self.exchange(&vec![value; count], &vec![value.len(); count])?;
        match values.iter().position(|other| other != value) {
            None => Ok(()),
            Some(rank) => Err(MeshError::Lost {
                machine: self.machines.addresses[rank].clone(),
                problem: "ended with another model; all machines need the same program and the same kind of processor"
                    .to_owned(),
            }),
        }
    }
}

/// The machines that have come so far.
struct Joining<'a> {
    machines: &'a Machines,
    hello: [u8; HELLO],
    peers: Vec<Option<TcpStream>>,
}

impl Joining<'_> {
    /// Takes the calls of machines of a higher rank. Others are ignored: anybody can call.
    fn accept(&mut self, listener: &TcpListener) -> Result<(), MeshError> {
        while let Ok((stream, _)) = listener.accept() {
            if let Ok((rank, stream)) = self.introduce(stream, None)?
                && rank > self.machines.rank
                && rank < self.peers.len()
            {
                self.peers[rank] = Some(stream);
            }
        }
        Ok(())
    }

    /// Calls the machines of a lower rank that are not connected yet.
    fn call(&mut self) -> Result<(), MeshError> {
        for rank in 0..self.machines.rank {
            let called = match &self.peers[rank] {
                None => dial(&self.machines.addresses[rank]),
                Some(_) => continue,
            };
            if let Ok(stream) = called
                && let Ok((found, stream)) = self.introduce(stream, Some(rank))?
                && found == rank
            {
                self.peers[rank] = Some(stream);
            }
        }
        Ok(())
    }

    /// Says who this is, and hears who the other is. `called` is the rank that was called. The inner
    /// error is that of a connection which may not be a machine's at all.
    fn introduce(
        &self,
        mut stream: TcpStream,
        called: Option<usize>,
    ) -> Result<io::Result<(usize, TcpStream)>, MeshError> {
        let mut theirs = [0; HELLO];
        let mut talk = || -> io::Result<()> {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(INTRODUCTION))?;
            stream.set_write_timeout(Some(INTRODUCTION))?;
            stream.write_all(&self.hello)?;
            stream.read_exact(&mut theirs)
        };
        if let Err(error) = talk() {
            return Ok(Err(error));
        }
        let (magic, rest) = theirs.split_at(MAGIC.len());
        let (rank, fingerprint) = rest.split_at(4);
        let rank = u32::from_be_bytes([rank[0], rank[1], rank[2], rank[3]]) as usize;
        if magic != MAGIC {
            return Ok(Err(ErrorKind::InvalidData.into()));
        }
        if fingerprint != &self.hello[HELLO - FINGERPRINT..] {
            let machine = self.machines.addresses.get(called.unwrap_or(rank));
            return Err(MeshError::Different {
                machine: machine.cloned().unwrap_or_else(|| format!("of rank {rank}")),
            });
        }
        Ok(Ok((rank, stream)))
    }

    fn missing(&self) -> Vec<&str> {
        let absent = |rank: &usize| *rank != self.machines.rank && self.peers[*rank].is_none();
        let ranks = (0..self.peers.len()).filter(absent);
        ranks.map(|rank| self.machines.addresses[rank].as_str()).collect()
    }
}

fn hello(rank: usize, fingerprint: &[u8; FINGERPRINT]) -> [u8; HELLO] {
    let mut hello = [0; HELLO];
    hello[..MAGIC.len()].copy_from_slice(MAGIC);
    hello[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&(rank as u32).to_be_bytes());
    hello[HELLO - FINGERPRINT..].copy_from_slice(fingerprint);
    hello
}

fn listen(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn dial(address: &str) -> io::Result<TcpStream> {
    let mut last = ErrorKind::NotFound.into();
    let found: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    for address in found {
        match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A message is the number of the exchange, the length of the block, and the block.
fn send(stream: &mut TcpStream, exchange: u32, block: &[u8]) -> io::Result<()> {
    let mut message = Vec::with_capacity(8 + block.len());
    message.extend_from_slice(&exchange.to_be_bytes());
    message.extend_from_slice(&(block.len() as u32).to_be_bytes());
    message.extend_from_slice(block);
    stream.write_all(&message)
}

fn receive(stream: &mut TcpStream, exchange: u32, length: usize) -> io::Result<Vec<u8>> {
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let mut expected = [0; 8];
    expected[..4].copy_from_slice(&exchange.to_be_bytes());
    expected[4..].copy_from_slice(&(length as u32).to_be_bytes());
    if head != expected {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block)?;
    Ok(block)
}

fn lost(machine: &str, error: &io::Error, timeout: Duration) -> MeshError {
    let problem = match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("no answer within {} s (--machines-timeout)", timeout.as_secs())
        }
        ErrorKind::InvalidData => "is at another point of the training".to_owned(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "went away before the training ended; its own output says why".to_owned()
        }
        _ => error.to_string(),
    };
    MeshError::Lost {
        machine: machine.to_owned(),
        problem,
    }
}
