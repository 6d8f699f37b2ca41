//! What a scorer is made of, counted before anything is validated or compiled.
//!
//! A component can ask for far more work than it has bytes: a component that holds 990 instances of one that holds 990
//! instances is 980,100 instances, and a tuple of two tuples of two doubles with each level. So nothing that multiplies
//! is allowed at all. A scorer is one module and, for the types of its interface, one nested component without code;
//! what our own compiler emits is counted here with some room, and every other part is refused by its name. That is
//! the same on every machine, costs one pass over the section headers, and leaves the compiler with work in
//! proportion to the bytes. A compiler in a process of its own with limits of memory would have caught these too, but
//! only after the memory was taken, by an amount that depends on the machine.

use wasmparser::{
    ComponentAlias, ComponentDefinedType, ComponentExternalKind, ComponentFuncType, ComponentType, ComponentTypeRef,
    ComponentValType, CompositeInnerType, ElementItems, FuncType, Parser, Payload, TypeBounds,
};

use super::{ComponentFacts, malformed};
use crate::limits::MAX_TABLE_ENTRIES;
use crate::{Limits, LoadError};

// Of the component, its nested one included. In brackets what ours have.
/// (1)
const MAX_MODULES: u64 = 1;
/// (1)
const MAX_NESTED: u64 = 1;
/// (1)
const MAX_CORE_INSTANCES: u64 = 4;
/// (1)
const MAX_INSTANCES: u64 = 2;
/// (8)
const MAX_ALIASES: u64 = 32;
/// (46)
const MAX_TYPES: u64 = 128;
/// Primitive types that one type comes down to, counted as often as they occur in it (12).
const MAX_TYPE_SIZE: u64 = 500;
/// Functions that are lifted to the component's interface (3).
const MAX_LIFTED: u64 = 16;
/// Imports and exports (18).
const MAX_NAMED: u64 = 128;

// Of the module.
/// (20)
const MAX_CORE_TYPES: u64 = 1_000;
/// (7)
const MAX_PARAMETERS: u64 = 32;
/// Ours has none: what imports is refused for that.
const MAX_CORE_IMPORTS: u64 = 32;
/// (123)
const MAX_FUNCTIONS: u64 = 4_000;
/// (1)
const MAX_TABLES: u64 = 4;
/// (3)
const MAX_GLOBALS: u64 = 256;
/// (11)
const MAX_CORE_EXPORTS: u64 = 256;
/// Entries that tables are filled with (29).
const MAX_ELEMENTS: u64 = MAX_TABLE_ENTRIES;
/// (2)
const MAX_DATA_SEGMENTS: u64 = 1_000;

/// Refuses a component that has more of anything than a scorer needs; gives the functions and the bytes of code.
pub(super) fn check(component: &[u8], limits: &Limits, facts: &mut ComponentFacts) -> Result<(), LoadError> {
    let mut survey = Survey {
        limits,
        facts,
        place: Place::Component,
        outer: Vec::new(),
        sizes: Vec::new(),
        counts: Counts::default(),
    };
    for payload in Parser::new(0).parse_all(component) {
        survey.take(payload.map_err(malformed)?)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Component,
    Nested,
    Module,
}

#[derive(Default)]
struct Counts {
    modules: u64,
    nested: u64,
    core_instances: u64,
    instances: u64,
    aliases: u64,
    types: u64,
    lifted: u64,
    named: u64,
    core_types: u64,
    elements: u64,
}

struct Survey<'a> {
    limits: &'a Limits,
    facts: &'a mut ComponentFacts,
    place: Place,
    /// Where the place's own end leads back to, and the sizes of the types there.
    outer: Vec<(Place, Vec<u64>)>,
    /// Of the types of this component, by their index.
    sizes: Vec<u64>,
    counts: Counts,
}

impl Survey<'_> {
    fn take(&mut self, payload: Payload) -> Result<(), LoadError> {
        match (self.place, payload) {
            (_, Payload::Version { .. } | Payload::CustomSection(_)) => Ok(()),
            (_, Payload::End(_)) => {
                if let Some((place, sizes)) = self.outer.pop() {
                    (self.place, self.sizes) = (place, sizes);
                }
                Ok(())
            }
            (Place::Module, payload) => self.take_of_module(payload),
            (_, Payload::ComponentTypeSection(section)) => {
                count(&mut self.counts.types, section.count(), MAX_TYPES, "types")?;
                for item in section {
                    let size = self.size(&item.map_err(malformed)?)?;
                    self.sizes.push(size);
                }
                Ok(())
            }
            (_, Payload::ComponentImportSection(section)) => {
                count(
                    &mut self.counts.named,
                    section.count(),
                    MAX_NAMED,
                    "imports and exports",
                )?;
                for import in section {
                    self.name(import.map_err(malformed)?.ty);
                }
                Ok(())
            }
            (_, Payload::ComponentExportSection(section)) => {
                count(
                    &mut self.counts.named,
                    section.count(),
                    MAX_NAMED,
                    "imports and exports",
                )?;
                for export in section {
                    let export = export.map_err(malformed)?;
                    if export.kind == ComponentExternalKind::Type {
                        self.name(ComponentTypeRef::Type(TypeBounds::Eq(export.index)));
                    }
                }
                Ok(())
            }
            (Place::Component, payload) => self.take_of_component(payload),
            (Place::Nested, payload) => Err(needless(&format!("a nested component with {}", called(&payload)))),
        }
    }

    fn take_of_component(&mut self, payload: Payload) -> Result<(), LoadError> {
        let counts = &mut self.counts;
        match payload {
            Payload::ModuleSection { .. } => {
                count(&mut counts.modules, 1, MAX_MODULES, "modules")?;
                self.enter(Place::Module);
            }
            Payload::ComponentSection { .. } => {
                count(&mut counts.nested, 1, MAX_NESTED, "nested components")?;
                self.enter(Place::Nested);
            }
            Payload::InstanceSection(section) => {
                let most = MAX_CORE_INSTANCES;
                count(
                    &mut counts.core_instances,
                    section.count(),
                    most,
                    "instances of modules",
                )?;
            }
            Payload::ComponentInstanceSection(section) => {
                let most = MAX_INSTANCES;
                count(&mut counts.instances, section.count(), most, "instances of components")?;
            }
            Payload::ComponentAliasSection(section) => {
                count(&mut counts.aliases, section.count(), MAX_ALIASES, "aliases")?;
                for alias in section {
                    if !matches!(alias.map_err(malformed)?, ComponentAlias::CoreInstanceExport { .. }) {
                        return Err(needless("an alias of anything but a module's export"));
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                count(&mut counts.lifted, section.count(), MAX_LIFTED, "lifted functions")?;
            }
            payload => return Err(needless(called(&payload))),
        }
        Ok(())
    }

    fn take_of_module(&mut self, payload: Payload) -> Result<(), LoadError> {
        match payload {
            Payload::TypeSection(section) => {
                count(
                    &mut self.counts.core_types,
                    section.count(),
                    MAX_CORE_TYPES,
                    "types in the module",
                )?;
                for group in section {
                    check_core_types(group.map_err(malformed)?.types())?;
                }
            }
            Payload::ImportSection(section) => most(section.count(), MAX_CORE_IMPORTS, "imports of the module")?,
            // Their number is told before they come, so that a giant is refused without being read.
            Payload::FunctionSection(section) => {
                most(section.count(), MAX_FUNCTIONS, "functions")?;
                self.facts.functions += u64::from(section.count());
            }
            Payload::TableSection(section) => {
                most(section.count(), MAX_TABLES, "tables")?;
                for table in section {
                    let entries = table.map_err(malformed)?.ty.initial;
                    if entries > MAX_TABLE_ENTRIES {
                        return Err(excess(format!("a table of {entries} entries"), MAX_TABLE_ENTRIES));
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let bytes = memory.map_err(malformed)?.initial.saturating_mul(1 << 16);
                    if bytes > self.limits.max_memory_bytes as u64 {
                        let limit = self.limits.max_memory_bytes as u64;
                        return Err(excess(format!("a memory of {bytes} bytes"), limit));
                    }
                }
            }
            Payload::GlobalSection(section) => most(section.count(), MAX_GLOBALS, "globals")?,
            Payload::ExportSection(section) => most(section.count(), MAX_CORE_EXPORTS, "exports of the module")?,
            Payload::ElementSection(section) => {
                most(section.count(), MAX_ELEMENTS, "segments of elements")?;
                for element in section {
                    let entries = match element.map_err(malformed)?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    count(&mut self.counts.elements, entries, MAX_ELEMENTS, "elements")?;
                }
            }
            Payload::DataSection(section) => most(section.count(), MAX_DATA_SEGMENTS, "segments of data")?,
            Payload::CodeSectionEntry(body) => return self.take_body(body.range().len()),
            Payload::StartSection { .. } | Payload::CodeSectionStart { .. } | Payload::DataCountSection { .. } => {}
            payload => return Err(needless(called(&payload))),
        }
        Ok(())
    }

    fn take_body(&mut self, bytes: usize) -> Result<(), LoadError> {
        let (limits, facts) = (self.limits, &mut *self.facts);
        facts.code_bytes += bytes;
        if bytes > limits.max_function_bytes {
            let limit = limits.max_function_bytes as u64;
            return Err(excess(format!("a function of {bytes} bytes"), limit));
        }
        if facts.code_bytes > limits.max_code_bytes {
            let limit = limits.max_code_bytes;
            return Err(LoadError::TooComplex(format!("more than {limit} bytes of code")));
        }
        Ok(())
    }

    fn enter(&mut self, place: Place) {
        let outer = std::mem::replace(&mut self.place, place);
        self.outer.push((outer, std::mem::take(&mut self.sizes)));
    }

    /// An import or an export of a type is one more type of the component.
    fn name(&mut self, named: ComponentTypeRef) {
        if let ComponentTypeRef::Type(bounds) = named {
            let size = match bounds {
                TypeBounds::Eq(index) => self.size_at(index),
                TypeBounds::SubResource => 1,
            };
            self.sizes.push(size);
        }
    }

    /// Of a type that is not there the validator complains.
    fn size_at(&self, index: u32) -> u64 {
        self.sizes.get(index as usize).copied().unwrap_or(1)
    }

    fn size_of(&self, value: &ComponentValType) -> u64 {
        match value {
            ComponentValType::Primitive(_) => 1,
            ComponentValType::Type(index) => self.size_at(*index),
        }
    }

    /// The primitive types that a type comes down to.
    fn size(&self, item: &ComponentType) -> Result<u64, LoadError> {
        let sum = |size: u64, value: &ComponentValType| size.saturating_add(self.size_of(value));
        let all = |values: &mut dyn Iterator<Item = &ComponentValType>| values.fold(1, sum);
        let size = match item {
            ComponentType::Func(ComponentFuncType { params, result, .. }) => {
                all(&mut params.iter().map(|(_, value)| value).chain(result))
            }
            ComponentType::Defined(defined) => match defined {
                ComponentDefinedType::Primitive(_) => 1,
                ComponentDefinedType::Record(fields) => all(&mut fields.iter().map(|(_, value)| value)),
                ComponentDefinedType::Variant(cases) => {
                    all(&mut cases.iter().filter_map(|case| case.ty.as_ref())).saturating_add(cases.len() as u64)
                }
                ComponentDefinedType::Tuple(values) => all(&mut values.iter()),
                ComponentDefinedType::Flags(names) | ComponentDefinedType::Enum(names) => names.len() as u64,
                ComponentDefinedType::List(value) | ComponentDefinedType::Option(value) => sum(1, value),
                ComponentDefinedType::Result { ok, err } => all(&mut ok.iter().chain(err)),
                _ => return Err(needless("a type beyond records, variants, tuples and lists")),
            },
            _ => return Err(needless("a type of a component, an instance or a resource")),
        };
        if size > MAX_TYPE_SIZE {
            Err(excess(format!("a type of {size} parts"), MAX_TYPE_SIZE))
        } else {
            Ok(size)
        }
    }
}

fn check_core_types<'a>(types: impl ExactSizeIterator<Item = &'a wasmparser::SubType>) -> Result<(), LoadError> {
    if types.len() != 1 {
        return Err(needless("a group of recursive types"));
    }
    for core in types {
        let CompositeInnerType::Func(function) = &core.composite_type.inner else {
            return Err(needless("a type in the module that is no function's"));
        };
        check_function_type(function)?;
    }
    Ok(())
}

fn check_function_type(function: &FuncType) -> Result<(), LoadError> {
    let parameters = function.params().len() as u64;
    if parameters > MAX_PARAMETERS {
        Err(excess(format!("a function of {parameters} parameters"), MAX_PARAMETERS))
    } else {
        Ok(())
    }
}

fn count(total: &mut u64, more: u32, limit: u64, what: &str) -> Result<(), LoadError> {
    *total = total.saturating_add(more.into());
    if *total > limit {
        Err(excess(format!("{total} {what}"), limit))
    } else {
        Ok(())
    }
}

fn most(found: u32, limit: u64, what: &str) -> Result<(), LoadError> {
    count(&mut 0, found, limit, what)
}

fn excess(found: String, limit: u64) -> LoadError {
    LoadError::TooComplex(format!("{found}; allowed: at most {limit}"))
}

fn needless(part: &str) -> LoadError {
    LoadError::TooComplex(format!("{part}; a scorer has none"))
}

/// A part by its name in the specification.
fn called(payload: &Payload) -> &'static str {
    match payload {
        Payload::ModuleSection { .. } => "a module",
        Payload::ComponentSection { .. } => "a component",
        Payload::InstanceSection(_) => "instances of modules",
        Payload::ComponentInstanceSection(_) => "instances of components",
        Payload::ComponentAliasSection(_) => "aliases",
        Payload::ComponentCanonicalSection(_) => "lifted functions",
        Payload::CoreTypeSection(_) => "core types",
        Payload::ComponentStartSection { .. } => "a start section",
        Payload::TagSection(_) => "tags",
        _ => "an unknown section",
    }
}
