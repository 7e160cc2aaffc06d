//! Just enough of Rust's grammar to tell code from comments, strings and tests.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A file with everything blanked that a rule does not apply to; lines keep their numbers.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) code: String,
}

impl Source {
    /// With its tests.
    pub(crate) fn whole(path: &Path) -> Self {
        Self { path: path.to_owned(), code: strip(&std::fs::read_to_string(path).unwrap()) }
    }
}

/// Every Rust file under `folder`, in order; none if it does not exist.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).map_or_else(|_| Vec::new(), |dir| dir.map(|entry| entry.unwrap().path()).collect());
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            if name != "target" && !name.starts_with('.') {
                files.append(&mut self::files(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The sources under `folder` without what is compiled for tests only.
pub(crate) fn sources(folder: &Path) -> Vec<Source> {
    let mut tests = HashSet::new();
    let mut sources = Vec::new();
    for path in files(folder) {
        let (code, modules) = without_tests(&Source::whole(&path).code);
        let stem = path.file_stem().unwrap();
        let is_root = stem == "lib" || stem == "mod";
        let home = if is_root { path.parent().unwrap().to_owned() } else { path.with_extension("") };
        tests.extend(modules.iter().map(|module| home.join(module).with_extension("rs")));
        tests.extend(modules.iter().map(|module| home.join(module).join("mod.rs")));
        sources.push(Source { path, code });
    }
    sources.retain(|source| !tests.contains(&source.path));
    sources
}

/// `text` with comments, strings and characters blanked.
pub(crate) fn strip(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blank = blank_length(rest, code.chars().next_back());
        let (part, tail) = rest.split_at(blank.unwrap_or(first.len_utf8()));
        if blank.is_some() {
            code.extend(part.chars().map(|c| if c == '\n' { c } else { ' ' }));
        } else {
            code.push_str(part);
        }
        rest = tail;
    }
    code
}

/// Bytes to blank if a comment or literal begins here.
fn blank_length(text: &str, before: Option<char>) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(comment_length(text));
    }
    let raw = text.strip_prefix('r').map(|tail| tail.trim_start_matches('#')).filter(|tail| tail.starts_with('"'));
    if let Some(tail) = raw.filter(|_| before.is_none_or(|c| c == 'b' || c == 'c' || !is_name(c))) {
        let end = format!("\"{}", "#".repeat(text.len() - tail.len() - 1));
        let open = text.len() - tail.len() + 1;
        return Some(text[open..].find(&end).map_or(text.len(), |at| open + at + end.len()));
    }
    if text.starts_with('"') {
        return Some(literal_length(text, '"'));
    }
    // Otherwise a lifetime.
    let is_char = text.starts_with("'\\") || text.chars().nth(2) == Some('\'');
    (text.starts_with('\'') && is_char).then(|| literal_length(text, '\''))
}

fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let pair = &text.as_bytes()[at..text.len().min(at + 2)];
        at += if pair == b"/*" || pair == b"*/" { 2 } else { 1 };
        depth += i32::from(pair == b"/*") - i32::from(pair == b"*/");
        if depth == 0 {
            break;
        }
    }
    at
}

fn literal_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// Stripped code without the items that a `cfg` reserves for tests, and the names of the files that such items are.
pub(crate) fn without_tests(code: &str) -> (String, Vec<String>) {
    let (mut kept, mut modules, mut rest) = (String::with_capacity(code.len()), Vec::new(), code);
    while let Some(at) = rest.find("#[cfg(") {
        let (head, tail) = rest.split_at(at);
        let attribute = &tail[..block_length(tail, '[', ']')];
        kept.push_str(head);
        if has_word(attribute, "test") && !attribute.contains("not(test)") {
            let item = &tail[..item_length(tail)];
            modules.extend(
                item.trim_end().strip_suffix(';').and_then(|item| item.rsplit_once("mod ")).map(|(_, name)| name.to_owned()),
            );
            kept.extend(item.chars().filter(|c| *c == '\n'));
            rest = &tail[item.len()..];
        } else {
            kept.push_str(attribute);
            rest = &tail[attribute.len()..];
        }
    }
    kept.push_str(rest);
    (kept, modules)
}

/// Bytes of the item, with its attributes, that begins here.
fn item_length(text: &str) -> usize {
    let mut at = 0;
    while text[at..].trim_start().starts_with("#[") {
        at += text[at..].find('#').unwrap_or(0);
        at += block_length(&text[at..], '[', ']');
    }
    match text[at..].find([';', '{']) {
        Some(end) if text[at + end..].starts_with('{') => at + end + block_length(&text[at + end..], '{', '}'),
        Some(end) => at + end + 1,
        None => text.len(),
    }
}

/// Bytes up to the end of the first block between `open` and `close`.
fn block_length(text: &str, open: char, close: char) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == open) - i32::from(c == close);
        if depth == 0 && c == close {
            return at + close.len_utf8();
        }
    }
    text.len()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// True if `word` occurs in `line`, and not as a part of a longer name.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(is_name) && !line[at + word.len()..].starts_with(is_name))
}

/// True if `word` occurs in `line`, and not at the end of a longer name.
pub(crate) fn has_start(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !word.starts_with(is_name) || !line[..at].ends_with(is_name))
}
