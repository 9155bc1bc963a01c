//! Everything in `configs/` and `scripts/` works, and every list of the program is whole.

use std::collections::BTreeSet;
use std::path::Path;

use admix_engine::{RecipeText, tidy, variants};
use serde_json::Value;

use super::{Place, files_below, repository};
use crate::readme::registry;
use crate::toy_size;

/// Every bundled recipe: its name, its path and its text, as long as its file.
pub fn bundled() -> Vec<(String, String, String)> {
    let root = repository().join("configs");
    let experiments = root.join("experiments");
    let is_script =
        |file: &Path| file.starts_with(&experiments) && file.extension().is_some_and(|e| e == "rhai");
    let files = files_below(&root).into_iter().filter(|file| !is_script(file));
    let recipes = files.flat_map(|file| {
        let inside = file.strip_prefix(&root).expect("below configs").with_extension("");
        let name = inside.to_str().expect("UTF-8");
        assert!(file.extension().is_some_and(|extension| extension == "ron"), "{}", file.display());
        let (text, file) = (std::fs::read_to_string(&file).expect("UTF-8"), file.to_str().expect("UTF-8"));
        let one = |variant: &str| {
            let recipe = RecipeText::of(&text, file, Some(variant)).expect("a recipe");
            (format!("{name}/{variant}"), format!("{file}/{variant}"), recipe.text)
        };
        match variants(&text) {
            several if several.is_empty() => vec![(name.to_owned(), file.to_owned(), text)],
            several => several.iter().map(|variant| one(&variant.name)).collect(),
        }
    });
    recipes.collect()
}

/// The bundled recipes that differ in more than their size: the policies on one network of each dataset, and one on each of its
/// other networks.
fn different() -> Vec<(String, String, String)> {
    let (mut policies, mut networks) = (BTreeSet::new(), BTreeSet::new());
    let mut is_new = |name: &str| {
        let mut parts = name.split('/').map(str::to_owned);
        let [set, network, policy] = [(); 3].map(|()| parts.next().unwrap_or_default());
        let new_policy = policies.insert((set.clone(), policy));
        networks.insert((set, network)) || new_policy
    };
    bundled().into_iter().filter(|(name, ..)| is_new(name)).collect()
}

/// The change that makes a network narrow; a plain ConvNet names its widths.
fn narrow(text: &str, width: &str) -> String {
    let plain = text.contains("ConvNet(");
    if plain { "model.widths=[8, 8, 8]".into() } else { format!("model.width={width}") }
}

/// The flags that make a recipe small: generated images, the fewest channels, and the same number of classes.
pub fn small(text: &str) -> Vec<String> {
    let settings = toy_size::settings(include_str!("../toy_size.json"), text).expect("the rules can be read");
    settings.into_iter().flat_map(|setting| ["--set".into(), setting]).collect()
}

/// What makes a run another one on generated images: everything but the data, the length and the learning rate. A policy of a
/// file of policies is run on one of the networks that have it.
fn trained(text: &str, file: &str) -> String {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    let mut apart = vec![
        "epochs:",
        "batch:",
        "data:",
        "optimizer:",
        "evaluate:",
        "queues:",
        "params:",
        "groups:",
        "init:",
    ];
    apart.extend((!file.ends_with(".ron")).then_some("model:"));
    let code = code.filter(|line| !line.is_empty() && !apart.iter().any(|field| line.starts_with(field)));
    code.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_recipe_passes_its_check_and_each_kind_of_run_takes_two_steps() {
    let registry = registry();
    for (name, file, text) in bundled() {
        let recipe = RecipeText { text, file, variant: None }.read(&[], &registry);
        assert!(recipe.is_ok(), "{name}: {recipe:?}");
    }
    let all = different();
    assert!(all.len() >= 100, "{}", all.len());
    let mut seen = BTreeSet::new();
    for (name, file, text) in all {
        let place = Place::new();
        let flags = small(&text);
        let with = |first: &[&str], more: &[&str]| -> Vec<String> {
            let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
            [words(first), flags.clone(), words(more)].concat()
        };
        if seen.insert(trained(&text, &file)) {
            let run = with(
                &["run", &name],
                &["--out", "run", "--max-steps", "2", "--device", "cpu", "--threads", "1"],
            );
            let outcome = place.admix(&run.iter().map(String::as_str).collect::<Vec<_>>()).good();
            assert!(outcome.stdout.contains("2 steps"), "{name}: {}", outcome.stdout);
            assert_eq!(outcome.stderr, "", "{name}");
            assert!(place.path("run/checkpoints/step-00000002.safetensors").exists(), "{name}");
        }
        let check = with(&["check", &name], &["--device", "cpu", "--threads", "1"]);
        let outcome = place.admix(&check.iter().map(String::as_str).collect::<Vec<_>>()).good();
        assert!(outcome.stdout.contains("is good"), "{name}: {}", outcome.stdout);
        assert_eq!(outcome.stderr, "", "{name}");
    }
}

#[test]
fn recipes_have_8_to_30_lines_and_are_all_listed() {
    let all = bundled();
    for (name, _, text) in &all {
        let lines = tidy(text).lines().count();
        assert!((8..=30).contains(&lines), "{name} has {lines} lines");
    }
    let place = Place::new();
    let outcome = place.admix(&["recipes"]).good();
    let listed: Vec<&str> =
        outcome.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(listed.len(), all.len());
    for (name, _, text) in &all {
        let line = outcome.stdout.lines().find(|line| line.split_whitespace().next() == Some(name));
        let about =
            text.lines().next().expect("a line").trim_start_matches("//").trim().trim_end_matches('.');
        assert!(
            line.is_some_and(|line| line.contains(about)),
            "{name} is not among {listed:?} with what it is"
        );
    }
    let (name, _, text) =
        all.iter().find(|(_, file, _)| file.ends_with(".ron")).expect("a file of one recipe");
    assert_eq!(place.admix(&["recipes", name]).good().stdout.trim_end(), text.trim_end());
}

#[test]
fn a_recipe_among_several_of_a_file_is_shown_whole_and_runs_alone() {
    let place = Place::new();
    let whole = place.admix(&["recipes", "cub200/r18/amix"]).good().stdout;
    for part in [
        "// CUB-200-2011, ResNet-18 from ImageNet's weights, Table 2 of the paper: AMix in the paper's form, with a start from which it learns at once.\n(\n",
        "\n    epochs: 200,\n",
        "\n    method: \"amix\",\n",
        "\n    evaluate: (report: \"mix_k\"),\n)",
    ] {
        assert!(whole.contains(part), "{part}: {whole}");
    }
    assert!(
        !whole.contains("variants") && !whole.contains("PuzzleMix") && !whole.contains("mixup"),
        "{whole}"
    );
    place.write("whole.ron", &whole);
    let values = |recipe: &str| {
        let shown = place.admix(&["show", recipe, "--format", "json"]).good().stdout;
        let mut shown: Value = serde_json::from_str(&shown).expect("JSON");
        let rows = shown["values"].as_array_mut().expect("a list");
        for row in rows {
            let origin = row["origin"].as_str().map(|from| from[..4].to_owned());
            row["origin"] = origin.into();
        }
        shown["recipe"].take();
        shown
    };
    assert_eq!(values("whole.ron"), values("cub200/r18/amix"));

    place.write("mine.ron", SEVERAL);
    place.admix(&["recipes", "mine.ron"]).refused(2, &["no bundled recipe"]);
    place.admix(&["check", "mine.ron"]).refused(2, &["mine.ron:5:15", "`mine.ron/plain`, `mine.ron/mixed`"]);
    place.admix(&["check", "mine.ron/mixd"]).refused(2, &["no recipe `mixd`", "Did you mean `mixed`?"]);
    place.admix(&["check", "cub200/r18"]).refused(2, &["name one of them", "`cub200/r18/amix`"]);
    place.admix(&["check", "cub200/r18/amx"]).refused(2, &["Did you mean `cub200/r18/amix`?"]);
    place.admix(&["check", "quickstart.ron/amix"]).refused(2, &["neither a file nor a bundled recipe"]);
    let run = ["run", "mine.ron/mixed", "--set", "batch=8", "--max-steps", "2"];
    let said = place.compute(&run).good().stdout;
    assert!(said.contains("runs/mine-mixed"), "{said}");
    let kept = std::fs::read_to_string(place.path("runs/mine-mixed/recipe.ron")).expect("the recipe");
    assert!(kept.contains("    mixers: {\"mix\": MixUp()},\n") && kept.contains("    batch: 8,\n"), "{kept}");
    let facts = std::fs::read_to_string(place.path("runs/mine-mixed/run.json")).expect("facts");
    assert!(facts.contains(r#""recipe": "mine.ron/mixed""#), "{facts}");
    place.compute(&[&run[..4], &["--resume", "runs/mine-mixed", "--max-steps", "4"]].concat()).good();
    // A fault is told where it stands in the file.
    place.write("mine.ron", SEVERAL.replace("MixUp()", "MixUp(alpha: -1.0)"));
    place.admix(&["check", "mine.ron/mixed"]).refused(2, &["mine.ron:11:42", "`mixers.mix.alpha` is -1"]);
    place.admix(&["check", "mine.ron/plain"]).good();
    place.write("mine.ron", SEVERAL.replace("mixers:", "mixer:"));
    place
        .admix(&["check", "mine.ron/mixed"])
        .refused(2, &["mine.ron:11:", "unknown field `mixer`", "mixers"]);
}

const SEVERAL: &str = r#"// Mine.
(
    epochs: 2,
    batch: 4,
    variants: {
        // As it is.
        "plain": (),
        // Mixed.
        "mixed": (
            batch: 16,
            mixers: {"mix": MixUp()},
        ),
    },
    data: (name: "toy", toy: (train: 32, test: 16)),
    model: ConvNet(widths: [4], strides: [2]),
    method: "mixup",
)
"#;

/// The key under which a value of this path stands in a recipe's text.
fn key(path: &str) -> &str {
    let parts: Vec<&str> = path.split('.').collect();
    match parts[..] {
        [.., name, "plugin"] => name,
        ["pairs", ..] => "pairs",
        ["data", "views", _, ..] => "count",
        [.., last] => last,
        [] => path,
    }
}

#[test]
fn show_prints_every_value_with_its_true_origin() {
    let place = Place::new();
    for (name, file, text) in different() {
        // Narrow networks are made faster.
        let width = narrow(&text, "0.125");
        let narrow = ["--set", "epochs=29", "--set", &width];
        let outcome = place.admix(&[&["show", &file, "--format", "json"], &narrow[..]].concat()).good();
        let shown: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let values = shown["values"].as_array().expect("a list");
        assert!(values.len() > 25, "{name}: {}", outcome.stdout);
        let lines: Vec<&str> = text.lines().collect();
        let mut seen = BTreeSet::new();
        for row in values {
            let word = |key: &str| row[key].as_str().unwrap_or_else(|| panic!("{name}: {row}"));
            let (path, origin) = (word("path"), word("origin"));
            assert!(seen.insert(path), "{name}: {path} is there twice");
            match origin.strip_prefix("line ") {
                Some(line) => {
                    let line = lines[line.parse::<usize>().expect("a number") - 1];
                    assert!(line.contains(key(path)), "{name}: {path} is not in: {line}");
                }
                None if path == "epochs" => assert_eq!((origin, word("value")), ("--set", "29")),
                None if path == "model.width" => {
                    assert_eq!((origin, word("value")), ("--set", "0.125"))
                }
                None if path == "model.widths" => assert_eq!(origin, "--set", "{name}"),
                None => assert_eq!(origin, "default", "{name}: {path}"),
            }
        }
        // What stands in the recipe is not said to be a default.
        for (path, given) in [("batch", "batch:"), ("min_lr", "min_lr:"), ("method", "method:")] {
            let row = values.iter().find(|row| row["path"] == path).expect(path);
            let from_line = row["origin"].as_str().is_some_and(|origin| origin.starts_with("line "));
            let is_given = text.lines().any(|line| line.trim_start().starts_with(given));
            assert_eq!(from_line, is_given, "{name}: {row}");
        }
        for table in ["params", "weights"] {
            assert!(shown[table].is_object(), "{name}: {table}");
        }
        assert!(shown["weights"].as_object().is_some_and(|weights| !weights.is_empty()), "{name}");
    }
}

#[test]
fn show_prints_a_table_for_people() {
    let outcome = Place::new().admix(&["show", "quickstart", "--set", "optimizer.lr=0.5"]).good();
    let row = |path: &str| -> Vec<&str> {
        let line = outcome.stdout.lines().find(|line| line.split_whitespace().next() == Some(path));
        line.unwrap_or_else(|| panic!("{path}: {}", outcome.stdout)).split_whitespace().collect()
    };
    assert_eq!(row("optimizer.lr"), ["optimizer.lr", "0.5", "--set"]);
    let method = std::fs::read_to_string(repository().join("configs/quickstart.ron")).expect("the recipe");
    let line = method.lines().position(|line| line.trim_start().starts_with("method:")).expect("a line") + 1;
    assert_eq!(row("method"), ["method", "\"amix\"", "line", &line.to_string()]);
    assert_eq!(row("log_every"), ["log_every", "50", "default"]);
    assert_eq!(row("weights.mask"), ["weights.mask", "0.1", "amix.rhai"]);
    for line in outcome.stdout.lines() {
        let known = ["default", "--set", "recipe", "amix.rhai"];
        let words: Vec<&str> = line.split_whitespace().collect();
        let last = words.last().expect("an origin");
        assert!(known.contains(last) || words[words.len() - 2] == "line", "no origin: {line}");
    }
}

/// Learning rates that a script sets to a number of its own.
fn literal_rates(script: &str) -> Vec<String> {
    let is_rate = |key: &str| key == "lr" || key.starts_with("lr_");
    let lines = script.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines
        .flat_map(|line| line.split([',', '{', '}']))
        .filter_map(|entry| entry.split_once(':'))
        .filter(|(key, _)| is_rate(key.trim().trim_matches('"')))
        .map(|(_, value)| value.trim().to_string())
        .filter(|value| {
            value.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '-')
                || starts_from_number(value)
        })
        .collect()
}

/// `cosine(0.1, ...)`: a schedule whose base is a number.
fn starts_from_number(value: &str) -> bool {
    value
        .split_once('(')
        .is_some_and(|(_, inside)| inside.trim_start().starts_with(|c: char| c.is_ascii_digit()))
}

#[test]
fn bundled_scripts_leave_the_learning_rate_to_the_recipe() {
    for bad in [
        "#{ lr: 0.1 }",
        "lr : .5,",
        "#{ ema: 1.0, lr_amix: 1e-3 }",
        "lr: cosine(0.1, 0.0, t.progress)",
        "lr: 0.1 * f(t),",
    ] {
        assert_eq!(literal_rates(bad).len(), 1, "{bad}");
    }
    let good =
        "lr: cosine(t.base_lr, t.param(\"min_lr\"), t.progress), // lr: 0.1\nlr: warmup(t.base_lr, 0.1, 0)";
    assert!(literal_rates(good).is_empty());
    let files = files_below(&repository().join("scripts"));
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let script = std::fs::read_to_string(&file).expect("UTF-8");
        assert_eq!(
            literal_rates(&script),
            [""; 0],
            "{} sets a learning rate; the recipe owns it",
            file.display()
        );
        let place = Place::new();
        let outcome = place.admix(&["check", file.to_str().expect("UTF-8")]).good();
        assert!(outcome.stdout.contains("compiles"), "{}", outcome.stdout);
    }
}

#[test]
fn every_plugin_is_listed_and_explained() {
    let place = Place::new();
    let outcome = place.admix(&["plugins", "--format", "json"]).good();
    let listed: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("JSON");
    let name = |entry: &Value| {
        (entry["kind"].as_str().expect("a kind").into(), entry["name"].as_str().expect("a name").into())
    };
    let names: Vec<(String, String)> = listed.iter().map(name).collect();
    let of_kind =
        |kind: &str| names.iter().filter(|(own, _)| own == kind).map(|(_, name)| name.as_str()).collect();
    let mixers: Vec<&str> = of_kind("mixer");
    assert_eq!(
        mixers,
        [
            "amix",
            "automix",
            "choice",
            "co_mixup",
            "cutmix",
            "fmix",
            "inter_intra",
            "manifoldmix",
            "mixup",
            "plain",
            "puzzlemix",
            "resizemix",
            "saliencymix",
            "script"
        ]
    );
    let losses: Vec<&str> = of_kind("loss");
    let wanted = [
        "bce",
        "cross_entropy",
        "decoupled_mixup",
        "info_nce",
        "mask",
        "mixup_cross_entropy",
        "pbce",
        "script",
    ];
    assert_eq!(losses, wanted);
    let text = place.admix(&["plugins"]).good().stdout;
    assert_eq!(text.lines().count(), names.len());
    for (entry, (kind, name)) in listed.iter().zip(&names) {
        let outcome = place.admix(&["plugins", name]).good();
        let heading = format!("{kind} {name}: ");
        assert!(outcome.stdout.lines().any(|line| line.starts_with(&heading)), "{}", outcome.stdout);
        let in_recipes = entry["in_recipes"].as_str().expect("a name");
        for part in ["source:", "origin:", "needs:", "in a recipe:", &format!("{in_recipes}(")] {
            if !["mixer", "loss"].contains(&kind.as_str()) && (part == "needs:" || part.ends_with('(')) {
                continue;
            }
            assert!(outcome.stdout.contains(part), "{part}: {}", outcome.stdout);
        }
    }
}

#[test]
fn admix_backbones_is_short_for_the_listing_of_that_kind() {
    let place = Place::new();
    for more in [&[][..], &["ResNet"], &["convnet", "--format", "json"]] {
        let short = place.admix(&[&["backbones"], more].concat()).good().stdout;
        assert_eq!(short, place.admix(&[&["plugins", "backbone"], more].concat()).good().stdout, "{more:?}");
    }
    let told = place.admix(&["backbones", "resnet"]).good().stdout;
    for part in ["parameters: ", "11,689,512", "depth: 18", "stem: Small", "model: ResNet(depth: 18),"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
