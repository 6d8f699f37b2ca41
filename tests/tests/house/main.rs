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

/// Each of these had to be read twice.
#[test]
fn no_riddle_comes_back() {
    const RIDDLES: [&str; 13] = [
        "about which it would do nothing",
        "nobody asks whose server it is",
        "of anybody else such headers",
        "the rank in its third group",
        "that are over it finds out",
        "says to the outside what happens inside",
        "by a share up to `sampling.marked_below` and say nothing",
        "which may be ranked and scored and nothing else",
        "refuses a record for what it is",
        "because what it had was not ours",
        "allowed: at most that for a component",
        "What is there but is no text cannot be a flag",
        "What is not worse is left out",
    ];
    let root = root();
    for folder in [
        "api",
        "client",
        "docs",
        "forest",
        "grammar",
        "host",
        "proxy-filter",
        "ranking",
        "rows",
        "runtime",
        "settings",
        "store",
        "trainer",
    ] {
        for ending in ["rs", "md", "toml", "yaml"] {
            for path in files(&root.join(folder), ending) {
                let text = std::fs::read_to_string(&path).unwrap();
                let found: Vec<&&str> = RIDDLES.iter().filter(|riddle| text.contains(**riddle)).collect();
                assert!(found.is_empty(), "{}: {found:?}", path.display());
            }
        }
    }
}

/// A file that does not fit the head is cut in two.
#[test]
fn no_file_of_sources_is_longer_than_it_should_be() {
    const MOST_LINES: usize = 600;
    let root = root();
    let mut long = Vec::new();
    for folder in [
        "api",
        "bench",
        "client",
        "forest",
        "grammar",
        "host",
        "plugin-scorer",
        "proxy-filter",
        "ranking",
        "regular-file",
        "rows",
        "runtime",
        "settings",
        "store",
        "tests",
        "trainer",
    ] {
        for path in files(&root.join(folder), "rs") {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            if lines > MOST_LINES {
                long.push(format!(
                    "{}: {lines} lines",
                    path.strip_prefix(&root).unwrap().display()
                ));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}
