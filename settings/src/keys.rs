//! The tables of all keys: meaning and allowed values. Errors, `--print-config` and the range
//! checks read them.

mod gateway;
mod names;
mod rule;
mod training;

pub(crate) use names::*;
pub(crate) use rule::{Rule, Section};

/// All sections in printing order; a section comes before its sub-sections, as TOML requires.
pub(crate) fn sections() -> impl Iterator<Item = &'static Section> {
    gateway::SECTIONS.iter().chain(training::SECTIONS)
}

/// The rule of a key, given as `section.key`.
pub(crate) fn rule(key: &str) -> Option<Rule> {
    let (section, name) = key.rsplit_once('.')?;
    let section = sections().find(|s| s.name == section)?;
    let key = section.keys.iter().find(|k| k.name == name)?;
    Some(key.rule)
}

/// The names allowed in a section ("" is the whole file): its keys, then its sub-sections.
pub(crate) fn names_in(section: &str) -> Vec<&'static str> {
    let keys = sections().filter(|s| s.name == section).flat_map(|s| s.keys);
    keys.map(|k| k.name).chain(sub_sections(section)).collect()
}

/// The names of a section's sub-sections.
pub(crate) fn sub_sections(section: &str) -> impl Iterator<Item = &'static str> {
    sections().filter_map(move |s| match s.name.rsplit_once('.') {
        Some((parent, name)) if parent == section => Some(name),
        None if section.is_empty() => Some(s.name),
        _ => None,
    })
}
