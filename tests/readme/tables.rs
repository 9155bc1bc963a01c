//! Tables that list what the program has.

use std::collections::BTreeMap;

use admix_engine::{Line, Recipe, VERBS, describe, lines};

use super::{read, registry};

/// The rows of all tables that begin with this line: their cells, without the blanks around them.
fn rows(document: &str, heading: &str) -> Vec<Vec<String>> {
    let text = read(document);
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        inside = line == heading || (inside && line.starts_with('|'));
        if inside && line != heading && !line.starts_with("|---") {
            found.push(line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_string()).collect());
        }
    }
    found
}

/// The name in recipes of an entry whose name is one word, both in quotes.
fn told_name(entry: &str) -> String {
    let name = entry.trim_matches('"');
    format!("\"{}{}\"", name[..1].to_uppercase(), &name[1..])
}

/// Whether a default of the documents is a value of `describe`.
fn same(told: &str, value: &str) -> bool {
    match (told.parse::<f64>(), value.parse::<f64>()) {
        (Ok(told), Ok(value)) => told == value,
        _ => told == value || (told == "None" && value == "null") || format!("\"{told}\"") == value,
    }
}

#[test]
fn every_field_of_a_recipe_is_documented_with_its_default() {
    let text = r#"(epochs: 1, method: "mixup", pairs: [()], mixers: {"name": CutMix()}, groups: {"name": ()},
        data: (aircraft: (), toy: ()))"#;
    let recipe = Recipe::parse(text, "x.ron", &[], &registry()).expect("a recipe");
    let mut real: BTreeMap<String, String> = BTreeMap::new();
    for (path, value, _) in describe(&recipe, text).expect("values") {
        let parts: Vec<&str> = path.split('.').filter(|part| !part.starts_with(char::is_uppercase)).collect();
        real.insert(parts.join(".").replace(".0.", "[]."), value);
    }
    // An entry alone: documented by its name in recipes, with other capitals.
    if let Some(entry) = real.remove("data.augment.plugin") {
        let name = told_name(&entry);
        real.insert("data.augment".into(), name);
    }
    real.retain(|path, _| !path.ends_with(".plugin") && path != "mixers.name.box_rule");
    let told: BTreeMap<String, String> = rows("docs/recipes.md", "| field | default | meaning |")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').replace("NAME", "name"), row[1].trim_matches('`').to_string()))
        .collect();
    let whole = [
        "pairs",
        "params",
        "weights",
        "mixers",
        "losses",
        "clusterers",
        "groups",
        "queues",
        "embedding_heads",
        "other_nets",
    ];
    for (path, default) in &told {
        assert!(real.contains_key(path) || whole.contains(&path.as_str()), "there is no field `{path}`");
        assert!(!default.is_empty(), "{path}");
    }
    for (path, value) in &real {
        let default = told.get(path).unwrap_or_else(|| panic!("docs/recipes.md lacks the field `{path}`"));
        let is_special = default == "required" || default == "the plugin's";
        assert!(is_special || same(default, value), "`{path}` is {value} by default, not {default}");
    }
}

#[test]
fn every_setting_of_an_augmentation_is_documented_with_its_default() {
    let told: BTreeMap<String, String> = rows("docs/recipes.md", "| setting | default | meaning |")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_string(), row[1].trim_matches('`').to_string()))
        .collect();
    let own = ["scale", "interpolation"];
    for (law, differs) in [("Moco", &own[..0]), ("ResizedCrop", &own)] {
        let text = format!(r#"(epochs: 1, method: "mixup", data: (augment: {law}()))"#);
        let recipe = Recipe::parse(&text, "x.ron", &[], &registry()).expect("a recipe");
        let prefix = "data.augment.";
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for (path, value, _) in describe(&recipe, &text).expect("values") {
            if let Some(setting) = path.strip_prefix(prefix).filter(|setting| *setting != "plugin") {
                seen.insert(setting.to_string(), value);
            }
        }
        assert!(law != "Moco" || seen.len() == told.len(), "{seen:?} {told:?}");
        assert!(!seen.is_empty(), "{law}");
        for (name, value) in &seen {
            let default = told.get(name).unwrap_or_else(|| panic!("docs/recipes.md lacks `{name}` of {law}"));
            // A pair is an array to `describe`.
            let told: Vec<&str> = default.trim_matches(['(', ')']).split(", ").collect();
            let equal = told.iter().zip(value.trim_matches(['[', ']']).split(',')).all(|(a, b)| same(a, b));
            assert!(equal || differs.contains(&name.as_str()), "`{name}` of {law} is {value}, not {default}");
        }
    }
}

#[test]
fn every_verb_of_the_tensor_vocabulary_is_documented() {
    let rows: Vec<_> = rows("docs/scripts.md", "| verb | what it does |");
    assert_eq!(rows.len(), VERBS.len());
    for verb in VERBS {
        let row = rows.iter().find(|row| row[0].starts_with(&format!("`{}(", verb.name)));
        let row = row.unwrap_or_else(|| panic!("docs/scripts.md lacks `{}`", verb.name));
        assert_eq!(row[1], verb.summary, "`{}`", verb.name);
        let signature = row[0].replace("[a, b, ...]", "list").replace("[size, ...]", "list");
        let arguments = signature.matches(',').count() + 1;
        assert_eq!(arguments, verb.takes.len(), "`{}`", verb.name);
    }
}

#[test]
fn every_verb_of_methods_is_documented_as_its_own_file_says() {
    let headings =
        ["| name | meaning |", "| verb | returns |", "| value of a mix | meaning |", "| function | value |"];
    let told: Vec<_> = headings.into_iter().flat_map(|heading| rows("docs/scripts.md", heading)).collect();
    let own: Vec<Line> = lines().collect();
    for line in &own {
        let row = told.iter().find(|row| row[0] == line.call);
        let row = row.unwrap_or_else(|| panic!("docs/scripts.md lacks {}", line.call));
        assert_eq!(row[1], line.summary, "{}", line.call);
    }
    let is_tensor_verb = |call: &str| VERBS.iter().any(|verb| call.starts_with(&format!("`{}(", verb.name)));
    for row in told.iter().filter(|row| row[0].starts_with('`') && !is_tensor_verb(&row[0])) {
        assert!(own.iter().any(|line| line.call == row[0]), "there is no verb {}", row[0]);
    }
}

#[test]
fn every_method_verb_that_a_bundled_script_calls_is_among_the_documented_ones() {
    let names: Vec<&str> = lines().flat_map(|line| line.names()).collect();
    for verb in ["pass", "views", "std", "steps", "logits", "contrast", "class_weight", "warm_cosine"] {
        assert!(names.contains(&verb), "{verb}");
    }
    for script in admix_engine::bundled::script_names() {
        let text = read(&format!("scripts/{script}.rhai"));
        let code = text.lines().filter_map(|line| line.split("//").next());
        for call in code.flat_map(|line| line.split("t.").skip(1).map(move |rest| (line, rest))) {
            let (line, rest) = call;
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let at = line.len() - rest.len() - 2;
            let is_step = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            assert!(!is_step || names.contains(&name.as_str()), "{script}: t.{name}");
        }
    }
}
