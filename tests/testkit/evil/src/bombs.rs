//! Small components that ask a compiler for far more work than they have bytes. Each is an honest scorer and one thing
//! more, so that nothing but the bomb in it can be why it is refused.

use crate::raw::{COMPONENT_HEADER, MODULE_HEADER, number, section};
use crate::{Behaviour, component, component_with};

// Sections of a component, by their numbers in the specification.
const CORE_MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;
const COMPONENT: u8 = 4;
const INSTANCE: u8 = 5;
const ALIAS: u8 = 6;
const TYPE: u8 = 7;
const CANON: u8 = 8;
const EXPORT: u8 = 11;

// Indices of an honest scorer's types.
const LIST: u32 = 8;
const NEXT_TYPE: u32 = 13;

fn honest(names: &[&str]) -> Vec<u8> {
    component(names, Behaviour::Honest)
}

fn honest_and(names: &[&str], id: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = honest(names);
    section(&mut bytes, id, contents);
    bytes
}

/// `count` times the same item, as a section has them.
fn times(count: u32, item: &[u8]) -> Vec<u8> {
    let mut contents = number(count);
    contents.extend(item.iter().cycle().take(item.len() * count as usize));
    contents
}

fn component_of(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = COMPONENT_HEADER.to_vec();
    for (id, contents) in sections {
        section(&mut bytes, *id, contents);
    }
    bytes
}

/// 990 instances of 990 instances of a component with 900 instances of a module: 882 million in 8.7 KB.
pub fn nested_instances(names: &[&str]) -> Vec<u8> {
    let first = [0, 0, 0];
    let modules = component_of(&[
        (CORE_MODULE, MODULE_HEADER.to_vec()),
        (CORE_INSTANCE, times(900, &first)),
    ]);
    let inner = component_of(&[(COMPONENT, modules), (INSTANCE, times(990, &first))]);
    let mut bytes = honest_and(names, COMPONENT, &inner);
    // The second component: the first is the one with the interface's types.
    section(&mut bytes, INSTANCE, &times(990, &[0, 1, 0]));
    bytes
}

/// 100,000 instances of the one module, each with its memory.
pub fn many_instances(names: &[&str]) -> Vec<u8> {
    honest_and(names, CORE_INSTANCE, &times(100_000, &[0, 0, 0]))
}

/// As many of the nested component.
pub fn many_component_instances(names: &[&str]) -> Vec<u8> {
    honest_and(names, INSTANCE, &times(100_000, &[0, 0, 0]))
}

/// 1,000 modules.
pub fn many_modules(names: &[&str]) -> Vec<u8> {
    let mut bytes = honest(names);
    for _ in 0..1_000 {
        section(&mut bytes, CORE_MODULE, &MODULE_HEADER);
    }
    bytes
}

/// 2,000 components inside each other.
pub fn deep_components(names: &[&str]) -> Vec<u8> {
    let mut inner = component_of(&[]);
    for _ in 0..2_000 {
        inner = component_of(&[(COMPONENT, inner)]);
    }
    honest_and(names, COMPONENT, &inner)
}

/// A module inside a nested component, where it could be instantiated many times over.
pub fn nested_module(names: &[&str]) -> Vec<u8> {
    // In place of the honest one, whose types nobody needs before they are counted.
    let inner = component_of(&[(CORE_MODULE, MODULE_HEADER.to_vec())]);
    let mut bytes = component_of(&[(COMPONENT, inner)]);
    bytes.extend(&honest(names)[COMPONENT_HEADER.len()..]);
    bytes
}

/// 18 tuples of two of the one before: a quarter of a million values in a hundred bytes.
pub fn doubled_types(names: &[&str]) -> Vec<u8> {
    let mut contents = number(18);
    for index in std::iter::once(LIST).chain(NEXT_TYPE..NEXT_TYPE + 17) {
        contents.extend([0x6f, 2]);
        contents.extend(number(index));
        contents.extend(number(index));
    }
    honest_and(names, TYPE, &contents)
}

/// A record of 5,000 fields.
pub fn wide_type(names: &[&str]) -> Vec<u8> {
    let mut contents = vec![1, 0x6f];
    contents.extend(times(5_000, &[0x73]));
    honest_and(names, TYPE, &contents)
}

/// 50,000 types.
pub fn many_types(names: &[&str]) -> Vec<u8> {
    honest_and(names, TYPE, &times(50_000, &[0x73]))
}

/// Types of instances inside each other, 90 deep.
pub fn nested_types(names: &[&str]) -> Vec<u8> {
    let mut inner = vec![0x42, 0];
    for _ in 0..90 {
        let mut outer = vec![0x42, 1, 1];
        outer.extend(inner);
        inner = outer;
    }
    let mut contents = vec![1];
    contents.extend(inner);
    honest_and(names, TYPE, &contents)
}

/// 100,000 aliases of one export.
pub fn many_aliases(names: &[&str]) -> Vec<u8> {
    let mut alias = vec![0, 2, 1, 0, 6];
    alias.extend(b"memory");
    honest_and(names, ALIAS, &times(100_000, &alias))
}

/// An alias of a type outside, which a chain of components can hand on.
pub fn outer_alias(names: &[&str]) -> Vec<u8> {
    honest_and(names, ALIAS, &[1, 3, 2, 0, 0])
}

/// 10,000 lifts of one function, for each of which the compiler makes code.
pub fn many_lifts(names: &[&str]) -> Vec<u8> {
    honest_and(names, CANON, &times(10_000, &[0, 0, 0, 0, 7]))
}

/// 10,000 names for one function.
pub fn many_names(names: &[&str]) -> Vec<u8> {
    let mut contents = number(10_000);
    for at in 0..10_000 {
        let name = format!("e{at}");
        contents.extend([0, name.len() as u8]);
        contents.extend(name.bytes().chain([1, 0, 0]));
    }
    honest_and(names, EXPORT, &contents)
}

/// 50,000 types in the module.
pub fn many_core_types(names: &[&str]) -> Vec<u8> {
    component_with(names, &"(type (func))".repeat(50_000))
}

/// 50 tables.
pub fn many_tables(names: &[&str]) -> Vec<u8> {
    component_with(names, &"(table 1 funcref)".repeat(50))
}

/// 30,000 functions that do nothing.
pub fn many_functions(names: &[&str]) -> Vec<u8> {
    component_with(names, &"(func)".repeat(30_000))
}

/// 60 functions of 40,000 variables each.
pub fn many_locals(names: &[&str]) -> Vec<u8> {
    let variables = "i64 ".repeat(40_000);
    component_with(names, &format!("(func (local {variables}) (block))").repeat(60))
}

/// 9,000 loops in a function whose 400 variables live through each.
pub fn loops_over_locals(names: &[&str]) -> Vec<u8> {
    let set: String = (1..=400)
        .map(|local| format!("(local.set {local} (local.get 0))"))
        .collect();
    let get: String = (1..=400).map(|local| format!("(drop (local.get {local}))")).collect();
    let loops = "(loop (br_if 0 (local.get 0)))".repeat(6_000);
    let text = format!("(func (param i32) (local {}) {set} {loops} {get})", "i32 ".repeat(400));
    component_with(names, &text)
}

/// 300 values that wait on the stack for the end of 5,000 blocks.
pub fn blocks_over_values(names: &[&str]) -> Vec<u8> {
    let push = "(i32.load (local.get 0)) ".repeat(300);
    let blocks = "(block (br_if 0 (local.get 0)))".repeat(5_000);
    let text = format!("(func (param i32) {push} {blocks} {})", "drop ".repeat(300));
    component_with(names, &text)
}

/// Tables of 25,000 targets, with 100 variables to hand on to each.
pub fn wide_branch_table(names: &[&str]) -> Vec<u8> {
    let text = format!(
        "(func (param i32) (local {}) (block (block (br_table {} (local.get 0)))))",
        "i32 ".repeat(100),
        "0 1 ".repeat(12_500)
    );
    component_with(names, &text)
}

/// 10,000 blocks inside each other.
pub fn deep_blocks(names: &[&str]) -> Vec<u8> {
    let text = format!("(func {}{})", "block ".repeat(10_000), "end ".repeat(10_000));
    component_with(names, &text)
}

/// Blocks that each hand on 20 values.
pub fn blocks_with_values(names: &[&str]) -> Vec<u8> {
    let block = format!("(type $wide (func (param {0}) (result {0})))", "i32 ".repeat(20));
    let push = "(i32.const 1) ".repeat(20);
    let blocks = "block (type $wide) end ".repeat(8_000);
    let text = format!("{block} (func {push} {blocks} {})", "drop ".repeat(20));
    component_with(names, &text)
}

/// A function of 900 parameters.
pub fn many_parameters(names: &[&str]) -> Vec<u8> {
    component_with(names, &format!("(func (param {}))", "i64 ".repeat(900)))
}

/// 100,000 globals.
pub fn many_globals(names: &[&str]) -> Vec<u8> {
    component_with(names, &"(global i32 (i32.const 0))".repeat(100_000))
}

/// 50,000 segments of data.
pub fn many_segments(names: &[&str]) -> Vec<u8> {
    component_with(names, &r#"(data (i32.const 0) "")"#.repeat(50_000))
}

/// A million elements for a table.
pub fn many_elements(names: &[&str]) -> Vec<u8> {
    component_with(names, &format!("(func $f) (elem func {})", "$f ".repeat(1_000_000)))
}

/// 50,000 exports of the module.
pub fn many_exports(names: &[&str]) -> Vec<u8> {
    let exports: String = (0..50_000).map(|at| format!(r#"(export "e{at}")"#)).collect();
    component_with(names, &format!("(func {exports})"))
}

/// What comes closest to the limits on branches and values, in several ways at once, and is taken: what it costs is
/// what any component can cost.
pub fn within_limits(names: &[&str]) -> Vec<u8> {
    let locals = |count: usize| "i32 ".repeat(count);
    let each = |count: usize, text: &dyn Fn(usize) -> String| (1..=count).map(text).collect::<String>();
    let set = |count| each(count, &|local| format!("(local.set {local} (local.get 0))"));
    let get = |count| each(count, &|local| format!("(drop (local.get {local}))"));
    // 60 variables that live through 4,000 loops.
    let loops = format!(
        "(func (param i32) (local {}) {} {} {})",
        locals(60),
        set(60),
        "(loop (br_if 0 (local.get 0)))".repeat(4_000),
        get(60)
    );
    // 450 loops inside each other, around 500 variables.
    let nested = format!(
        "(func (param i32) (local {}) {} {} {} {})",
        locals(500),
        set(500),
        "loop ".repeat(450),
        get(500),
        "(br_if 0 (local.get 0)) end ".repeat(450)
    );
    // 50 values on the stack below 4,500 blocks.
    let stacked = format!(
        "(func (param i32) {} {} {})",
        "(i32.load (local.get 0)) ".repeat(50),
        "(block (br_if 0 (local.get 0)))".repeat(4_500),
        "drop ".repeat(50)
    );
    // 20,000 targets.
    let table = format!(
        "(func (param i32) (local {}) (block (block (br_table {} (local.get 0)))))",
        locals(20),
        "0 1 ".repeat(10_000)
    );
    component_with(names, &[loops, nested, stacked, table].concat())
}
