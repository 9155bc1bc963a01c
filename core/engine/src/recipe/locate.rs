//! Finds values in the text of a recipe by their dotted path, so that messages have lines and `--set` can edit.

use std::ops::Range;

/// The value at `path` (`optimizer.lr`, `mixers.amix.alpha`), if the text sets it.
pub fn find(text: &str, path: &str) -> Option<Range<usize>> {
    let mut scope = body(text, 0)?;
    let mut found = None;
    for name in path.split('.') {
        let value = fields(text, scope.clone()).into_iter().find(|(key, _)| key == name)?.1;
        scope = body(text, value.start).filter(|b| b.end <= value.end).unwrap_or(value.end..value.end);
        found = Some(value);
    }
    found
}

/// The text with the value at `path` replaced, or added to the innermost struct that is there.
pub fn set(text: &str, path: &str, value: &str) -> Result<String, String> {
    if let Some(span) = find(text, path) {
        return Ok(format!("{}{value}{}", &text[..span.start], &text[span.end..]));
    }
    let parts: Vec<&str> = path.split('.').collect();
    // The deepest struct on the way that the recipe already has.
    for depth in (0..parts.len()).rev() {
        let scope = if depth == 0 {
            body(text, 0)
        } else {
            find(text, &parts[..depth].join(".")).and_then(|span| body(text, span.start).filter(|b| b.end <= span.end))
        };
        let Some(scope) = scope else { continue };
        let is_map = text[..scope.start].ends_with('{');
        let mut inserted = value.to_string();
        for name in parts[depth + 1..].iter().rev() {
            inserted = format!("({name}: {inserted})");
        }
        let key = if is_map { format!("\"{}\"", parts[depth]) } else { parts[depth].to_string() };
        return Ok(format!("{}{key}: {inserted}, {}", &text[..scope.start], &text[scope.start..]));
    }
    Err("the recipe has no body `( ... )` to set a value in".into())
}

/// Line and column, from 1.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    (line, column)
}

/// The inside of the first `( ... )` or `{ ... }` that follows, behind an optional name.
fn body(text: &str, from: usize) -> Option<Range<usize>> {
    let mut at = skip_space(text, from);
    // Extensions, `#![enable(...)]`, come first in a recipe.
    while text[at..].starts_with("#!") {
        at = skip_space(text, at + text[at..].find(']')? + 1);
    }
    while text[at..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        at += text[at..].chars().next()?.len_utf8();
    }
    at = skip_space(text, at);
    if !text[at..].starts_with(['(', '{']) {
        return None;
    }
    let end = skip_value(text, at);
    (end > at + 1).then(|| at + 1..end - 1)
}

/// The fields of a struct or map whose inside is `scope`.
fn fields(text: &str, scope: Range<usize>) -> Vec<(String, Range<usize>)> {
    let mut found = Vec::new();
    let mut at = scope.start;
    loop {
        at = skip_space(text, at);
        if at >= scope.end {
            return found;
        }
        let key_end = skip_key(text, at).min(scope.end);
        let key = text[at..key_end].trim().trim_matches('"').to_string();
        let colon = skip_space(text, key_end);
        if colon >= scope.end || !text[colon..].starts_with(':') {
            // Not `key: value`: an element of a list or tuple.
            at = skip_to_comma(text, at, scope.end);
            continue;
        }
        let start = skip_space(text, colon + 1);
        let end = skip_value(text, start).min(scope.end);
        found.push((key, start..end.max(start)));
        at = skip_to_comma(text, end, scope.end);
    }
}

fn skip_to_comma(text: &str, mut at: usize, end: usize) -> usize {
    while at < end && !text[at..].starts_with(',') {
        let next = skip_value(text, at);
        at = skip_space(text, if next > at { next } else { at + text[at..].chars().next().map_or(1, char::len_utf8) });
    }
    (at + 1).min(end.max(at))
}

fn skip_key(text: &str, at: usize) -> usize {
    if text[at..].starts_with('"') { skip_string(text, at) } else { skip_word(text, at) }
}

fn skip_word(text: &str, mut at: usize) -> usize {
    while let Some(c) = text[at..].chars().next().filter(|c| c.is_alphanumeric() || "_-+.#".contains(*c)) {
        at += c.len_utf8();
    }
    at
}

fn skip_string(text: &str, at: usize) -> usize {
    let mut escaped = false;
    for (offset, c) in text[at + 1..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1 + offset + 1,
            _ => {}
        }
    }
    text.len()
}

/// The end of the value that starts here: a word with an optional body, a text, a bracketed list.
fn skip_value(text: &str, at: usize) -> usize {
    let mut at = at;
    match text[at..].chars().next() {
        Some('"') => return skip_string(text, at),
        Some(c) if c.is_alphanumeric() || "_-+.".contains(c) => {
            at = skip_word(text, at);
            let next = skip_space(text, at);
            if !text[next..].starts_with('(') {
                return at;
            }
            at = next;
        }
        Some('(' | '[' | '{') => {}
        _ => return at,
    }
    let mut depth = 0;
    while at < text.len() {
        at = skip_space(text, at);
        let Some(c) = text[at..].chars().next() else { break };
        match c {
            '"' => {
                at = skip_string(text, at);
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        at += c.len_utf8();
        if depth <= 0 {
            return at;
        }
    }
    text.len()
}

/// Past blanks and comments.
fn skip_space(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if trimmed.starts_with("//") {
            at += trimmed.find('\n').unwrap_or(trimmed.len());
        } else if trimmed.starts_with("/*") {
            at += trimmed.find("*/").map_or(trimmed.len(), |end| end + 2);
        } else {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = r#"// a comment with (brackets
(
    epochs: 3, // trailing: comment
    data: (name: "ci,far(", crop: Some(4)),
    mixers: {"amix": AMix(preset: Code, alpha: 2.0), "b": MixUp()},
    optimizer: Sgd(lr: 0.1),
    heads: ["one", "mix"],
)"#;

    fn value(path: &str) -> Option<&'static str> {
        find(RECIPE, path).map(|span| &RECIPE[span])
    }

    #[test]
    fn values_are_found_by_their_path() {
        assert_eq!(value("epochs"), Some("3"));
        assert_eq!(value("data.name"), Some("\"ci,far(\""));
        assert_eq!(value("data.crop"), Some("Some(4)"));
        assert_eq!(value("mixers.amix.alpha"), Some("2.0"));
        assert_eq!(value("mixers.b"), Some("MixUp()"));
        assert_eq!(value("optimizer.lr"), Some("0.1"));
        assert_eq!(value("heads"), Some("[\"one\", \"mix\"]"));
        assert_eq!(value("optimizer.momentum"), None);
        assert_eq!(value("nothing.at.all"), None);
    }

    #[test]
    fn a_value_is_replaced_where_it_stands_and_added_where_it_does_not() {
        assert!(set(RECIPE, "epochs", "9").expect("set").contains("epochs: 9,"));
        let added = set(RECIPE, "optimizer.momentum", "0.5").expect("set");
        assert!(added.contains("Sgd(momentum: 0.5, lr: 0.1)"), "{added}");
        let deep = set(RECIPE, "evaluate.every", "2").expect("set");
        assert!(deep.contains("(evaluate: (every: 2), "), "{deep}");
        let map = set(RECIPE, "mixers.c", "CutMix()").expect("set");
        assert!(map.contains("{\"c\": CutMix(), \"amix\""), "{map}");
        // Lines stay where they were, so messages stay right.
        assert_eq!(deep.lines().count(), RECIPE.lines().count());
    }

    #[test]
    fn no_text_makes_it_panic() {
        for end in 0..RECIPE.len() {
            if RECIPE.is_char_boundary(end) {
                let _ = find(&RECIPE[..end], "mixers.amix.alpha");
                let _ = set(&RECIPE[..end], "optimizer.momentum", "1");
            }
        }
        for text in ["", "(", ")", "\"", "(a:", "((((", "a(b:c", "(é: ü)", "/*", "#!["] {
            let _ = find(text, "a.b");
            let _ = set(text, "a.b", "1");
        }
    }
}
