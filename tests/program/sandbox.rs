//! Scripts that would not come to an end, and signals that end what does not end itself.

use std::fs;

use admix_engine::Checkpoint;
use admix_torch::Device;

use super::Place;

const RECIPE: &str = r#"(
    epochs: 2, batch: 8,
    data: (name: "toy", crop: None, toy: (train: 16, test: 8, classes: 4, size: 8)),
    model: ConvNet(widths: [8, 8, 8], strides: [2, 1, 1]),
    method: "own.rhai",
    mixers: {"mix": Script("mix.rhai")}, losses: {"own": Script("loss.rhai")},
    optimizer: Sgd(lr: 0.05),
)"#;

/// What a function begins with, functions beside it, and parts of the message.
fn hostile() -> Vec<(String, &'static str, &'static [&'static str])> {
    let cases: String = (0..200_000).map(|case| format!("{case} => 0, ")).collect();
    vec![
        ("sleep(3600);".into(), "", &["rhai:1:", "no verb or function named `sleep`"]),
        ("sleep(1e30);".into(), "", &["rhai:1:", "no verb or function named `sleep`"]),
        ("exit(0);".into(), "", &["rhai:1:", "no verb or function named `exit`"]),
        (
            "many().for_each(|a| many().for_each(|b| many().for_each(|c| 0)));".into(),
            "fn many() { let all = []; all.pad(10000, 0); all }",
            &["rhai:", "more than 1000000 operations", "a loop that does not end"],
        ),
        (
            "let f = Fn(\"g\"); for i in 0..100000 { f = f.curry(f); }".into(),
            "fn g() { 0 }",
            &["rhai:1:", "`curry` is not part of this language"],
        ),
        (format!("switch 1 {{ {cases} _ => 0 }};"), "", &["rhai: the script has", "at most 65536"]),
        (
            "let a = []; for i in 0..500 { a = [[[[[[a]]]]]]; } let text = a.to_string();".into(),
            "",
            &["rhai:1:", "of the stack", "many levels deep"],
        ),
        (
            "let a = []; for i in 0..500 { a = [[[[[[a]]]]]]; } let b = a; let same = a == b;".into(),
            "",
            &["rhai:1:", "of the stack", "many levels deep"],
        ),
        (
            "let a = []; for i in 0..100 { a = [[[[[[a]]]]]]; } throw a;".into(),
            "",
            &["rhai:1:", "`throw` takes a text"],
        ),
        (
            "let s = \"abcd\"; loop { s += s; }".into(),
            "",
            &["rhai:1:", "a text has at most 10000 characters"],
        ),
        ("loop { }".into(), "", &["rhai:1:", "more than 1000000 operations"]),
        ("loop { try { loop { } } catch { } }".into(), "", &["rhai:1:", "more than 1000000 operations"]),
        ("again();".into(), "fn again() { again() }", &["rhai:", "a recursion that does not end"]),
        ("let a = []; a.pad(1000000000000, 0);".into(), "", &["rhai:1:", "an array 10000 elements"]),
        ("let a = [0]; loop { a += a; }".into(), "", &["rhai:1:", "an array 10000 elements"]),
    ]
}

/// A folder with a method, a mixer and a loss, which one begins with this.
fn place(kind: &str, begins: &str, beside: &str) -> Place {
    let place = Place::new();
    place.write("r.ron", RECIPE);
    let part = |of: &str| if of == kind { (begins, beside) } else { ("", "") };
    let (own, more) = part("method");
    place.write(
        "own.rhai",
        format!(
            "fn step(t) {{ {own} let m = t.quiet(\"mix\", #{{ as: \"mix\", images: t.images }}); \
             t.learn(#{{ loss: t.loss(\"own\", t.pass(\"q\", m).logits(\"one\"), m.target(t.labels)) }}); }}\n\
             fn weights(t) {{ #{{ loss: 1.0 }} }}\n{more}\n"
        ),
    );
    let (own, more) = part("mixer");
    place.write("mix.rhai", format!("fn mix(m) {{ {own} #{{ images: m.images }} }}\n{more}\n"));
    let (own, more) = part("loss");
    place.write(
        "loss.rhai",
        format!("fn loss(l) {{ {own} -mean(gather(log_softmax(l.logits, 1), l.labels, 1)) }}\n{more}\n"),
    );
    place
}

#[test]
fn a_script_that_would_not_end_is_one_error_of_check() {
    for (kind, file) in [("method", "own."), ("mixer", "mix."), ("loss", "loss.")] {
        place(kind, "", "").compute(&["check", "r.ron"]).good();
        for (begins, beside, parts) in hostile() {
            place(kind, &begins, beside).compute(&["check", "r.ron"]).refused(2, &[&[file], parts].concat());
        }
    }
}

#[test]
fn a_script_of_a_checkpoint_that_would_not_end_is_one_error_of_eval() {
    let place = place("none", "", "");
    place.compute(&["run", "r.ron", "--out", "run", "--max-steps", "1"]).good();
    let files = super::files_below(&place.path("run/checkpoints"));
    let file = files.first().expect("a checkpoint");
    let whole = Checkpoint::read(file, Device::Cpu).expect("a checkpoint");
    for (begins, beside, parts) in hostile() {
        let more = format!("fn params() {{ {begins} #{{ }} }} {beside} ");
        for of_mixer in [false, true] {
            let mut header = whole.header.clone();
            let script = if of_mixer { &mut header.scripts[0].text } else { &mut header.script };
            *script = format!("{more}{script}");
            let path = place.path("bad.safetensors");
            let _ = fs::remove_file(&path);
            Checkpoint::write(&path, header, &whole.tensors).expect("written");
            place.compute(&["eval", "bad.safetensors"]).refused(2, parts);
        }
    }
}
