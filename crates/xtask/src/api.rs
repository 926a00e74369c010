//! The list of public items, which is committed: a change of what programs depend on is seen in a review.
//!
//! The list has every item, field, variant and method that is declared `pub` in the crates that the facade exports,
//! with its signature as it is written. The lint `unreachable_pub` makes sure that all of them can be reached. It does
//! not have implementations that are derived or that a macro makes, and it does not resolve names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, TraitItem, Type, UseTree, Visibility};

use crate::process::{Result, root};

/// The list, from the root.
const FILE: &str = "docs/public-items.txt";

/// The crates whose items programs name through the facade, and the one that makes reports.
const CRATES: [&str; 5] = ["engine", "model", "field", "resolvent", "report"];

/// Replaces the list.
pub(crate) fn write() -> Result {
    let text =
        "# Every public item of the library, as it is declared. `cargo xtask api` writes this list.\n".to_owned();
    let lines: String = list()?.into_iter().map(|line| line + "\n").collect();
    fs::write(root().join(FILE), text + &lines).map_err(|e| format!("{FILE}: {e}"))?;
    eprintln!("wrote {FILE}");
    Ok(())
}

/// Returns a line for each public item, sorted.
fn list() -> Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    for name in CRATES {
        let mut listing = Listing::default();
        for path in sources(&root().join("crates").join(name).join("src"))? {
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let file = syn::parse_file(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            listing.items(&file.items);
        }
        lines.extend(listing.lines().map(|line| format!("{name}: {line}")));
    }
    Ok(lines)
}

/// Returns the source files below a folder.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Returns the marker of a type to which variants or fields may be added.
fn mark(attributes: &[Attribute]) -> &'static str {
    if attributes.iter().any(|a| a.path().is_ident("non_exhaustive")) { "#[non_exhaustive] " } else { "" }
}

/// Returns tokens as text, with about the spaces of code.
fn shown(tokens: &impl ToTokens) -> String {
    const TIGHT: [(&str, &str); 22] = [
        (" :: ", "::"),
        (":: ", "::"),
        (" < ", "<"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        ("& ", "&"),
        (" ,", ","),
        ("( ", "("),
        (" )", ")"),
        (" (", "("),
        (" :", ":"),
        ("[ ", "["),
        (" ]", "]"),
        (" ;", ";"),
        (",)", ")"),
        ("->", " ->"),
        ("  ->", " ->"),
        ("->(", "-> ("),
        (",(", ", ("),
        (":(", ": ("),
        (">impl", "> impl"),
    ];
    TIGHT.into_iter().fold(tokens.to_token_stream().to_string(), |text, (from, to)| text.replace(from, to))
}

/// The public items of a crate.
#[derive(Default)]
struct Listing {
    own: Vec<String>,
    /// Names of public types.
    types: BTreeSet<String>,
    /// Implementations of traits, with the name of the type.
    traits: Vec<(String, String)>,
}

impl Listing {
    /// Returns all lines. Implementations for types that are not public are left out.
    fn lines(&self) -> impl Iterator<Item = String> {
        let traits = self.traits.iter().filter(|(of, _)| self.types.contains(of)).map(|(_, line)| line.clone());
        self.own.iter().cloned().chain(traits)
    }

    fn items(&mut self, all: &[Item]) {
        for item in all {
            match item {
                Item::Fn(f) if is_public(&f.vis) => self.own.push(shown(&f.sig)),
                Item::Const(c) if is_public(&c.vis) => self.own.push(format!("const {}: {}", c.ident, shown(&c.ty))),
                Item::Static(s) if is_public(&s.vis) => self.own.push(format!("static {}: {}", s.ident, shown(&s.ty))),
                Item::Type(t) if is_public(&t.vis) => {
                    self.own.push(format!("type {}{} = {}", t.ident, shown(&t.generics), shown(&t.ty)));
                }
                Item::Use(u) if is_public(&u.vis) => self.used("", &u.tree),
                Item::Mod(m) if is_public(&m.vis) => {
                    self.own.push(format!("mod {}", m.ident));
                    let inner = m.content.as_ref().map_or(&[][..], |(_, inner)| inner);
                    self.items(inner);
                }
                Item::Struct(s) if is_public(&s.vis) => {
                    self.types.insert(s.ident.to_string());
                    self.own.push(format!("{}struct {}{}", mark(&s.attrs), s.ident, shown(&s.generics)));
                    self.own.extend(fields(&s.ident.to_string(), &s.fields, true));
                }
                Item::Enum(e) if is_public(&e.vis) => {
                    self.types.insert(e.ident.to_string());
                    self.own.push(format!("{}enum {}{}", mark(&e.attrs), e.ident, shown(&e.generics)));
                    for variant in &e.variants {
                        let path = format!("{}::{}", e.ident, variant.ident);
                        self.own.extend(fields(&path, &variant.fields, false));
                        self.own.push(path);
                    }
                }
                Item::Trait(t) if is_public(&t.vis) => {
                    self.types.insert(t.ident.to_string());
                    self.own.push(format!("trait {}{}", t.ident, shown(&t.generics)));
                    for item in &t.items {
                        if let TraitItem::Fn(f) = item {
                            let kind = if f.default.is_some() { "provided" } else { "required" };
                            self.own.push(format!("{}: {kind} {}", t.ident, shown(&f.sig)));
                        }
                    }
                }
                Item::Impl(block) => self.implemented(block),
                _ => {}
            }
        }
    }

    fn implemented(&mut self, block: &ItemImpl) {
        let Type::Path(path) = &*block.self_ty else { return };
        let of = shown(path);
        if let Some((_, of_trait, _)) = &block.trait_ {
            let last = path.path.segments.last().map(|segment| segment.ident.to_string());
            self.traits.push((last.unwrap_or_default(), format!("impl {} for {of}", shown(of_trait))));
            return;
        }
        for item in &block.items {
            match item {
                ImplItem::Fn(f) if is_public(&f.vis) => self.own.push(format!("{of}: {}", shown(&f.sig))),
                ImplItem::Const(c) if is_public(&c.vis) => {
                    self.own.push(format!("{of}: const {}: {}", c.ident, shown(&c.ty)));
                }
                _ => {}
            }
        }
    }

    /// Adds a line for each name that a `pub use` exports.
    fn used(&mut self, before: &str, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.used(&format!("{before}{}::", path.ident), &path.tree),
            UseTree::Name(name) => self.own.push(format!("use {before}{}", name.ident)),
            UseTree::Rename(name) => self.own.push(format!("use {before}{} as {}", name.ident, name.rename)),
            UseTree::Glob(_) => self.own.push(format!("use {before}*")),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.used(before, tree)),
        }
    }
}

/// Returns a line for each field; of a struct only for those that are public.
fn fields(path: &str, fields: &Fields, needs_pub: bool) -> Vec<String> {
    let all = fields.iter().enumerate().filter(|(_, field)| !needs_pub || is_public(&field.vis));
    let name = |i: usize, field: &syn::Field| field.ident.as_ref().map_or_else(|| i.to_string(), ToString::to_string);
    all.map(|(i, field)| format!("{path}.{}: {}", name(i, field), shown(&field.ty))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<String> {
        let mut listing = Listing::default();
        listing.items(&syn::parse_file(text).expect("is Rust").items);
        listing.lines().collect()
    }

    #[test]
    fn public_items_are_listed_and_others_are_not() {
        let text = "
            pub use a::{B, c as d};
            pub fn f(x: &[f32], (a, b): (usize, u64)) -> Result<Vec<f32>> { todo() }
            fn g() {}
            #[non_exhaustive] pub struct S { pub x: Option<u32>, y: u32 }
            pub enum E { A(u32), B }
            pub(crate) struct Own;
            impl S { pub fn m(&mut self, each: &mut dyn FnMut(u64, u64)) {} fn n() {} }
            impl Clone for S {}
            impl Clone for Own {}
        ";
        let expected = [
            "use a::B",
            "use a::c as d",
            "fn f(x: &[f32], (a, b): (usize, u64)) -> Result<Vec<f32>>",
            "#[non_exhaustive] struct S",
            "S.x: Option<u32>",
            "enum E",
            "E::A.0: u32",
            "E::A",
            "E::B",
            "S: fn m(&mut self, each: &mut dyn FnMut(u64, u64))",
            "impl Clone for S",
        ];
        assert_eq!(listed(text), expected);
    }

    #[test]
    fn the_list_is_that_of_the_sources() {
        let committed = fs::read_to_string(root().join(FILE)).expect("the list can be read");
        let committed: BTreeSet<String> = committed.lines().skip(1).map(str::to_owned).collect();
        let found = list().expect("the sources can be parsed");
        let line = |sign: &'static str| move |line: &String| format!("\n{sign} {line}");
        let changes: String = committed.difference(&found).map(line("-")).collect();
        let changes = changes + &found.difference(&committed).map(line("+")).collect::<String>();
        let fix = "is the change in order (CONTRIBUTING.md, Versions)? then run `cargo xtask api`";
        assert!(changes.is_empty(), "{FILE} differs; {fix}:{changes}");
        assert!(found.len() > 500, "the list itself has {} lines", found.len());
    }
}
