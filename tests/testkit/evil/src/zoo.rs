//! Every hostile guest with what a host must do about it: one table, for the sandbox alone and for the gateway
//! around it.

use crate::{Behaviour, Fault, When, bombs, component, raw};

/// A guest and its end.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// For a test's messages, for example `core-module`.
    pub name: &'static str,
    made: Made,
    /// What a host must do about it.
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
enum Made {
    Component(Behaviour),
    /// A component that turns only when it is in service, so that it gets past a load's checks.
    Traitor(Fault),
    Bytes(fn(&[&str]) -> Vec<u8>),
}

/// What becomes of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Refused by the load, with this code, in a sentence that has these words.
    Refused {
        /// The load's error code, for example `too_large`.
        code: &'static str,
        /// Words of the error; empty where they are the engine's own.
        said: &'static str,
    },
    /// Loaded; a call that it fails ends for this reason, in a sentence that has these words.
    Fails {
        /// The failed call's reason, for example `timeout`.
        reason: &'static str,
        /// Words of the error; empty where they are the engine's own.
        said: &'static str,
        /// What becomes of the instance that failed.
        instance: Instance,
    },
    /// Loaded; gives as many scores as it should, none of them a finite number. The sandbox hands them over and
    /// keeps the instance; who ranks by them says `bad_output`.
    NoNumbers,
    /// Loaded; scores as it should, and its instance is dropped for what it took meanwhile.
    Scores,
}

/// What becomes of the instance that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance {
    /// It is thrown away; the next call gets a fresh one.
    Dropped,
    /// It serves the next call, too: it only refused.
    Kept,
}

impl Guest {
    /// The guest for rows with these features. One that is loaded behaves until `when`.
    pub fn bytes(&self, feature_names: &[&str], when: When) -> Vec<u8> {
        match self.made {
            Made::Component(behaviour) => component(feature_names, behaviour),
            Made::Traitor(fault) => component(feature_names, Behaviour::Faulty(fault, when)),
            Made::Bytes(make) => make(feature_names),
        }
    }

    /// Whether its failed calls take all the time that they are given.
    pub fn spins(&self) -> bool {
        matches!(self.made, Made::Traitor(Fault::Spin))
    }
}

const fn refused(name: &'static str, behaviour: Behaviour, code: &'static str, said: &'static str) -> Guest {
    Guest {
        name,
        made: Made::Component(behaviour),
        outcome: Outcome::Refused { code, said },
    }
}

const fn stranger(name: &'static str, make: fn(&[&str]) -> Vec<u8>, code: &'static str, said: &'static str) -> Guest {
    Guest {
        name,
        made: Made::Bytes(make),
        outcome: Outcome::Refused { code, said },
    }
}

const fn fails(name: &'static str, fault: Fault, reason: &'static str, said: &'static str) -> Guest {
    loaded(
        name,
        fault,
        Outcome::Fails {
            reason,
            said,
            instance: Instance::Dropped,
        },
    )
}

const fn loaded(name: &'static str, fault: Fault, outcome: Outcome) -> Guest {
    Guest {
        name,
        made: Made::Traitor(fault),
        outcome,
    }
}

use Behaviour as B;

/// All of them. `said` is empty where the words are the engine's own.
pub const GUESTS: &[Guest] = &[
    // What is no scorer.
    stranger("nothing", |_| Vec::new(), "not_a_component", "component header"),
    stranger(
        "noise",
        |_| raw::noise(100_000, 7),
        "not_a_component",
        "component header",
    ),
    stranger(
        "noise-with-header",
        |_| raw::noise_with_header(100_000, 7),
        "not_a_component",
        "",
    ),
    stranger("core-module", |_| raw::core_module(), "not_a_component", "core module"),
    stranger(
        "empty-component",
        |_| raw::empty_component(),
        "wrong_world",
        "exports nothing",
    ),
    stranger(
        "200-megabytes",
        |names| raw::padded(names, 200_000_000),
        "too_large",
        "allowed: at most",
    ),
    stranger(
        "ten-million-functions",
        |_| raw::with_functions(10_000_000),
        "too_complex",
        "10000000 functions",
    ),
    refused(
        "another-world",
        B::WrongWorld,
        "wrong_world",
        "ltr:scorer/greeting@1.1.0",
    ),
    refused("without-an-export", B::WithoutExplain, "wrong_world", "explain"),
    refused("wrong-types", B::WrongTypes, "wrong_world", ""),
    refused(
        "imports-wasi",
        B::WithImport,
        "has_imports",
        "wasi:clocks/monotonic-clock@0.2.0",
    ),
    refused(
        "imports-a-whisper",
        B::WithOtherImport,
        "has_imports",
        "ltr:scorer/whispers@1.1.0",
    ),
    refused("future-interface", B::WrongInterfaceVersion, "wrong_contract", "2.0.0"),
    refused("future-contract", B::WrongContract, "wrong_contract", "2.0.0"),
    refused(
        "huge-memory",
        B::HugeMemory,
        "too_complex",
        "a memory of 1073741824 bytes",
    ),
    refused("huge-table", B::HugeTable, "too_complex", "a table of 10000000 entries"),
    // What would take the compiler's time and memory.
    stranger(
        "nested-instances",
        bombs::nested_instances,
        "too_complex",
        "2 nested components",
    ),
    stranger(
        "many-instances",
        bombs::many_instances,
        "too_complex",
        "100001 instances of modules",
    ),
    stranger(
        "many-component-instances",
        bombs::many_component_instances,
        "too_complex",
        "100001 instances of components",
    ),
    stranger("many-modules", bombs::many_modules, "too_complex", "2 modules"),
    stranger(
        "deep-components",
        bombs::deep_components,
        "too_complex",
        "2 nested components",
    ),
    stranger(
        "nested-module",
        bombs::nested_module,
        "too_complex",
        "a nested component with a module",
    ),
    stranger("doubled-types", bombs::doubled_types, "too_complex", "a type of"),
    stranger("wide-type", bombs::wide_type, "too_complex", "a type of 5001 parts"),
    stranger("many-types", bombs::many_types, "too_complex", " types; allowed"),
    stranger(
        "nested-types",
        bombs::nested_types,
        "too_complex",
        "a type of a component, an instance or a resource",
    ),
    stranger("many-aliases", bombs::many_aliases, "too_complex", "aliases"),
    stranger(
        "outer-alias",
        bombs::outer_alias,
        "too_complex",
        "an alias of anything but a module's export",
    ),
    stranger("many-lifts", bombs::many_lifts, "too_complex", "10003 lifted functions"),
    stranger(
        "many-names",
        bombs::many_names,
        "too_complex",
        " imports and exports; allowed",
    ),
    stranger(
        "many-core-types",
        bombs::many_core_types,
        "too_complex",
        " types in the module; allowed",
    ),
    stranger("many-tables", bombs::many_tables, "too_complex", " tables; allowed"),
    stranger(
        "many-functions",
        bombs::many_functions,
        "too_complex",
        "30007 functions",
    ),
    stranger(
        "many-locals",
        bombs::many_locals,
        "too_complex",
        "values times branches",
    ),
    stranger(
        "loops-over-locals",
        bombs::loops_over_locals,
        "too_complex",
        "values times branches",
    ),
    stranger(
        "blocks-over-values",
        bombs::blocks_over_values,
        "too_complex",
        "values times branches",
    ),
    stranger(
        "wide-branch-table",
        bombs::wide_branch_table,
        "too_complex",
        "values times branches",
    ),
    stranger(
        "deep-blocks",
        bombs::deep_blocks,
        "too_complex",
        "blocks inside each other",
    ),
    stranger("blocks-with-values", bombs::blocks_with_values, "not_a_component", ""),
    stranger(
        "many-parameters",
        bombs::many_parameters,
        "too_complex",
        "a function of 900 parameters",
    ),
    stranger("many-globals", bombs::many_globals, "too_complex", "100001 globals"),
    stranger(
        "many-segments",
        bombs::many_segments,
        "too_complex",
        "50001 segments of data",
    ),
    stranger("many-elements", bombs::many_elements, "too_complex", "1000000 elements"),
    stranger(
        "many-exports",
        bombs::many_exports,
        "too_complex",
        "50005 exports of the module",
    ),
    // What fails while it is being loaded.
    refused(
        "spins-at-start",
        B::SpinInInstantiate,
        "timeout",
        "did not describe itself",
    ),
    refused(
        "describes-for-ever",
        B::SpinInDescribe,
        "timeout",
        "did not describe itself",
    ),
    refused("traps-in-describe", B::TrapInDescribe, "trap", "unreachable"),
    refused("allocates-in-describe", B::AllocateInDescribe, "trap", "unreachable"),
    // What lies about itself.
    refused("huge-description", B::HugeDescription, "bad_description", ""),
    refused("million-features", B::MillionFeatures, "bad_description", ""),
    refused("aliased-features", B::AliasedFeatures, "bad_description", ""),
    refused("not-utf8", B::NotUtf8, "bad_description", ""),
    refused(
        "doubled-name",
        B::DuplicateFeatureNames,
        "bad_description",
        "occurs twice",
    ),
    refused("no-features", B::NoFeatures, "bad_description", "0 feature names"),
    refused("no-outputs", B::NoOutputs, "bad_description", "0 outputs a row"),
    // What turns in service.
    fails("traps", Fault::Trap, "trap", "unreachable"),
    fails("spins", Fault::Spin, "timeout", "time allowed"),
    fails("overflows-the-stack", Fault::StackOverflow, "trap", "stack"),
    fails("allocates-for-ever", Fault::AllocateForever, "trap", "unreachable"),
    fails("grows-tables-for-ever", Fault::GrowTables, "trap", "unreachable"),
    fails("too-few-scores", Fault::TooFew, "bad_output", "scores; expected"),
    fails("too-many-scores", Fault::TooMany, "bad_output", "scores; expected"),
    fails("far-too-many-scores", Fault::FarTooMany, "bad_output", ""),
    fails("scores-elsewhere", Fault::LieAboutLengths, "bad_output", ""),
    fails("refuses-at-length", Fault::RefuseAtLength, "bad_output", ""),
    loaded(
        "refuses",
        Fault::Refuse,
        Outcome::Fails {
            reason: "refused",
            said: "no",
            instance: Instance::Kept,
        },
    ),
    loaded("scores-nan", Fault::NanScores, Outcome::NoNumbers),
    loaded("scores-infinity", Fault::InfiniteScores, Outcome::NoNumbers),
    loaded("hoards", Fault::Hoard, Outcome::Scores),
];
