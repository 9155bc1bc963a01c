//! Circles between the files of a crate: files that use each other, directly or through others.
//!
//! A file uses another if a path in its code, outside of tests, leads to an item of the other. Re-exports are followed to
//! the file that defines the item, so a `mod.rs` that only lists is never part of a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::visit::{self, Visit};
use syn::{Item, UseTree};

/// A module path below the crate's root.
type Module = Vec<String>;

/// What is known of one file.
#[derive(Default)]
struct File {
    path: PathBuf,
    /// Names that it hands on: (name, or `*`; the path that it stands for).
    exports: Vec<(String, Module)>,
    /// Paths in its code, from the crate's root.
    uses: BTreeSet<Module>,
}

/// The circles of the crate whose root file is `root`: each is a list of files, every one of which reaches every other.
///
/// # Errors
/// A file cannot be read or is no Rust.
pub fn circles(root: &Path) -> Result<Vec<Vec<PathBuf>>> {
    let mut files = BTreeMap::new();
    read(root, &[], &mut files)?;
    let edges: BTreeMap<&Module, BTreeSet<&Module>> = files
        .iter()
        .map(|(own, file)| {
            let used =
                file.uses.iter().filter_map(|path| target(path, &files, 0)).filter(|other| *other != own);
            (own, used.collect())
        })
        .collect();
    Ok(components(&edges)
        .into_iter()
        .map(|circle| circle.iter().map(|own| files[*own].path.clone()).collect())
        .collect())
}

/// Reads a module's file and those of the modules that it declares.
fn read(path: &Path, own: &[String], files: &mut BTreeMap<Module, File>) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parsed = syn::parse_file(&text).with_context(|| format!("cannot parse {}", path.display()))?;
    let mut reader = Reader { own, file: File { path: path.to_path_buf(), ..File::default() } };
    let mut children = Vec::new();
    for item in &parsed.items {
        match item {
            Item::Mod(module) if module.content.is_none() && !is_test(&module.attrs) => {
                children.push(module.ident.to_string());
            }
            item => reader.visit_item(item),
        }
    }
    files.insert(own.to_vec(), reader.file);
    let folder = path.parent().unwrap_or(Path::new(""));
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let folder = if own.is_empty() || stem == "mod" { folder.to_path_buf() } else { folder.join(stem) };
    for child in children {
        let candidates = [folder.join(format!("{child}.rs")), folder.join(&child).join("mod.rs")];
        if let Some(path) = candidates.iter().find(|path| path.is_file()) {
            read(path, &[own, &[child]].concat(), files)?;
        }
    }
    Ok(())
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
    })
}

struct Reader<'a> {
    own: &'a [String],
    file: File,
}

impl Reader<'_> {
    /// The path from the crate's root, if it stays in the crate.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([self.own, &path[1..]].concat()),
            "super" if supers <= self.own.len() => {
                Some([&self.own[..self.own.len() - supers], &path[supers..]].concat())
            }
            _ => None,
        }
    }

    fn use_tree(&mut self, tree: &UseTree, prefix: &[String], exported: bool) {
        match tree {
            UseTree::Path(path) => {
                self.use_tree(&path.tree, &[prefix, &[path.ident.to_string()]].concat(), exported);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.use_tree(tree, prefix, exported))
            }
            UseTree::Name(name) => {
                self.used(prefix, name.ident.to_string(), name.ident.to_string(), exported)
            }
            UseTree::Rename(name) => {
                self.used(prefix, name.ident.to_string(), name.rename.to_string(), exported)
            }
            UseTree::Glob(_) => self.used(prefix, "*".into(), "*".into(), exported),
        }
    }

    fn used(&mut self, prefix: &[String], name: String, seen_as: String, exported: bool) {
        let mut path = prefix.to_vec();
        if name != "*" && name != "self" {
            path.push(name);
        }
        // `pub use child::Item` begins with a module of one's own.
        let inside = self.absolute(&path).or_else(|| exported.then(|| [self.own, &path[..]].concat()));
        let Some(path) = inside else { return };
        match exported {
            true => self.file.exports.push((seen_as, path)),
            false => drop(self.file.uses.insert(path)),
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            let exported = !matches!(item.vis, syn::Visibility::Inherited);
            self.use_tree(&item.tree, &[], exported);
        }
    }

    // A macro has the crate's root as its place, whatever file defines it.
    fn visit_macro(&mut self, _: &'ast syn::Macro) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if let Some(path) = self.absolute(&parts).filter(|_| parts.len() > 1) {
            self.file.uses.insert(path);
        }
        visit::visit_path(self, path);
    }
}

/// The file that a path leads to.
fn target<'a>(path: &[String], files: &'a BTreeMap<Module, File>, depth: usize) -> Option<&'a Module> {
    // Names may be handed on in a ring of globs.
    const DEEPEST: usize = 16;
    if depth > DEEPEST {
        return None;
    }
    let (own, file) = (0..=path.len()).rev().find_map(|end| files.get_key_value(&path[..end]))?;
    let Some(name) = path.get(own.len()) else { return Some(own) };
    let rest = &path[own.len() + 1..];
    for (seen_as, stands_for) in &file.exports {
        let full = match seen_as.as_str() {
            "*" => [stands_for, std::slice::from_ref(name), rest].concat(),
            own if own == name => [stands_for, rest].concat(),
            _ => continue,
        };
        let found = target(&full, files, depth + 1);
        // A glob hands on whatever its module defines, which cannot be told here from what it does not.
        if seen_as != "*" && found.is_some() {
            return found;
        }
    }
    Some(own)
}

/// The strongly connected components of more than one node.
fn components<'a>(edges: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> Vec<Vec<&'a Module>> {
    let reach = |from: &'a Module| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            for next in edges.get(at).into_iter().flatten() {
                if seen.insert(*next) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = edges.keys().map(|own| (*own, reach(own))).collect();
    let mut placed = BTreeSet::new();
    let mut found = Vec::new();
    for own in edges.keys() {
        let circle: Vec<&Module> = reached[own]
            .iter()
            .filter(|other| reached.get(**other).is_some_and(|back| back.contains(own)))
            .copied()
            .collect();
        if circle.len() > 1 && placed.insert(circle[0]) {
            found.push(circle);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let name = |path: &PathBuf| path.strip_prefix(folder.path()).expect("below").display().to_string();
        let circles = circles(&folder.path().join("lib.rs")).expect("Rust");
        circles.iter().map(|circle| circle.iter().map(name).collect()).collect()
    }

    #[test]
    fn files_that_use_each_other_through_re_exports_are_a_circle() {
        let lib = ("lib.rs", "mod a; mod b; pub use a::A; pub use b::{B as C};");
        let circle =
            found(&[lib, ("a.rs", "pub struct A(crate::C);"), ("b.rs", "use crate::A; pub struct B(A);")]);
        assert_eq!(circle, [["a.rs", "b.rs"]]);
        let none = found(&[lib, ("a.rs", "pub struct A;"), ("b.rs", "use crate::A; pub struct B(A);")]);
        assert!(none.is_empty(), "{none:?}");
    }

    #[test]
    fn lists_and_tests_make_no_circle() {
        let none = found(&[
            ("lib.rs", "mod a; pub use a::A;"),
            ("a/mod.rs", "mod c; mod d; pub use c::A; pub use d::D;"),
            ("a/c.rs", "use super::D; pub struct A(D); #[cfg(test)] mod tests { use super::super::D; }"),
            ("a/d.rs", "pub struct D; #[cfg(test)] mod tests { use crate::A; }"),
        ]);
        assert!(none.is_empty(), "{none:?}");
        let deep = found(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod c; pub struct M; fn m() { c::f() }\nuse self::c::f;"),
            ("a/c.rs", "pub fn f() { let _ = super::M; }"),
        ]);
        assert_eq!(deep, [["a/mod.rs", "a/c.rs"]]);
    }
}
