//! Reads the imports of a crate: which file takes an item of which other file.
//!
//! A path counts in every position: in a `use`, in code, as `crate::`, `super::`, `self::` or by the name of a child
//! module. It is followed through re-exports to the file that defines the item. Code under `#[cfg(test)]` does not
//! count, and `mod child;` alone is no import.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

type ModulePath = Vec<String>;

#[derive(Default)]
struct File {
    path: PathBuf,
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    /// Names that a `use` brings in, with the path behind each.
    aliases: BTreeMap<String, Vec<String>>,
    /// Paths of `use …::*`.
    globs: Vec<Vec<String>>,
    paths: BTreeSet<Vec<String>>,
    inline_depth: usize,
}

pub(crate) struct Crate(BTreeMap<ModulePath, File>);

pub(crate) type Import = (PathBuf, PathBuf, String);

impl Crate {
    /// Reads `lib.rs` in this folder and every module that it declares.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut open = vec![(Vec::new(), folder.join("lib.rs"))];
        while let Some((module, path)) = open.pop() {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut file = File::default();
            file.visit_file(&syn::parse_file(&text).unwrap());
            for child in &file.children {
                let child_folder = folder.join(module.join("/")).join(child);
                let found = [
                    child_folder.with_extension("rs"),
                    child_folder.join("mod.rs"),
                ]
                .into_iter()
                .find(|path| path.exists())
                .unwrap_or_else(|| panic!("{}: no file for `mod {child}`", path.display()));
                open.push(([&module[..], std::slice::from_ref(child)].concat(), found));
            }
            file.path = path;
            files.insert(module, file);
        }
        Self(files)
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.values().map(|file| file.path.as_path())
    }

    pub(crate) fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for (module, file) in &self.0 {
            let globs = file.globs.iter().cloned().map(|glob| (glob, true));
            let paths = file.paths.iter().cloned().map(|path| (path, false));
            for (path, is_glob) in globs.chain(paths) {
                let Some(target) = self.resolve(module, &path, 0) else {
                    continue;
                };
                // A path that ends at a module names nothing in it, unless it takes everything.
                if target.names_item || is_glob {
                    let other = &self.0[&target.module].path;
                    if *other != file.path {
                        imports.insert((file.path.clone(), other.clone(), path.join("::")));
                    }
                }
            }
        }
        imports
    }

    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<Target> {
        if depth > 16 {
            return None;
        }
        let mut module = from.to_vec();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                module.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while let Some(("super", after)) = rest.split_first().map(|(f, a)| (f.as_str(), a))
                {
                    module.pop()?;
                    rest = after;
                }
            }
            first => {
                let file = &self.0[&module];
                let known = file.children.contains(first) || file.aliases.contains_key(first);
                if !known {
                    return None;
                }
            }
        }
        while let Some((name, after)) = rest.split_first() {
            let file = self.0.get(&module)?;
            if file.children.contains(name) {
                module.push(name.clone());
            } else if file.items.contains(name) {
                return Some(Target {
                    module,
                    names_item: true,
                });
            } else if let Some(behind) = file.aliases.get(name) {
                let path = [behind, after].concat();
                return (path != rest).then(|| self.resolve(&module, &path, depth + 1))?;
            } else {
                let glob =
                    |glob: &Vec<String>| self.resolve(&module, &[glob, rest].concat(), depth + 1);
                return file.globs.iter().find_map(glob);
            }
            rest = after;
        }
        Some(Target {
            module,
            names_item: false,
        })
    }
}

struct Target {
    module: ModulePath,
    names_item: bool,
}

/// Whether the item is compiled for tests only.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    fn needs_test(condition: &syn::Meta) -> bool {
        type Conditions = syn::punctuated::Punctuated<syn::Meta, syn::Token![,]>;
        match condition {
            syn::Meta::List(all) if all.path.is_ident("all") => all
                .parse_args_with(Conditions::parse_terminated)
                .is_ok_and(|all| all.iter().any(needs_test)),
            other => other.path().is_ident("test"),
        }
    }
    attributes.iter().any(|attribute| {
        let condition = attribute.parse_args::<syn::Meta>();
        attribute.path().is_ident("cfg") && condition.is_ok_and(|condition| needs_test(&condition))
    })
}

impl File {
    fn add_use(&mut self, tree: &syn::UseTree, before: &[String]) {
        match tree {
            syn::UseTree::Path(path) => {
                self.add_use(&path.tree, &[before, &[path.ident.to_string()]].concat());
            }
            syn::UseTree::Group(group) => {
                group
                    .items
                    .iter()
                    .for_each(|item| self.add_use(item, before));
            }
            syn::UseTree::Glob(_) => self.globs.push(before.to_vec()),
            syn::UseTree::Name(name) => self.add_alias(&name.ident, &name.ident, before),
            syn::UseTree::Rename(rename) => self.add_alias(&rename.ident, &rename.rename, before),
        }
    }

    fn add_alias(&mut self, name: &syn::Ident, alias: &syn::Ident, before: &[String]) {
        let path = if name == "self" {
            before.to_vec()
        } else {
            [before, &[name.to_string()]].concat()
        };
        let alias = if alias == "self" {
            path.last().cloned().unwrap_or_default()
        } else {
            alias.to_string()
        };
        // `use child;` in the file that declares it names itself.
        if path != [alias.clone()] {
            self.aliases.insert(alias, path.clone());
        }
        self.paths.insert(path);
    }
}

impl<'a> Visit<'a> for File {
    fn visit_item(&mut self, item: &'a syn::Item) {
        use syn::Item;
        let (attributes, name) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            Item::Impl(item) => (&item.attrs, None),
            Item::Mod(item) => {
                match &item.content {
                    _ if is_test(&item.attrs) => {}
                    None => {
                        self.children.insert(item.ident.to_string());
                    }
                    // An inline module is part of its file.
                    Some((_, items)) => {
                        self.inline_depth += 1;
                        items.iter().for_each(|item| self.visit_item(item));
                        self.inline_depth -= 1;
                    }
                }
                return;
            }
            Item::Use(item) => {
                if !is_test(&item.attrs) {
                    self.add_use(&item.tree, &[]);
                }
                return;
            }
            _ => return,
        };
        if is_test(attributes) {
            return;
        }
        self.items.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let mut names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        let supers = names.iter().take_while(|name| *name == "super").count();
        names.drain(..supers.min(self.inline_depth));
        self.paths.insert(names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, tokens: &'a syn::Macro) {
        // Arguments of `format!` and the like are expressions.
        type Arguments = syn::punctuated::Punctuated<syn::Expr, syn::Token![,]>;
        if let Ok(arguments) = tokens.parse_body_with(Arguments::parse_terminated) {
            arguments
                .iter()
                .for_each(|expression| self.visit_expr(expression));
        }
        visit::visit_macro(self, tokens);
    }
}
