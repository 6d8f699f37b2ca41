//! LightGBM's distributed learner, over the connections of a [`Mesh`].

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::marker::PhantomData;
use std::slice;
use std::sync::mpsc::Sender;

use lightgbm3_sys as sys;

use super::{ParameterError, Parameters, c_int_of, check};
use crate::machines::{Mesh, MeshError, Share};

thread_local! {
    /// LightGBM's network is a thread's own, and its functions get no context.
    static LINK: RefCell<Option<Link>> = const { RefCell::new(None) };
}

struct Link {
    mesh: Mesh,
    lost: Sender<MeshError>,
}

/// The machines that this thread trains with.
///
/// LightGBM's communication functions cannot fail, and no error can pass through its C++ frames. If a
/// machine is lost during a call to LightGBM, the error goes to the channel, and this thread never
/// returns: whoever started it reports the error and ends the process.
#[derive(Debug)]
pub struct Network {
    share: Share,
    /// The link is this thread's.
    _of_thread: PhantomData<*const ()>,
}

/// As long as this lives, boosters of this thread train together with the other machines' boosters.
#[derive(Debug)]
pub struct Online<'a> {
    _network: &'a Network,
}

impl Network {
    /// Lets this thread train over `mesh`; `lost` gets the error if a machine is lost.
    pub fn new(mesh: Mesh, lost: Sender<MeshError>) -> Network {
        let share = Share {
            rank: mesh.rank(),
            machines: mesh.machines(),
        };
        LINK.with_borrow_mut(|link| *link = Some(Link { mesh, lost }));
        Network {
            share,
            _of_thread: PhantomData,
        }
    }

    /// The cases that this machine trains on.
    pub fn share(&self) -> Share {
        self.share
    }

    /// Goes online, and sets the parameters that a booster needs for it.
    ///
    /// # Errors
    /// Parameters with which machines cannot train together.
    pub fn online(&self, parameters: &mut Parameters) -> Result<Online<'_>, ParameterError> {
        check_parameters(parameters)?;
        parameters.set_default("tree_learner", "data");
        parameters.set("num_machines", self.share.machines);
        let machines = c_int_of("machines", self.share.machines)?;
        let rank = c_int_of("rank", self.share.rank)?;
        // SAFETY: both functions have the signatures of LightGBM's `ReduceScatterFunction` and
        // `AllgatherFunction` (`meta.h`), live for ever and do not unwind.
        let status = unsafe {
            sys::LGBM_NetworkInitWithFunctions(machines, rank, reduce_scatter as *mut c_void, allgather as *mut c_void)
        };
        check("LGBM_NetworkInitWithFunctions", status)?;
        Ok(Online { _network: self })
    }

    /// Checks that the model, given by its SHA-256, is the same on all machines.
    ///
    /// # Errors
    /// Another model on another machine, or a machine that is lost.
    pub fn agree(&self, model_sha256: &str) -> Result<(), MeshError> {
        LINK.with_borrow_mut(|link| match link {
            Some(link) => link.mesh.agree(model_sha256.as_bytes()),
            None => Ok(()),
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        LINK.with_borrow_mut(|link| *link = None);
    }
}

impl Drop for Online<'_> {
    fn drop(&mut self) {
        // SAFETY: takes nothing; afterwards boosters of this thread train alone.
        unsafe { sys::LGBM_NetworkFree() };
    }
}

/// Refuses what would let every machine train on its own share alone, without a word, and learning by
/// votes, after which the machines' models were not the same in LightGBM 4.7.
fn check_parameters(parameters: &Parameters) -> Result<(), ParameterError> {
    let refuse = |key: &str, value: &str, allowed| {
        Err(ParameterError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            allowed,
        })
    };
    match parameters.get("tree_learner") {
        None | Some("data" | "data_parallel") => {}
        Some(other) => return refuse("tree_learner", other, "data or no value, because of --machines"),
    }
    match parameters.get("linear_tree") {
        None | Some("false") => Ok(()),
        Some(value) => refuse("linear_tree", value, "false or no value, because of --machines"),
    }
}

type Reducer = extern "C" fn(input: *const c_char, output: *mut c_char, type_size: c_int, bytes: i32);

/// Every machine gets every machine's block: `AllgatherFunction`.
extern "C" fn allgather(
    input: *mut c_char,
    _input_size: i32,
    block_start: *const i32,
    block_len: *const i32,
    blocks: c_int,
    output: *mut c_char,
    output_size: i32,
) {
    // SAFETY: LightGBM passes `blocks` starts and lengths.
    let (starts, lengths) = unsafe { (sizes(block_start, blocks), sizes(block_len, blocks)) };
    let received = with_link(|mesh| {
        // SAFETY: `input` holds the block of this machine. It is copied, because it may lie in `output`.
        let own = unsafe { slice::from_raw_parts(input.cast::<u8>(), lengths[mesh.rank()]) }.to_vec();
        mesh.exchange(&vec![own.as_slice(); lengths.len()], &lengths)
    });
    // SAFETY: `output` has `output_size` bytes, and nothing else refers to them by now.
    let output = unsafe { slice::from_raw_parts_mut(output.cast::<u8>(), output_size.max(0) as usize) };
    for (start, block) in starts.iter().zip(&received) {
        output[*start..start + block.len()].copy_from_slice(block);
    }
}

/// Every machine gets the sum of all machines' blocks of its number: `ReduceScatterFunction`. Blocks
/// are added in the order of ranks, so the sums do not depend on who is first.
extern "C" fn reduce_scatter(
    input: *mut c_char,
    input_size: i32,
    type_size: c_int,
    block_start: *const i32,
    block_len: *const i32,
    blocks: c_int,
    output: *mut c_char,
    _output_size: i32,
    reducer: *const Reducer,
) {
    // SAFETY: LightGBM passes `blocks` starts and lengths, and `input_size` bytes of input.
    let (starts, lengths, input) = unsafe {
        (
            sizes(block_start, blocks),
            sizes(block_len, blocks),
            slice::from_raw_parts(input.cast::<u8>(), input_size.max(0) as usize),
        )
    };
    let received = with_link(|mesh| {
        let parts = starts
            .iter()
            .zip(&lengths)
            .map(|(start, len)| &input[*start..start + len]);
        mesh.exchange(&parts.collect::<Vec<_>>(), &vec![lengths[mesh.rank()]; lengths.len()])
    });
    let length = received[0].len();
    let words = length.div_ceil(size_of::<u64>());
    let (mut sum, mut next) = (vec![0_u64; words], vec![0_u64; words]);
    for (rank, block) in received.iter().enumerate() {
        let into = if rank == 0 { &mut sum } else { &mut next };
        // SAFETY: the words have room for the block, and any bytes are words. LightGBM reads numbers
        // of up to 8 bytes, so the blocks must be aligned as words are. `reducer` points to LightGBM's
        // function, which adds `length` bytes of numbers to as many.
        unsafe {
            into.as_mut_ptr()
                .cast::<u8>()
                .copy_from_nonoverlapping(block.as_ptr(), length);
            if rank > 0 {
                (*reducer)(next.as_ptr().cast(), sum.as_mut_ptr().cast(), type_size, length as i32);
            }
        }
    }
    // SAFETY: `output` has room for the block of this machine, by LightGBM's contract.
    unsafe {
        output
            .cast::<u8>()
            .copy_from_nonoverlapping(sum.as_ptr().cast::<u8>(), length)
    };
}

/// Exchanges blocks over this thread's mesh, and does not return if that fails.
fn with_link(exchange: impl FnOnce(&mut Mesh) -> Result<Vec<Vec<u8>>, MeshError>) -> Vec<Vec<u8>> {
    let result = LINK.with_borrow_mut(|link| {
        let link = link.as_mut()?;
        match exchange(&mut link.mesh) {
            Ok(blocks) => Some(blocks),
            Err(error) => {
                // Nobody listens only if the process is about to end anyway.
                let _ = link.lost.send(error);
                None
            }
        }
    });
    result.unwrap_or_else(|| {
        loop {
            std::thread::park();
        }
    })
}

/// # Safety
/// `numbers` points to `count` numbers.
unsafe fn sizes(numbers: *const i32, count: c_int) -> Vec<usize> {
    // SAFETY: by the caller.
    let numbers = unsafe { slice::from_raw_parts(numbers, count.max(0) as usize) };
    numbers.iter().map(|&number| number.max(0) as usize).collect()
}
