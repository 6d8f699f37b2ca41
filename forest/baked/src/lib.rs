//! The model that was baked into the WebAssembly module that this is linked into, found and checked.
//!
//! A module is built once, without a model. `ltr-trainer` then appends a bundle (description and packed forest) to the
//! module's memory and writes its place into `SLOT`; no compiler is needed for that.

use std::sync::OnceLock;

use forest::Forest;
use forest::bundle::{self, Description};

/// Where the bundle lies in this module's memory. The compiler (`trainer/src/compile.rs`) finds the slot by
/// its magic, which occurs nowhere else in the module, and fills in the other two.
#[repr(C)]
struct Slot {
    magic: [u8; 16],
    address: u32,
    length: u32,
}

#[used]
static SLOT: Slot = Slot {
    magic: *b"ltr:model-slot/1",
    address: 0,
    length: 0,
};

/// A model and what it says about itself.
pub struct Baked {
    /// Version, objective and feature names: one name per column of the forest.
    pub description: Description,
    /// The validated trees; they borrow the module's own memory.
    pub forest: Forest<'static>,
}

/// The model, decoded and validated at the first call; an instance never changes its mind.
///
/// # Errors
/// There is none, or it is damaged.
pub fn model() -> &'static Result<Baked, String> {
    static MODEL: OnceLock<Result<Baked, String>> = OnceLock::new();
    MODEL.get_or_init(|| {
        let (description, image) = bundle::decode(bundle_bytes()?).map_err(|e| e.to_string())?;
        let forest = Forest::new(image).map_err(|e| e.to_string())?;
        if forest.width() == 0 || forest.width() != description.feature_names.len() {
            return Err(format!(
                "{} feature names for {} features",
                description.feature_names.len(),
                forest.width()
            ));
        }
        Ok(Baked { description, forest })
    })
}

fn slot() -> Slot {
    // SAFETY: SLOT is a valid, aligned static. Read as volatile because the compiler knows its initial value,
    // but not that it is patched in the finished module.
    unsafe { std::ptr::read_volatile(&raw const SLOT) }
}

fn bundle_bytes() -> Result<&'static [u8], String> {
    let Slot { address, length, .. } = slot();
    if length == 0 {
        return Err("no model was baked into this module".into());
    }
    // SAFETY: `ltr-trainer` appends `length` bytes at `address` as a data segment beyond the end that
    // the linker gave this memory, and raises the memory's minimum accordingly: the bytes are in bounds from
    // the start (instantiation fails otherwise), initialised, and written by nobody: statics and stack lie
    // below `__heap_base`, and the allocator takes only what lies below the linker's end or what memory.grow
    // gives it, which lies above the raised minimum.
    Ok(unsafe { std::slice::from_raw_parts(address as usize as *const u8, length as usize) })
}
