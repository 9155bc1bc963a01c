//! Heads that are evaluated: those of networks and those on embeddings.

use super::session;
use super::words::{PLAIN, method};

#[test]
fn a_head_that_is_evaluated_and_never_learned_is_an_error_before_training() {
    let dry = |text: &str, body: &str| {
        let mut session = session(text, &method(body), 4).unwrap_or_else(|error| panic!("{error}"));
        session.dry_run([8, 3], 5, &[(16, 16)]).map(drop).map_err(|error| error.to_string())
    };
    let two = PLAIN.replace(r#"["one"]"#, r#"["one", "two"]"#);
    let message = dry(&two, "").expect_err("`two` is idle");
    assert!(message.contains("the head `two` of `q` is evaluated and never learned"), "{message}");
    // Its logits were asked for in the same pass, and not learned.
    let message = dry(&two, r#"t.pass("q", t.images).logits("two");"#).expect_err("`two` is idle");
    assert!(message.contains("`two`"), "{message}");
    dry(&two, r#"t.freeze("q.head.two");"#).expect("frozen on purpose");
    let late = r#"if t.progress > 0.7 { t.learn(#{ one2: mean(t.pass("q", t.images).logits("two")) }); }"#;
    let script = method(late).replace("one: 1.0 }", "one: 1.0, one2: 1.0 }");
    let mut session = session(&two, &script, 4).expect("a session");
    session.dry_run([8, 3], 5, &[(16, 16)]).expect("it is learned late in the run");
}

#[test]
fn a_head_on_embeddings_is_evaluated_where_the_recipe_says_so() {
    let text = PLAIN.replace("mixers:", r#"embedding_heads: {"online": (evaluate: "q")}, mixers:"#);
    let mut idle = session(&text, &method(""), 4).expect("a session");
    let message = idle.dry_run([8, 3], 5, &[(16, 16)]).expect_err("never learned").to_string();
    assert!(message.contains("the head `online` of `q` is evaluated and never learned"), "{message}");
    let learned = r#"t.learn(#{ two: t.loss("cross_entropy", t.head("online", detach(t.pass("q", t.images).embed())), t.labels) });"#;
    let script = method(learned).replace("one: 1.0 }", "one: 1.0, two: 1.0 }");
    let mut used = session(&text, &script, 4).expect("a session");
    used.dry_run([8, 3], 5, &[(16, 16)]).expect("it is learned");
    let wrong = method(r#"t.head("online", t.images);"#);
    let message = session(&text, &wrong, 4).and_then(|mut s| s.step(super::batch(0, 8))).expect_err("images");
    assert!(message.to_string().contains("the head `online` takes embeddings [N, 16], got"), "{message}");
    for (given, part) in [
        (r#"(evaluate: "k")"#, "is `k`; the networks are `q`"),
        (r#"(evaluate: "q", hidden: 8)"#, "is for linear heads"),
        (r#"(evaluate: "q", out: 7)"#, "is 7, but it is evaluated on data of 5 classes"),
    ] {
        let text = text.replace(r#"(evaluate: "q")"#, given);
        let message = session(&text, &method(""), 4).expect_err(given).to_string();
        assert!(message.contains(part), "{message}");
    }
}
