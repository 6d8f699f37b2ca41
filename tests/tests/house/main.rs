//! What must hold of the sources themselves, so that they stay readable.

mod imports;

use std::path::{Path, PathBuf};

/// The folders of our crates, but for the tests.
const CRATES: [&str; 16] = [
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
    "trainer",
    "wit",
];

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
                // What a build leaves is not ours.
                folders.extend((!path.ends_with("target")).then_some(path));
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
        "and say nothing of sampling",
        "which may be ranked and scored and nothing else",
        "refuses a record for what it is",
        "because what it had was not ours",
        "allowed: at most that for a component",
        "What is there but is no text cannot be a flag",
        "What is not worse is left out",
    ];
    let root = root();
    let mut texts: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
        .map(|name| root.join(name))
        .into();
    for folder in CRATES.into_iter().chain(["docs"]) {
        texts.extend(
            ["rs", "md", "toml"]
                .iter()
                .flat_map(|ending| files(&root.join(folder), ending)),
        );
    }
    for path in texts {
        let text = prose(&std::fs::read_to_string(&path).unwrap());
        let found: Vec<&&str> = RIDDLES.iter().filter(|riddle| text.contains(**riddle)).collect();
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}

/// A text in one line, without the marks of comments: a phrase may be wrapped.
fn prose(text: &str) -> String {
    let marks = |word: &&str| !matches!(*word, "//" | "///" | "//!" | "#");
    text.split_whitespace().filter(marks).collect::<Vec<_>>().join(" ")
}

/// Names that a newcomer could not guess, and whose successors are the field's.
#[test]
fn no_old_name_comes_back() {
    const FILES: [&str; 11] = [
        "many", "kept", "books", "gather", "contest", "sites", "observe", "copies", "pace", "threads", "trained",
    ];
    const WORDS: [&str; 6] = ["Stranger", "Heard", "Keeper", "hand_over", "Trouble", "Outage"];
    // This file names them.
    let here = Path::new(file!()).file_name().unwrap();
    let root = root();
    let mut found = Vec::new();
    for path in CRATES
        .into_iter()
        .chain(["tests"])
        .flat_map(|folder| files(&root.join(folder), "rs"))
    {
        let is_this = path.ends_with(Path::new("house").join(here));
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let of_file = FILES.into_iter().filter(|name| *name == stem);
        let of_text = WORDS.into_iter().filter(|word| !is_this && has_word(&text, word));
        found.extend(of_file.chain(of_text).map(|name| format!("{}: {name}", path.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether `text` has `word` as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text.as_bytes()[..at], &text.as_bytes()[at + word.len()..]);
        !is_part(before.last()) && !is_part(after.first())
    })
}

/// A file that does not fit the head is cut in two.
#[test]
fn no_file_of_sources_is_longer_than_it_should_be() {
    const MOST_LINES: usize = 600;
    let root = root();
    let mut long = Vec::new();
    for folder in CRATES.into_iter().chain(["tests"]) {
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
