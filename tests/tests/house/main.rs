//! What must hold of the sources themselves, so that they stay readable.

mod imports;

use std::path::{Path, PathBuf};

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files below `folder` with this ending, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn no_file_of_these_crates_imports_itself_by_way_of_others() {
    for source in ["host/src", "forest/src"] {
        let circles = imports::circles(&root().join(source));
        assert!(
            circles.is_empty(),
            "{source}: files that import each other:\n{}",
            circles.join("\n")
        );
    }
}
