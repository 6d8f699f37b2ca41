//! Scorer components that misbehave in one exact way each; for tests only, never shipped.
//!
//! They are written as WebAssembly text against the real `wit/scorer.wit`, so that they can do what no
//! compiler would let them. Every one of them is a valid component; what is wrong shows only in what it does.
//! [`raw`] makes what is no component, or one too big to be looked at, byte by byte.
//!
//! A scorer that misbehaves from its first call never gets past an artefact's golden rows. [`When::ValuesOver`]
//! is how one turns up in service: it behaves for small batches and turns on big ones, in whatever instance
//! the batch lands.

pub mod bombs;
pub mod entries;
mod module;
pub mod raw;
pub mod zoo;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract, as every component is built for it.
const WIT: &str = include_str!("../../../../wit/scorer.wit");

/// What a component does. Whatever it is, an answer that is given is honest about the rest: the score of a
/// row is its first feature, which alone contributes to it, one output a row, model version `evil`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Behaviour {
    /// Nothing wrong at all.
    Honest,
    /// Honest, and slow as a big model is: for each row it goes so many times around a loop.
    Slow(u32),
    /// Misbehaves in `score` and `explain`, when told to.
    Faulty(Fault, When),
    /// Never comes back from `describe`.
    SpinInDescribe,
    /// Executes `unreachable` in `describe`.
    TrapInDescribe,
    /// Grows its memory in `describe` until it cannot, then traps.
    AllocateInDescribe,
    /// A model version of 100 MB.
    HugeDescription,
    /// A million feature names.
    MillionFeatures,
    /// 10,000 feature names that are all the same 100 MB of memory.
    AliasedFeatures,
    /// A model version that is not UTF-8.
    NotUtf8,
    /// The first feature's name twice.
    DuplicateFeatureNames,
    /// No feature names.
    NoFeatures,
    /// Zero outputs a row.
    NoOutputs,
    /// Says two outputs a row and gives one.
    LieAboutOutputs,
    /// A start function that never ends: it spins before anything is called.
    SpinInInstantiate,
    /// Says it is built for contract 2.0.0 through an interface of version 1.1.0.
    WrongContract,
    /// Exports the interface in version 2.0.0.
    WrongInterfaceVersion,
    /// Exports the interface's name with a `score` of another type.
    WrongTypes,
    /// Imports WASI's clock.
    WithImport,
    /// Imports what no host has ever heard of.
    WithOtherImport,
    /// Exports the interface without its `explain`.
    WithoutExplain,
    /// Exports something else.
    WrongWorld,
    /// Starts with 1 GiB of memory.
    HugeMemory,
    /// Starts with a table of ten million entries.
    HugeTable,
}

/// What goes wrong in `score` and, with contributions for scores, in `explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Executes `unreachable`.
    Trap,
    /// Never comes back.
    Spin,
    /// One score less than there should be.
    TooFew,
    /// One score more than there should be.
    TooMany,
    /// A million scores more than there should be.
    FarTooMany,
    /// Grows its memory until it cannot, then traps.
    AllocateForever,
    /// Grows a table until it cannot, then traps.
    GrowTables,
    /// Calls itself without end.
    StackOverflow,
    /// The right number of scores, at an address outside of its memory.
    LieAboutLengths,
    /// The right number of scores, each NaN.
    NanScores,
    /// The right number of scores, each infinite.
    InfiniteScores,
    /// The contract's `score-error.model("no")`, or `explain-error.model("no")`.
    Refuse,
    /// The same with a text of 1 MB.
    RefuseAtLength,
    /// Right scores, but 64 MiB of memory taken and kept.
    Hoard,
}

/// When a fault shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In every call.
    Always,
    /// In every call after this many good ones. Each instance counts for itself: which call of a pool that is
    /// depends on which instance it lands in.
    AfterCalls(u32),
    /// In every call with more values (rows times features) than this.
    ValuesOver(u32),
}

/// Builds a component with these feature names.
///
/// # Panics
/// When the text does not assemble, which is a mistake in this crate.
pub fn component(feature_names: &[&str], behaviour: Behaviour) -> Vec<u8> {
    encode(&module::text(feature_names, behaviour), behaviour)
}

/// An honest component whose module has these fields, too.
fn component_with(feature_names: &[&str], fields: &str) -> Vec<u8> {
    let text = module::text(feature_names, Behaviour::Honest);
    let text = text.strip_suffix(')').expect("a module ends with a bracket");
    encode(&format!("{text} {fields})"), Behaviour::Honest)
}

fn encode(text: &str, behaviour: Behaviour) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str("scorer.wit", &wit(behaviour))
        .expect("the contract parses");
    let world = resolve
        .select_world(&[package], Some("scorer"))
        .expect("the world is there");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the metadata embeds");
    let encoder = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .expect("the module suits the world");
    { encoder }.encode().unwrap_or_else(|e| panic!("{behaviour:?}: {e:#}"))
}

fn wit(behaviour: Behaviour) -> String {
    match behaviour {
        Behaviour::WrongInterfaceVersion => WIT.replace("@1.1.0", "@2.0.0"),
        Behaviour::WrongTypes => WIT.replace("-> result<list<f64>, score-error>", "-> list<f64>"),
        Behaviour::WrongWorld => {
            WIT.replace("export scoring;", "export greeting;") + "interface greeting { greet: func() -> u32; }"
        }
        Behaviour::WithImport => {
            WIT.replace(
                "world scorer {",
                "world scorer { import wasi:clocks/monotonic-clock@0.2.0;",
            ) + "package wasi:clocks@0.2.0 { interface monotonic-clock { now: func() -> u64; } }"
        }
        Behaviour::WithOtherImport => {
            WIT.replace("world scorer {", "world scorer { import whispers;")
                + "interface whispers { now: func() -> u64; }"
        }
        Behaviour::WithoutExplain => WIT.replace(
            "explain: func(rows: list<f64>) -> result<list<f64>, explain-error>;",
            "",
        ),
        _ => WIT.to_owned(),
    }
}
