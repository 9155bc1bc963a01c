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

/// The innermost value around `offset` and its path.
pub fn path_at(text: &str, offset: usize) -> Option<(String, Range<usize>)> {
    let mut scope = body(text, 0)?;
    let mut found: Option<(String, Range<usize>)> = None;
    while let Some((name, value)) =
        fields(text, scope).into_iter().find(|(_, value)| value.start <= offset && offset <= value.end)
    {
        let path = found.map_or(name.clone(), |(path, _)| format!("{path}.{name}"));
        let inside =
            body(text, value.start).filter(|b| b.end <= value.end && b.start <= offset && offset <= b.end);
        found = Some((path, value));
        match inside {
            Some(inside) => scope = inside,
            None => break,
        }
    }
    found
}

/// Where a value that was set at `path` is in the edited text: from the first name that `text` did not have yet, or
/// the value alone if only that was replaced.
pub fn added(text: &str, edited: &str, path: &str) -> Option<Range<usize>> {
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    let new = ends.map(|end| &path[..end]).find(|prefix| find(text, prefix).is_none());
    let value = find(edited, new.unwrap_or(path))?;
    let Some(new) = new else { return Some(value) };
    let name = new.rsplit('.').next().unwrap_or(new);
    Some(edited[..value.start].rfind(name).unwrap_or(value.start)..value.end)
}

/// The text with `()` after each name that stands alone in the list at `path`, as in `[Knn]`, and the ends of what was
/// added. The parser needs them where a name may have settings.
pub fn with_bodies(text: &str, path: &str) -> (String, Vec<usize>) {
    let (mut whole, mut added, mut copied) = (String::new(), Vec::new(), 0);
    for element in elements(text, path) {
        if text[element.start..].starts_with(char::is_alphabetic) && !text[..element.end].ends_with(')') {
            whole.push_str(&text[copied..element.end]);
            whole.push_str("()");
            added.push(whole.len());
            copied = element.end;
        }
    }
    whole.push_str(&text[copied..]);
    (whole, added)
}

/// The elements of the list at `path`; none if it is no list.
fn elements(text: &str, path: &str) -> Vec<Range<usize>> {
    let list = find(text, path).filter(|span| text[span.start..].starts_with('[')).unwrap_or(0..0);
    let (mut at, mut found) = (list.start + 1, Vec::new());
    while at < list.end {
        at = skip_space(text, at);
        let end = skip_value(text, at);
        if end > at {
            found.push(at..end);
        }
        at = skip_to_comma(text, end, list.end);
    }
    found
}

/// An element of the list at `path`, or one of the fields that it sets.
pub fn element(text: &str, path: &str, index: usize, field: Option<&str>) -> Option<Range<usize>> {
    let element = elements(text, path).into_iter().nth(index)?;
    let Some(field) = field else { return Some(element) };
    let inside = body(text, element.start).filter(|inside| inside.end <= element.end)?;
    fields(text, inside).into_iter().find(|(name, _)| name == field).map(|(_, value)| value)
}

/// The text with the value at `path` replaced, or added to the innermost struct that is there.
pub fn set(text: &str, path: &str, value: &str) -> Result<String, String> {
    if !is_one_value(value) {
        return Err("expected one value as a recipe writes it, with its brackets and quotes closed".into());
    }
    if let Some(span) = find(text, path) {
        return Ok(format!("{}{value}{}", &text[..span.start], &text[span.end..]));
    }
    let parts: Vec<&str> = path.split('.').collect();
    if let Some(span) = path.strip_suffix(".file").and_then(|owner| text_alone(text, owner)) {
        return Ok(format!("{}{value}{}", &text[..span.start], &text[span.end..]));
    }
    if let [table @ ("mixers" | "losses"), name, _, ..] = parts[..]
        && find(text, &format!("{table}.{name}")).is_none()
    {
        let inside = find(text, table).and_then(|span| body(text, span.start));
        let known: Vec<String> = inside
            .map(|inside| fields(text, inside))
            .unwrap_or_default()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        return Err(format!(
            "`{table}` has no `{name}`; it has {}{}",
            crate::text::list(&known),
            admix_api::did_you_mean(name, known.iter().map(String::as_str))
        ));
    }
    // The deepest struct on the way that the recipe already has.
    for depth in (0..parts.len()).rev() {
        let scope = if depth == 0 {
            body(text, 0)
        } else {
            find(text, &parts[..depth].join("."))
                .and_then(|span| body(text, span.start).filter(|b| b.end <= span.end))
        };
        let Some(scope) = scope else {
            let above = parts[..depth].join(".");
            if let Some(span) = find(text, &above) {
                let value = text[span].lines().next().unwrap_or_default();
                return Err(format!("`{above}` is {value}, which has no fields: set it as a whole"));
            }
            continue;
        };
        let is_map = text[..scope.start].ends_with('{');
        let mut inserted = value.to_string();
        for level in (depth + 1..parts.len()).rev() {
            inserted = enclosed(&parts[..level], parts[level], &inserted);
        }
        // `Script("mine.rhai")`: a text that stands alone becomes the field `file` beside the new one.
        let alone = skip_space(text, scope.start);
        let file = if !is_map && text[alone..].starts_with('"') { "file: " } else { "" };
        let key = if is_map { format!("\"{}\"", parts[depth]) } else { parts[depth].to_string() };
        return Ok(format!("{}{key}: {inserted}, {file}{}", &text[..scope.start], &text[scope.start..]));
    }
    Err("the recipe has no body `( ... )` to set a value in".into())
}

/// The text that stands alone in the value at `path`, as in `Script("mine.rhai")`.
fn text_alone(text: &str, path: &str) -> Option<Range<usize>> {
    let value = find(text, path)?;
    let inside = body(text, value.start).filter(|inside| inside.end <= value.end)?;
    let start = skip_space(text, inside.start);
    text[start..].starts_with('"').then(|| start..skip_string(text, start))
}

/// A field of a part of the recipe that is not there yet, in the form that this part has.
fn enclosed(part: &[&str], name: &str, value: &str) -> String {
    match part {
        ["params" | "weights" | "mixers" | "losses" | "groups"] | ["mixers" | "losses", _, "params"] => {
            format!("{{\"{name}\": {value}}}")
        }
        // Those that have a default: the field is one of it.
        ["optimizer"] => format!("Sgd({name}: {value})"),
        ["model"] => format!("ResNet({name}: {value})"),
        _ => format!("({name}: {value})"),
    }
}

/// Line and column, from 1.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    (line, column)
}

/// The inside of the first `( ... )` or `{ ... }` that follows, behind an optional name.
pub fn body(text: &str, from: usize) -> Option<Range<usize>> {
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
    // Unclosed, it goes on to the end of the text.
    let inside = text[at + 1..end].strip_suffix([')', '}', ']']).unwrap_or(&text[at + 1..end]);
    Some(at + 1..at + 1 + inside.len())
}

/// The fields of a struct or map whose inside is `scope`.
pub fn fields(text: &str, scope: Range<usize>) -> Vec<(String, Range<usize>)> {
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
        at = skip_space(
            text,
            if next > at { next } else { at + text[at..].chars().next().map_or(1, char::len_utf8) },
        );
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

/// Whether a text is one value and nothing else, all of its brackets and quotes closed.
fn is_one_value(text: &str) -> bool {
    let (mut open, mut at) = (Vec::new(), 0);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '"' => {
                let end = skip_string(text, at);
                if end == at + 1 || !text[..end].ends_with('"') {
                    return false;
                }
                at = end;
                continue;
            }
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => return false,
            '/' if text[at..].starts_with("//") || text[at..].starts_with("/*") => return false,
            _ => {}
        }
        at += c.len_utf8();
    }
    open.is_empty() && !text.is_empty() && skip_value(text, 0) == text.len()
}

/// Past blanks and comments.
pub fn skip_space(text: &str, mut at: usize) -> usize {
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
    fn names_that_stand_alone_in_a_list_get_a_body() {
        let text = "(a: [Knn, /* x */ Linear(epochs: 1),\n Cached // y\n], b: [Knn], c: Knn)";
        let (found, added) = with_bodies(text, "a");
        assert_eq!(found, "(a: [Knn(), /* x */ Linear(epochs: 1),\n Cached() // y\n], b: [Knn], c: Knn)");
        assert_eq!(added.iter().map(|end| &found[end - 2..*end]).collect::<Vec<_>>(), ["()", "()"]);
        for other in
            ["(a: [], b: 1)", "(a: [1, \"x\", (b: 2)])", "(a: Knn)", "(b: [Knn])", "(a: [Knn(k: [A])"]
        {
            assert_eq!(with_bodies(other, "a"), (other.to_string(), Vec::new()), "{other}");
        }
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
        let bare = "(epochs: 3)";
        for (path, wanted) in [
            ("params.min_lr", "(params: {\"min_lr\": 1}, epochs: 3)"),
            ("groups.amix.lr", "(groups: {\"amix\": (lr: 1)}, epochs: 3)"),
            ("optimizer.lr", "(optimizer: Sgd(lr: 1), epochs: 3)"),
            ("model.width", "(model: ResNet(width: 1), epochs: 3)"),
            ("data.toy.size", "(data: (toy: (size: 1)), epochs: 3)"),
        ] {
            assert_eq!(set(bare, path, "1").as_deref(), Ok(wanted));
        }
        // Lines stay where they were, so messages stay right.
        assert_eq!(deep.lines().count(), RECIPE.lines().count());
    }

    #[test]
    fn a_setting_beside_a_text_that_stands_alone_gives_it_its_name() {
        let bare = "(mixers: {\"a\": Script(\"x.rhai\")})";
        for (path, wanted) in [
            ("mixers.a.alpha", "(mixers: {\"a\": Script(alpha: 1, file: \"x.rhai\")})"),
            ("mixers.a.params.p", "(mixers: {\"a\": Script(params: {\"p\": 1}, file: \"x.rhai\")})"),
        ] {
            assert_eq!(set(bare, path, "1").as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn what_cannot_be_set_is_refused() {
        let refused = |path: &str, value: &str| set(RECIPE, path, value).expect_err(value);
        for value in
            ["3, batch: 4", "3)", "Sgd(lr: 0.1", "\"open", "3 // rest", "(]", "", "1 2", "Sgd(lr: 1))("]
        {
            assert!(refused("epochs", value).contains("one value"), "{value}");
        }
        for value in [
            "-3",
            "1e-4",
            "Some(4)",
            "None",
            "\"a, (b\"",
            "[(a: 1), (b: \"x\")]",
            "AMix(preset: Code)",
            "{\"a\": 1}",
        ] {
            assert!(is_one_value(value), "{value}");
        }
        assert_eq!(
            refused("heads.0", "1"),
            "`heads` is [\"one\", \"mix\"], which has no fields: set it as a whole"
        );
        assert_eq!(refused("epochs.x", "1"), "`epochs` is 3, which has no fields: set it as a whole");
        let message = refused("mixers.amx.alpha", "1");
        assert_eq!(message, "`mixers` has no `amx`; it has `amix`, `b`. Did you mean `amix`?");
    }

    #[test]
    fn places_are_told_by_their_path() {
        let path = |word: &str| path_at(RECIPE, RECIPE.find(word).expect("a word")).map(|(path, _)| path);
        assert_eq!(path("3, //").as_deref(), Some("epochs"));
        assert_eq!(path("2.0").as_deref(), Some("mixers.amix.alpha"));
        assert_eq!(path("Code").as_deref(), Some("mixers.amix.preset"));
        assert_eq!(path("AMix").as_deref(), Some("mixers.amix"));
        assert_eq!(path("epochs"), None);
        let edited = set(RECIPE, "evaluate.every", "x").expect("set");
        assert_eq!(&edited[added(RECIPE, &edited, "evaluate.every").expect("added")], "evaluate: (every: x)");
        let edited = set(RECIPE, "epochs", "x").expect("set");
        assert_eq!(&edited[added(RECIPE, &edited, "epochs").expect("added")], "x");
    }

    #[test]
    fn no_text_makes_it_panic() {
        for end in 0..RECIPE.len() {
            if RECIPE.is_char_boundary(end) {
                let _ = find(&RECIPE[..end], "mixers.amix.alpha");
                let _ = set(&RECIPE[..end], "optimizer.momentum", "1");
                let _ = path_at(&RECIPE[..end], end / 2);
            }
        }
        for text in ["", "(", ")", "\"", "(a:", "((((", "a(b:c", "(é: ü)", "/*", "#![", "(a: 1, é", "(é"]
        {
            let _ = find(text, "a.b");
            let _ = set(text, "a.b", "1");
        }
    }
}
