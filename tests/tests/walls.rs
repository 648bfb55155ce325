//! The walls of the workspace: which file names which, read from `use` lines and paths, and how long files and
//! functions are. Code that is there for tests only is not looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};
use syn::{
    Attribute, ImplItemFn, ItemFn, ItemImpl, ItemMod, ItemUse, UseTree, Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};
use walkdir::WalkDir;

/// The rooms of kv, and which others each may name.
const ROOMS: [(&str, &[&str]); 8] = [
    ("core", &[]),
    ("journal", &["core"]),
    ("node", &["core", "journal"]),
    ("wire", &["core"]),
    ("resp", &["core"]),
    ("log", &[]),
    ("server", &["core", "journal", "node", "wire", "resp", "log"]),
    ("cli", &["core", "journal", "node", "resp", "log", "server"]),
];
/// The packages of the workspace.
const PACKAGES: [&str; 6] =
    ["kv/src", "sim/src", "sim/harness/src", "sim/planted/src", "model/src", "tests/src"];
/// What the harness and the planted bugs' runner must not name: any of ours that they could test, and madsim.
const STRANGERS: [&str; 4] = ["kv", "sim", "model", "madsim"];
/// The most lines of a file before its tests, and of a function.
const MOST_LINES: usize = 500;
const MOST_FUNCTION_LINES: usize = 60;
/// Functions that are longer: lists of cases, which are read better in one piece.
const MOST_LONG_FUNCTIONS: usize = 5;

/// A module: `crate::a::b` is `["a", "b"]`.
type Module = Vec<String>;

/// What is looked at in a file.
#[derive(Default)]
struct Found {
    module: Module,
    /// What it names of its own package, as paths from the root.
    named: BTreeSet<Module>,
    /// What else its paths begin with: packages, mostly.
    others: BTreeSet<String>,
    /// Modules that are there for tests only.
    for_tests: Vec<Module>,
    /// Where its tests begin.
    tests_at: Option<usize>,
    functions: Vec<(String, usize)>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_path_buf()
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| {
                    let tokens = list.tokens.to_string();
                    tokens
                        .split(|letter: char| !letter.is_alphanumeric())
                        .any(|word| word == "test")
                })
    })
}

impl Found {
    /// A path that begins with `crate`, `self` or `super`, from the root.
    fn name(&mut self, path: &[String]) {
        let mut from = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            Some(other) => {
                // A name alone may be a variable's.
                if path.len() > 1 {
                    self.others.insert(other.to_string());
                }
                return;
            }
            None => return,
        };
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => drop(from.pop()),
                _ => from.push(part.clone()),
            }
        }
        self.named.insert(from);
    }

    fn name_all(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.name_all(&path.tree, &with(path.ident.to_string())),
            UseTree::Name(name) => self.name(&with(name.ident.to_string())),
            UseTree::Rename(rename) => self.name(&with(rename.ident.to_string())),
            UseTree::Glob(_) => self.name(before),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.name_all(tree, before))
            }
        }
    }

    fn measure(&mut self, name: String, whole: impl Spanned) {
        let span = whole.span();
        self.functions.push((name, span.end().line - span.start().line + 1));
    }
}

impl Visit<'_> for Found {
    fn visit_item_mod(&mut self, module: &ItemMod) {
        if is_for_tests(&module.attrs) {
            self.tests_at.get_or_insert(module.span().start().line);
            self.for_tests.push([self.module.clone(), vec![module.ident.to_string()]].concat());
        } else {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.name_all(&item.tree, &[]);
        }
    }

    /// `pub(super)` names nothing.
    fn visit_visibility(&mut self, _: &Visibility) {}

    fn visit_path(&mut self, path: &syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.name(&parts);
        visit::visit_path(self, path);
    }

    fn visit_item_impl(&mut self, item: &ItemImpl) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &ItemFn) {
        if !is_for_tests(&item.attrs) {
            self.measure(item.sig.ident.to_string(), &item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            self.measure(item.sig.ident.to_string(), &item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }
}

/// The files of a package, by their modules, without those that are there for tests only.
fn package(folder: &str) -> BTreeMap<Module, (PathBuf, Found)> {
    let folder = root().join(folder);
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(&folder).sort_by_file_name() {
        let path = entry.expect("a folder that can be read").into_path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let relative = path.strip_prefix(&folder).expect("it is below").with_extension("");
        let mut module: Module =
            relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        module.pop_if(|last| ["mod", "lib"].contains(&last.as_str()));
        let text = fs::read_to_string(&path).expect("a file that can be read");
        let parsed = syn::parse_file(&text).unwrap_or_else(|why| panic!("{path:?}: {why}"));
        let mut found = Found { module: module.clone(), ..Found::default() };
        found.visit_file(&parsed);
        found.tests_at.get_or_insert(text.lines().count());
        files.insert(module, (path, found));
    }
    assert!(files.len() > 2, "{folder:?} has few files");
    let for_tests: Vec<Module> = files.values().flat_map(|(_, f)| f.for_tests.clone()).collect();
    files.retain(|module, _| !for_tests.iter().any(|tests| module.starts_with(tests)));
    files
}

/// The file that a path is in: the longest beginning of it that is a module.
fn file_of(files: &BTreeMap<Module, (PathBuf, Found)>, mut path: Module) -> Option<&Module> {
    loop {
        if let Some((module, _)) = files.get_key_value(&path) {
            return Some(module).filter(|module| !module.is_empty());
        }
        path.pop()?;
    }
}

/// Which file names which.
fn arrows(files: &BTreeMap<Module, (PathBuf, Found)>) -> Vec<(&Module, &Module)> {
    let of = |(module, (_, found)): (_, &'_ (PathBuf, Found))| {
        let module: &Module = module;
        let named = found.named.clone().into_iter().filter_map(|path| file_of(files, path));
        named.filter(move |other| *other != module).map(move |other| (module, other)).collect()
    };
    files.iter().flat_map(|file| -> Vec<(&Module, &Module)> { of(file) }).collect()
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    for folder in PACKAGES {
        let files = package(folder);
        let arrows: DiGraphMap<&Module, ()> = arrows(&files).into_iter().collect();
        let circles: Vec<Vec<String>> = tarjan_scc(&arrows)
            .into_iter()
            .filter(|circle| circle.len() > 1)
            .map(|circle| circle.into_iter().map(|module| module.join("/")).collect())
            .collect();
        assert!(circles.is_empty(), "{folder}: {circles:?}");
    }
}

#[test]
fn each_room_of_kv_names_only_those_below_it() {
    let files = package("kv/src");
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    // The root of the package, and its program, may name any.
    let is_in_a_room = |from: &Module| !from.is_empty() && from[0] != "bin";
    for (from, to) in arrows(&files).into_iter().filter(|(from, _)| is_in_a_room(from)) {
        let may = rooms.get(from[0].as_str());
        let may = may.unwrap_or_else(|| panic!("{} is in no room", from.join("/")));
        let is_below = from[0] == to[0] || may.contains(&to[0].as_str());
        assert!(is_below, "{} names {}", from.join("/"), to.join("/"));
    }
}

#[test]
fn the_harness_and_the_runner_of_planted_bugs_know_nothing_of_what_they_test() {
    for folder in ["sim/harness", "sim/planted"] {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let depends =
            |name: &&str| manifest.lines().any(|line| line.starts_with(&format!("{name}.")));
        let known: Vec<&str> = STRANGERS.into_iter().filter(|name| depends(name)).collect();
        assert!(known.is_empty(), "{folder} depends on {known:?}");
        for (path, found) in package(&format!("{folder}/src")).into_values() {
            let named: Vec<&str> =
                STRANGERS.into_iter().filter(|name| found.others.contains(*name)).collect();
            assert!(named.is_empty(), "{path:?} names {named:?}");
        }
    }
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let (mut files, mut functions) = (Vec::new(), Vec::new());
    for folder in PACKAGES {
        for (path, found) in package(folder).into_values() {
            let name = path.strip_prefix(root()).expect("it is below").display().to_string();
            let lines = found.tests_at.unwrap_or_default();
            if lines > MOST_LINES {
                files.push(format!("{name} ({lines})"));
            }
            let long =
                found.functions.into_iter().filter(|(_, lines)| *lines > MOST_FUNCTION_LINES);
            functions.extend(long.map(|(function, lines)| format!("{name} {function} ({lines})")));
        }
    }
    assert!(files.is_empty(), "more than {MOST_LINES} lines before their tests: {files:?}");
    assert!(
        functions.len() <= MOST_LONG_FUNCTIONS,
        "more than {MOST_FUNCTION_LINES} lines: {functions:#?}"
    );
}
