//! Which files of a crate import which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

use crate::files;

/// A module's path in its crate; empty for the root.
type Module = Vec<String>;

/// The modules of a crate that have a file.
struct Crate {
    /// The file of a module, as it is called below `src`.
    names: BTreeMap<Module, String>,
    parsed: BTreeMap<Module, syn::File>,
    /// What a module shows under another path than its own: module and name, to the path behind it.
    shown: BTreeMap<(Module, String), Vec<String>>,
}

/// The circles of imports between the files of a crate: each as its files, in the order in which they import each other.
pub(crate) fn circles(src: &Path) -> Vec<String> {
    let source = Crate::read(src);
    let imports: BTreeMap<&Module, BTreeSet<Module>> = source
        .parsed
        .iter()
        .map(|(module, file)| (module, source.imports(module, file)))
        .collect();
    let mut circles = BTreeSet::new();
    for module in imports.keys() {
        if let Some(circle) = way(&imports, module) {
            let least = (0..circle.len()).min_by_key(|at| &circle[*at]).unwrap_or(0);
            let names: Vec<&str> = (0..=circle.len())
                .map(|step| source.names[&circle[(least + step) % circle.len()]].as_str())
                .collect();
            circles.insert(names.join(" -> "));
        }
    }
    circles.into_iter().collect()
}

/// The shortest way from a module back to itself.
fn way(imports: &BTreeMap<&Module, BTreeSet<Module>>, from: &Module) -> Option<Vec<Module>> {
    let mut came_from: BTreeMap<Module, Module> = BTreeMap::new();
    let mut next = vec![from.clone()];
    while !next.is_empty() {
        for module in std::mem::take(&mut next) {
            for imported in &imports[&module] {
                if imported == from {
                    let mut circle = vec![module.clone()];
                    while circle[circle.len() - 1] != *from {
                        circle.push(came_from[&circle[circle.len() - 1]].clone());
                    }
                    circle.reverse();
                    return Some(circle);
                }
                if !came_from.contains_key(imported) {
                    came_from.insert(imported.clone(), module.clone());
                    next.push(imported.clone());
                }
            }
        }
    }
    None
}

impl Crate {
    fn read(src: &Path) -> Crate {
        let mut source = Crate {
            names: BTreeMap::new(),
            parsed: BTreeMap::new(),
            shown: BTreeMap::new(),
        };
        for path in files(src, "rs") {
            let below = path.strip_prefix(src).unwrap();
            let module = module(below);
            // Tests may look at everything.
            if below == Path::new("main.rs") || module.last().is_some_and(|name| name == "tests") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            source.names.insert(module.clone(), below.display().to_string());
            source.parsed.insert(module, file);
        }
        for (module, file) in &source.parsed {
            for item in &file.items {
                if let Item::Use(shown) = item
                    && !matches!(shown.vis, Visibility::Inherited)
                {
                    for (path, name) in leaves(&shown.tree) {
                        source.shown.insert((module.clone(), name), path);
                    }
                }
            }
        }
        source
    }

    fn imports(&self, module: &Module, file: &syn::File) -> BTreeSet<Module> {
        let mut paths = Paths::default();
        paths.visit_file(file);
        let found = paths.found.iter().filter_map(|(inside, path)| {
            let within = [module.as_slice(), inside].concat();
            self.file_of(&within, path)
        });
        found.filter(|imported| imported != module).collect()
    }

    /// The module whose file has what `path` names, as `within` names it; `None` for another crate's.
    fn file_of(&self, within: &Module, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let (mut at, mut rest) = match first.as_str() {
            "crate" => (Module::new(), rest),
            "self" => (within.clone(), rest),
            "super" => (within[..within.len().checked_sub(1)?].to_vec(), rest),
            name => {
                let child = [within.as_slice(), &[name.to_owned()]].concat();
                (self.names.contains_key(&child).then_some(child)?, rest)
            }
        };
        while let Some((name, further)) = rest.split_first() {
            if name == "super" {
                at.pop();
            } else {
                let child = [at.as_slice(), std::slice::from_ref(name)].concat();
                if let Some(behind) = self.shown.get(&(at.clone(), name.clone())) {
                    return self.file_of(&at, behind).or(Some(at));
                }
                if !self.names.contains_key(&child) {
                    break;
                }
                at = child;
            }
            rest = further;
        }
        // A module within a file is that file.
        while !self.names.contains_key(&at) {
            at.pop()?;
        }
        Some(at)
    }
}

/// The module that a file below `src` is.
fn module(below: &Path) -> Module {
    let stem: PathBuf = below.with_extension("");
    let mut module: Module = stem.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

/// The paths that a use names, and how it calls what is there.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut trees = vec![(Vec::new(), tree)];
    while let Some((before, tree)) = trees.pop() {
        let with = |name: &syn::Ident| [before.as_slice(), &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => trees.push((with(&path.ident), &path.tree)),
            UseTree::Group(group) => trees.extend(group.items.iter().map(|tree| (before.clone(), tree))),
            UseTree::Name(name) if name.ident == "self" => {
                let called = before.last().cloned().unwrap_or_default();
                found.push((before, called));
            }
            UseTree::Name(name) => found.push((with(&name.ident), name.ident.to_string())),
            UseTree::Rename(renamed) => found.push((with(&renamed.ident), renamed.rename.to_string())),
            UseTree::Glob(_) => found.push((before, "*".to_owned())),
        }
    }
    found
}

/// The paths in a file, but for those of its tests, each with the modules within the file that it is in.
#[derive(Default)]
struct Paths {
    found: Vec<(Module, Vec<String>)>,
    inside: Module,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let inside = &self.inside;
        self.found
            .extend(leaves(&item.tree).into_iter().map(|(path, _)| (inside.clone(), path)));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if matches!(segments[0].as_str(), "crate" | "super" | "self") && segments.len() > 1 {
            self.found.push((self.inside.clone(), segments));
        }
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if module.attrs.iter().any(is_for_tests) {
            return;
        }
        self.inside.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.inside.pop();
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .parse_args::<syn::Path>()
            .is_ok_and(|path| path.is_ident("test"))
}
