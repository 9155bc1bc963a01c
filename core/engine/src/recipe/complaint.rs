//! The errors of the parser of recipes in our words, at the value that they are about.

use admix_api::did_you_mean;

use super::locate;

/// What is wrong with a text, and where.
pub struct Complaint {
    /// The byte of the text.
    pub offset: usize,
    /// What is wrong there, and what was expected.
    pub message: String,
}

impl Complaint {
    /// The parser's error in our words, at the value that it is about.
    pub fn of(error: &ron::error::SpannedError, text: &str) -> Self {
        use ron::Error as E;
        let start = offset_of(text, error.span.start.line, error.span.start.col);
        let end = offset_of(text, error.span.end.line, error.span.end.col);
        if text.trim().is_empty() {
            return Self { offset: 0, message: "the recipe is empty; expected ( field: value, ... )".into() };
        }
        let at_value = |wanted: &str| {
            let (path, span) = locate::path_at(text, end)?;
            let value = text[span.clone()].lines().next().unwrap_or_default();
            // Such as 'in single quotes', where no value of a recipe begins.
            let value = if value.is_empty() { text[span.start..].lines().next()? } else { value };
            let mut wanted = wanted.to_string();
            if wanted == TEXT && value.starts_with('{') {
                wanted = "names in quotes: {\"name\": value}".into();
            }
            if wanted == TEXT && value.chars().all(char::is_alphanumeric) && !value.is_empty() {
                wanted = format!("{TEXT}: \"{value}\"");
            }
            if wanted == TEXT && value.starts_with('\'') {
                wanted = "a text in double quotes".into();
            }
            if wanted == IN_BOUNDS && (value.starts_with('-') || value.contains("(-")) {
                wanted = "a whole number that is not negative".into();
            }
            Some(Self { offset: span.start, message: format!("`{path}` is {value}, expected {wanted}") })
        };
        let said = error.code.to_string();
        let whole_numbers_end_before_the_point = || {
            let (_, span) = locate::path_at(text, end)?;
            text[span.clone()].parse::<f64>().ok().filter(|_| end < span.end)?;
            at_value("a whole number")
        };
        let of_value = match &error.code {
            E::ExpectedComma => whole_numbers_end_before_the_point(),
            E::InvalidIntegerDigit { .. } => at_value("a whole number, written with digits alone"),
            _ => wanted(&said).and_then(at_value),
        };
        let of_mixer = || {
            let path = locate::path_at(text, start).map(|(path, _)| path).unwrap_or_default();
            path.strip_prefix("mixers.").is_some_and(|name| !name.contains('.'))
        };
        of_value.unwrap_or_else(|| Self { offset: start, message: reword(&error.code, of_mixer()) })
    }

    /// What is wrong with the text of a recipe that is none from its first sign on.
    pub fn of_outline(text: &str) -> Option<Self> {
        let offset = locate::skip_space(text, 0);
        let message = match text[offset..].chars().next()? {
            '#' if !text[offset..].starts_with("#!") => "a comment begins with //, not with #",
            '(' | '#' => return None,
            // A name may stand before the bracket: Recipe(...).
            c if c.is_alphabetic() && locate::body(text, 0).is_some() => return None,
            _ => "a recipe is fields in parentheses: ( field: value, ... )",
        };
        Some(Self { offset, message: message.into() })
    }

    /// As [`Self::of`]. Where a name is expected, `parse` reads the text again with a name that nothing has: that error
    /// lists the known ones.
    pub fn with_names(
        error: &ron::error::SpannedError,
        text: &str,
        parse: impl Fn(&str) -> Option<ron::error::SpannedError>,
    ) -> Self {
        let mut complaint = Self::of(error, text);
        let known = || {
            let (_, span) = locate::path_at(text, complaint.offset)?;
            let listed = |stand_in: &str| {
                let unknown = format!("{}{stand_in}{}", &text[..span.start], &text[span.end..]);
                let listing = reword(&parse(&unknown)?.code, false);
                Some(listing.split_once("`Unknown_`; ")?.1.trim_start_matches("known: ").to_string())
            };
            listed("Unknown_").or_else(|| listed("Unknown_()"))
        };
        if wanted(&error.code.to_string()) == Some(NAME)
            && let Some(known) = known()
        {
            complaint.message = complaint.message.replace(NAME, &format!("a name: {known}"));
        }
        complaint
    }
}

const NAME: &str = "a name without quotes, such as Name()";
const TEXT: &str = "a text in quotes";
const IN_BOUNDS: &str = "a smaller whole number";

/// What the parser wants, in words. By its message, since a plugin's settings hand on nothing else.
fn wanted(message: &str) -> Option<&'static str> {
    Some(match message {
        "Expected integer" => "a whole number",
        "Integer is out of bounds" => IN_BOUNDS,
        "Expected float" => "a number",
        "Expected boolean" => "true or false",
        "Expected string" => TEXT,
        "Expected option" => "a value or None",
        "Expected opening `[`" => "a list in brackets: [a, b]",
        "Expected opening `{`" => "a map in braces: {\"name\": value}",
        "Expected opening `(`" => "settings in parentheses; without settings it is written Name()",
        "Expected identifier" => NAME,
        "data did not match any variant of untagged enum Param" => {
            "a number, true or false, or a text in quotes"
        }
        _ if message.starts_with("Found invalid std identifier") => NAME,
        _ if message.starts_with("Expected opening `(` for struct") => {
            "fields in parentheses: (field: value)"
        }
        _ if message.starts_with("Expected only opening `(`") => "fields in parentheses: (field: value)",
        _ => return None,
    })
}

/// The byte of a line and column, both from 1; columns count characters.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    start + text[start..].chars().take(column.saturating_sub(1)).map(char::len_utf8).sum::<usize>()
}

/// The parser's message in our words, with the nearest name where one is unknown.
fn reword(error: &ron::Error, of_mixer: bool) -> String {
    use ron::Error as E;
    match error {
        E::NoSuchStructField { expected, found, outer } => format!(
            "unknown field `{found}`; known: {}{}",
            expected.join(", "),
            match elsewhere(found).filter(|_| outer.as_deref() == Some("Recipe")) {
                Some(place) => format!(". Did you mean `{place}`?"),
                None => did_you_mean(found, expected.iter().copied()),
            }
        ),
        E::NoSuchEnumVariant { expected, found, .. } => format!(
            "unknown name `{found}`; known: {}{}",
            expected.join(", "),
            did_you_mean(found, expected.iter().copied())
        ),
        E::MissingStructField { field, .. } => format!("the field `{field}` is missing; add `{field}: ...`"),
        E::DuplicateStructField { field, .. } => format!("the field `{field}` is there twice; remove one"),
        E::ExpectedComma => COMMA.into(),
        E::ExpectedIdentifier => "expected the name of a field here".into(),
        E::InvalidEscape(_) => "no such escape in a text: write \\\\ for one backslash".into(),
        E::Eof => "the recipe ends here, but a bracket or quote is still open".into(),
        E::ExpectedStringEnd => "a quote is still open at the end of the recipe".into(),
        E::ExpectedMapColon => "expected a colon between name and value".into(),
        E::TrailingCharacters => "expected the end of the recipe, which is one ( ... )".into(),
        other => suggest(&other.to_string(), of_mixer),
    }
}

const COMMA: &str = "expected a comma before this, or a bracket before it is still open";

/// Where a setting is that is often looked for in the recipe itself.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "lr" | "learning_rate" => "optimizer: Sgd(lr: 0.1)",
        "momentum" => "optimizer: Sgd(momentum: 0.9)",
        "weight_decay" => "optimizer: Sgd(weight_decay: 1e-4)",
        "depth" => "model: ResNet(depth: 18)",
        "width" => "model: ResNet(width: 1.0)",
        "dataset" => "data: (name: \"cifar10\")",
        "batch_size" => "batch",
        "alpha" => "mixers: {\"mix\": MixUp(alpha: 1.0)}",
        _ => return None,
    })
}

/// Adds a suggestion to "Unexpected field named `a`, expected one of `b`, `c`", which plugins raise.
fn suggest(message: &str, of_mixer: bool) -> String {
    let quoted =
        |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_string).collect() };
    let unknown = |kind: &str| {
        let nothing = |text| Some((text, ""));
        let (unknown, known) = message
            .split_once(", expected")
            .or_else(|| message.strip_suffix(", there are no fields").and_then(nothing))?;
        let named = unknown.starts_with(&format!("unknown {kind}"))
            || (unknown.starts_with("Unexpected ") && unknown.contains(&format!("{kind} named ")));
        named.then(|| (quoted(unknown).into_iter().next().unwrap_or_default(), quoted(known)))
    };
    let told = |word: &str, name: &str, known: Vec<String>| {
        let hint = did_you_mean(name, known.iter().map(String::as_str));
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        format!("unknown {word} `{name}`; known: {known}{hint}")
    };
    if message == "Expected comma" {
        return COMMA.into();
    }
    if let Some(field) = message.strip_prefix("duplicate field ") {
        return format!("the field {field} is there twice; remove one");
    }
    if let Some((name, mut known)) = unknown("field") {
        if of_mixer {
            // What the host serves, the plugin does not know of.
            known.extend(<admix_api::Pairing as admix_api::Served>::FIELDS.iter().map(ToString::to_string));
        }
        return told("field", &name, known);
    }
    match unknown("variant") {
        Some((name, known)) => told("name", &name, known),
        None => message.to_string(),
    }
}
