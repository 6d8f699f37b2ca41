//! Commands that need no gateway: score a file with a component, explain its scores, measure its speed, and
//! say what it is.

mod bench;
mod explain;
mod inspect;
mod output;
mod rows_in;
mod score;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use rows::Categories;
use runtime::{Engine, Limits, Scorer};

pub use bench::{BenchArgs, bench};
pub use explain::{ExplainArgs, explain};
pub use inspect::{InspectArgs, inspect};
pub use score::{ScoreArgs, score};

/// A component's bytes, read no further than an engine would take.
fn read_component(path: &Path) -> anyhow::Result<Vec<u8>> {
    let most = Limits::default().max_component_bytes as u64;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        bytes.len() as u64 <= most,
        "{} is larger than {most} bytes; allowed: at most that for a component",
        path.display()
    );
    Ok(bytes)
}

fn engine() -> anyhow::Result<Engine> {
    Ok(Engine::new(Limits::default())?)
}

/// A component that scores.
struct Loaded {
    scorer: Scorer,
    /// Features whose values in files stand for codes.
    categories: Option<Categories>,
}

fn load(path: &Path) -> anyhow::Result<Loaded> {
    let component = read_component(path)?;
    let refused = || format!("{} is refused", path.display());
    let scorer = engine()?.load(&component).with_context(refused)?;
    let categories = rows_in::categories(&component).with_context(refused)?;
    Ok(Loaded { scorer, categories })
}
