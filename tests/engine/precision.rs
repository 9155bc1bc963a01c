//! Steps in bf16 and with the channels innermost in memory, beside the same ones without.

use admix_engine::{Precision, Session, StepOptions, StepReport, bundled as scripts, evaluate};
use admix_torch::{Kind, Tensor, is_channels_last};

use super::toy::Toy;
use super::{AMIX, batch, differing, session};
use crate::program::recipes::bundled;

fn detail() -> StepOptions {
    StepOptions { detail: true, ..StepOptions::default() }
}

fn step(toy: &mut Toy, precision: Precision) -> StepReport {
    let batch = toy.batch(0);
    toy.session.set_precision(precision);
    toy.session.step_with(vec![batch], &detail()).expect("a step")
}

fn is_float32(tensor: &Tensor) -> bool {
    tensor.kind() == Kind::Float
}

#[test]
fn every_recipe_steps_in_bf16_with_losses_masks_and_state_in_float32() {
    for (name, _, text) in bundled().into_iter().filter(|(name, ..)| name.starts_with("cifar10/r18/")) {
        let (mut full, mut low) = (Toy::new(&name, &text, &[]), Toy::new(&name, &text, &[]));
        let (wanted, got) = (step(&mut full, Precision::Fp32), step(&mut low, Precision::Bf16));
        assert_eq!(wanted.losses.len(), got.losses.len());
        for ((term, a), (_, b)) in wanted.losses.iter().zip(&got.losses) {
            assert!(is_float32(b), "{name} {term}");
            let (a, b) = (a.double_value(&[]), b.double_value(&[]));
            assert!((a - b).abs() < 0.05 * a.abs().max(1.0), "{name} {term}: {a} and {b}");
        }
        assert_eq!(got.found_inf.map(|flag| flag.double_value(&[])), Some(0.0), "{name}");
        assert!(got.mixes.values().filter_map(|mix| mix.mask.as_ref()).all(is_float32), "{name}");
        assert!(got.gradients.values().all(is_float32), "{name}");
        for (tensor, value) in low.session.tensors() {
            assert!(matches!(value.kind(), Kind::Float | Kind::Int64), "{name} {tensor}: {:?}", value.kind());
        }
        // It is another computation, not the same one under another name.
        assert_ne!(differing(&full.session.tensors(), &low.session.tensors()), [""; 0], "{name}");
    }
}

fn amix() -> Session {
    let (script, _) = scripts::script("amix").expect("the bundled script");
    session(AMIX, script, 4).expect("a session")
}

#[test]
fn gradients_in_bf16_point_where_those_in_float32_do() {
    let gradients = |precision| {
        let mut session = amix();
        session.set_precision(precision);
        session.step_with(vec![batch(0, 8)], &detail()).expect("a step").gradients
    };
    let (full, low) = (gradients(Precision::Fp32), gradients(Precision::Bf16));
    for (name, wanted) in &full {
        let (a, b) = (wanted.flatten(0, -1), low[name].flatten(0, -1));
        let along = (&a * &b).sum(Kind::Double).double_value(&[]);
        let lengths = a.norm().double_value(&[]) * b.norm().double_value(&[]);
        assert!(lengths == 0.0 || along / lengths > 0.95, "{name}: {}", along / lengths);
    }
}

#[test]
fn a_test_set_is_measured_in_the_precision_of_the_run() {
    let (name, _, text) =
        bundled().into_iter().find(|(name, ..)| name == "cifar10/r18/amix").expect("the recipe");
    let measure = |precision| {
        let mut toy = Toy::new(&name, &text, &[]);
        toy.session.set_precision(precision);
        evaluate(&mut toy.session, &toy.dataset, &toy.recipe, None).expect("accuracies")
    };
    let (full, low) = (measure(Precision::Fp32), measure(Precision::Bf16));
    for (head, wanted) in &full {
        let got = &low[head];
        assert!(got.loss != wanted.loss, "{head} was measured in fp32");
        assert!((got.loss - wanted.loss).abs() < 0.05 * wanted.loss, "{head}: {got:?}, {wanted:?}");
    }
}

#[test]
fn channels_innermost_change_no_value_but_the_order_in_memory() {
    let (mut plain, mut last) = (amix(), amix());
    plain.set_channels_last(false).expect("another order");
    for number in 0..3 {
        let options = detail();
        let a = plain.step_with(vec![batch(number, 8)], &options).expect("a step");
        let b = last.step_with(vec![batch(number, 8)], &options).expect("a step");
        for ((term, a), (_, b)) in a.losses.iter().zip(&b.losses) {
            let (a, b) = (a.double_value(&[]), b.double_value(&[]));
            assert!((a - b).abs() < 1e-4 * a.abs().max(1.0), "step {number}, {term}: {a} and {b}");
        }
    }
    let kernels = |session: &Session| -> Vec<(String, Tensor)> {
        let large = |tensor: &Tensor| tensor.dim() == 4 && tensor.size()[1] > 1 && tensor.size()[2] > 1;
        session.tensors().into_iter().filter(|(_, tensor)| large(tensor)).collect()
    };
    let (of_plain, of_last) = (kernels(&plain), kernels(&last));
    assert!(of_last.iter().any(|(name, _)| name.starts_with("optimizer.momentum.net.q")));
    for ((name, a), (_, b)) in of_plain.iter().zip(&of_last) {
        assert!(is_channels_last(b) && !is_channels_last(a), "{name}");
        assert!((a - b).abs().max().double_value(&[]) < 1e-3, "{name}");
    }
    // A state of one order is a state of the other.
    let mut again = amix();
    again.load(&plain.tensors()).expect("the same names and shapes");
    assert_eq!(differing(&plain.tensors(), &again.tensors()), [""; 0]);
    assert!(kernels(&again).iter().all(|(_, tensor)| is_channels_last(tensor)));
}
