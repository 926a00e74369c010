//! Reads one source file: its modules, the names that they define and import, and the paths in their code.

use std::collections::BTreeSet;

/// Splits a source into words, string literals, `::` and single signs. Comments, characters and lifetimes are left out.
pub(super) fn tokens(source: &str) -> Vec<String> {
    let (all, mut at, mut found) = (source.as_bytes(), 0, Vec::new());
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || !b.is_ascii();
    while at < all.len() {
        let rest = &all[at..];
        let word = rest.iter().take_while(|b| is_word(**b)).count();
        at += if rest[0].is_ascii_whitespace() {
            1
        } else if rest.starts_with(b"//") {
            rest.iter().take_while(|b| **b != b'\n').count()
        } else if rest.starts_with(b"/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest) {
            found.push(String::from("\"raw\""));
            length
        } else if rest[0] == b'"' || rest.starts_with(b"b\"") || rest.starts_with(b"c\"") {
            let start = usize::from(rest[0] != b'"');
            let length = start + string(&rest[start..]);
            found.push(source[at + start..at + length].to_owned());
            length
        } else if rest[0] == b'\'' || rest.starts_with(b"b'") {
            let start = usize::from(rest[0] == b'b');
            start + character_or_lifetime(&rest[start..])
        } else if word > 0 {
            found.push(source[at..at + word].to_owned());
            word
        } else if rest.starts_with(b"::") {
            found.push("::".to_owned());
            2
        } else {
            found.push(char::from(rest[0]).to_string());
            1
        };
    }
    found
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Returns the length of a raw string at the start of `rest`, if there is one.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"r"[..], b"br", b"cr"].into_iter().find(|prefix| {
        let after = rest.strip_prefix(*prefix).unwrap_or_default();
        after.iter().find(|b| **b != b'#') == Some(&b'"')
    })?;
    let hashes = rest[prefix.len()..].iter().take_while(|b| **b == b'#').count();
    let end = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let start = prefix.len() + hashes + 1;
    let length = rest[start..].windows(end.len()).position(|window| window == end)?;
    Some(start + length + end.len())
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn character_or_lifetime(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return 3 + rest[3..].iter().take_while(|b| **b != b'\'').count() + 1;
    }
    // The character itself may have several bytes.
    let close = rest.iter().skip(2).take(4).position(|b| *b == b'\'').map(|at| at + 2);
    match close {
        Some(close) if close == 2 || !rest[1].is_ascii() => close + 1,
        _ => 1 + rest[1..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count(),
    }
}

/// A name that a module imports.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// The name in this module; `*` for all names.
    pub(super) name: String,
    /// Whether other modules may import it from here.
    pub(super) is_public: bool,
}

/// One module of a file: the file's own, or an inline one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Module {
    /// Names from the file's own module inwards.
    pub(super) inline: Vec<String>,
    /// Modules that are declared and lie in files of their own, with the value of their `path` attribute.
    pub(super) files: Vec<(String, Option<String>)>,
    pub(super) imports: Vec<Import>,
    /// Names of the items that are defined here.
    pub(super) items: BTreeSet<String>,
    /// Paths of two names or more in the code.
    pub(super) paths: Vec<Vec<String>>,
    /// Words of the code outside of imports and declarations of modules.
    pub(super) words: BTreeSet<String>,
}

/// Returns the modules of a file, its own first. Items under `#[cfg(test)]` are left out.
pub(super) fn modules(source: &str) -> Vec<Module> {
    let tokens = tokens(source);
    let mut found = vec![Module::default()];
    module(&tokens, 0, &mut found);
    found
}

/// Reads `tokens`, the inside of the module `found[of]`.
fn module(tokens: &[String], of: usize, found: &mut Vec<Module>) {
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let (mut at, mut path_attribute) = (0, None);
    while at < tokens.len() {
        match token(at) {
            "#" => {
                let open = if token(at + 1) == "!" { at + 2 } else { at + 1 };
                let end = if token(open) == "[" { close(tokens, open) } else { at };
                let inside = &tokens[(open + 1).min(end)..end];
                at = end + 1;
                if is_test(inside) && open + 1 < end && token(open - 1) != "!" {
                    at = item_end(tokens, at);
                } else if let [path, _, value] = inside
                    && path == "path"
                {
                    path_attribute = Some(value.trim_matches('"').to_owned());
                }
            }
            "mod" if token(at + 2) == ";" => {
                found[of].files.push((token(at + 1).to_owned(), path_attribute.take()));
                at += 3;
            }
            "mod" if token(at + 2) == "{" => {
                let (name, end) = (token(at + 1).to_owned(), close(tokens, at + 2));
                let inline = [&found[of].inline[..], &[name]].concat();
                found.push(Module { inline, ..Module::default() });
                let inner = found.len() - 1;
                module(&tokens[at + 3..end], inner, found);
                at = end + 1;
            }
            "use" => {
                let end = (at..tokens.len()).find(|&i| token(i) == ";").unwrap_or(tokens.len());
                let is_public = at > 0 && (token(at - 1) == "pub" || is_after_restricted_pub(tokens, at));
                tree(&tokens[at + 1..end], &[], is_public, &mut found[of].imports);
                at = end + 1;
            }
            "macro_rules" => {
                found[of].items.insert(token(at + 2).to_owned());
                at += 3;
            }
            "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union" if is_name(token(at + 1)) => {
                found[of].items.insert(token(at + 1).to_owned());
                at += 1;
            }
            word if is_name(word) => {
                let mut path = vec![word.to_owned()];
                let mut next = at + 1;
                while token(next) == "::" && is_name(token(next + 1)) {
                    path.push(token(next + 1).to_owned());
                    next += 2;
                }
                let module = &mut found[of];
                module.words.extend(path.iter().cloned());
                // After `::` it is the rest of another path, such as that of an external crate.
                if path.len() > 1 && (at == 0 || token(at - 1) != "::") {
                    module.paths.push(path);
                }
                at = next;
            }
            _ => at += 1,
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Returns whether an attribute removes its item from every build but that of tests.
fn is_test(attribute: &[String]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token == word);
    attribute.first().is_some_and(|first| first == "cfg") && has("test") && !has("not") && !has("any")
}

fn is_after_restricted_pub(tokens: &[String], at: usize) -> bool {
    let open = tokens[..at].iter().rposition(|token| token == "(");
    tokens[at - 1] == ")" && open.is_some_and(|open| open > 0 && tokens[open - 1] == "pub")
}

/// Returns the place of the sign that closes the one at `open`.
fn close(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// Returns the first place after the item that begins at `at`.
fn item_end(tokens: &[String], at: usize) -> usize {
    let mut at = at;
    let mut needs_semicolon = false;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "use" | "static" => needs_semicolon = true,
            "const" => needs_semicolon = tokens.get(at + 1).is_some_and(|next| next != "fn" && next != "unsafe"),
            ";" => return at + 1,
            "}" => return at,
            "{" if !needs_semicolon => return close(tokens, at) + 1,
            "{" | "(" | "[" => at = close(tokens, at),
            _ => {}
        }
        at += 1;
    }
    at
}

/// Adds the imports of a use tree below `prefix`.
fn tree(tokens: &[String], prefix: &[String], is_public: bool, imports: &mut Vec<Import>) {
    let (mut path, mut at) = (prefix.to_vec(), 0);
    let mut renamed = None;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => {
                let inside = &tokens[at + 1..close(tokens, at)];
                let (mut start, mut depth) = (0, 0);
                for (i, token) in inside.iter().enumerate() {
                    match token.as_str() {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        "," if depth == 0 => {
                            tree(&inside[start..i], &path, is_public, imports);
                            start = i + 1;
                        }
                        _ => {}
                    }
                }
                return tree(&inside[start..], &path, is_public, imports);
            }
            "as" => {
                renamed = tokens.get(at + 1).cloned();
                at += 1;
            }
            "*" => renamed = Some("*".to_owned()),
            // `a::{self}` imports `a`.
            "self" if !path.is_empty() => {}
            word if is_name(word) => path.push(word.to_owned()),
            _ => {}
        }
        at += 1;
    }
    if let Some(name) = renamed.or_else(|| path.last().cloned()).filter(|_| path.len() > prefix.len() || at > 0) {
        imports.push(Import { path, name, is_public });
    }
}

#[test]
fn tokens_leave_out_comments_and_literals() {
    let source = r##"// use a;
        /* b /* c */ d */ let x: &'static str = 'y' + '\n' + "e \" f" + r#"g " h"# + b'"' + 'é'; i::j"##;
    let want = "let x : & str = + + \"e \\\" f\" + \"raw\" + + ; i :: j";
    assert_eq!(tokens(source).join(" "), want);
}

#[test]
fn use_trees_are_expanded() {
    let all = modules("pub(crate) use a::{b, c::{self, d as e}, f::*};\nuse g as _;");
    let found: Vec<(String, &str, bool)> =
        all[0].imports.iter().map(|i| (i.path.join("::"), i.name.as_str(), i.is_public)).collect();
    let text = |path: &str| path.to_owned();
    let want = [
        (text("a::b"), "b", true),
        (text("a::c"), "c", true),
        (text("a::c::d"), "e", true),
        (text("a::f"), "*", true),
        (text("g"), "_", false),
    ];
    assert_eq!(found, want);
}

#[test]
fn tests_are_left_out() {
    let source = "#[cfg(test)]\nmod tests { use super::x; }\n#[cfg(test)]\n#[path = \"t.rs\"]\nmod t;\n\
                  #[cfg(test)]\nuse a::{b};\n#[cfg(test)]\nfn f(x: [u8; 3]) { c::d(); }\n\
                  #[cfg(any(test, feature = \"e\"))]\nmod e;\nmod g { fn h() { i::j::<k::l>() } }";
    let all = modules(source);
    assert_eq!(all[0].files, [("e".to_owned(), None)]);
    assert!(all[0].imports.is_empty() && all[0].paths.is_empty(), "{:?}", all[0]);
    assert_eq!((all.len(), all[1].inline.join("::").as_str()), (2, "g"));
    assert_eq!(all[1].paths, [["i", "j"], ["k", "l"]]);
}
