//! Loads a component from a file, for the commands that need no gateway.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use rows::Categories;
use runtime::{Engine, Limits, Scorer};

/// Reads a component's bytes, up to the size that the engine accepts.
#[expect(clippy::disallowed_methods, reason = "a pipe is welcome here: `<(zcat FILE)`")]
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let most = Limits::default().max_component_bytes as u64;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        bytes.len() as u64 <= most,
        "{} exceeds the {most}-byte limit of a component",
        path.display()
    );
    Ok(bytes)
}

pub(super) fn engine() -> anyhow::Result<Engine> {
    Ok(Engine::new(Limits::default())?)
}

/// A loaded component.
pub(super) struct Loaded {
    pub scorer: Scorer,
    /// The pandas category columns, whose values in files are converted to codes.
    pub categories: Option<Categories>,
}

pub(super) fn load(path: &Path) -> anyhow::Result<Loaded> {
    let component = read(path)?;
    let refused = || format!("{} is refused", path.display());
    let scorer = engine()?.load(&component).with_context(refused)?;
    let categories = categories(&component).with_context(refused)?;
    Ok(Loaded { scorer, categories })
}

/// The pandas categories that a component's custom section lists.
///
/// # Errors
/// A section that `ltr-trainer compile` did not write.
pub(super) fn categories(component: &[u8]) -> anyhow::Result<Option<Categories>> {
    let section = runtime::custom_section(component, Categories::SECTION);
    let parsed = section.map(Categories::from_json).transpose();
    parsed.map_err(|error| anyhow!("its section {} cannot be read: {error}", Categories::SECTION))
}
