//! Bytes that no encoder would write: giants, strangers and noise. They are generated, because nobody wants to
//! store them.

use crate::{Behaviour, component};

pub(crate) const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";
pub(crate) const MODULE_HEADER: [u8; 8] = *b"\0asm\x01\0\0\0";

/// An honest component, padded by a custom section to somewhat more than `bytes`.
pub fn padded(feature_names: &[&str], bytes: usize) -> Vec<u8> {
    let mut padded = component(feature_names, Behaviour::Honest);
    let mut contents = vec![7];
    contents.extend(b"padding");
    contents.resize(bytes, 0);
    section(&mut padded, 0, &contents);
    padded
}

/// A component around a module of `count` functions that do nothing.
pub fn with_functions(count: u32) -> Vec<u8> {
    let mut module = MODULE_HEADER.to_vec();
    section(&mut module, 1, &[1, 0x60, 0, 0]);
    let mut types = number(count);
    types.resize(types.len() + count as usize, 0);
    section(&mut module, 3, &types);
    let mut bodies = number(count);
    bodies.extend([2, 0, 0x0b].iter().cycle().take(3 * count as usize));
    section(&mut module, 10, &bodies);
    let mut component = COMPONENT_HEADER.to_vec();
    section(&mut component, 1, &module);
    component
}

/// A component with nothing in it.
pub fn empty_component() -> Vec<u8> {
    COMPONENT_HEADER.to_vec()
}

/// A core module: WebAssembly, but no component.
pub fn core_module() -> Vec<u8> {
    MODULE_HEADER.to_vec()
}

/// Bytes without meaning, the same for the same seed.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    testkit::Random(seed).bytes(bytes)
}

/// Noise that starts as a component does.
pub fn noise_with_header(bytes: usize, seed: u64) -> Vec<u8> {
    let mut component = COMPONENT_HEADER.to_vec();
    component.extend(noise(bytes, seed));
    component
}

pub(crate) fn section(to: &mut Vec<u8>, id: u8, contents: &[u8]) {
    to.push(id);
    to.extend(number(
        u32::try_from(contents.len()).expect("a section is shorter than 4 GiB"),
    ));
    to.extend(contents);
}

/// LEB128, as WebAssembly writes numbers.
pub(crate) fn number(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
