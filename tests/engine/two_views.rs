//! Methods on two views without a queue: their losses against the formulas, written out in float64.

use admix_engine::{Execution, Session, StepOptions};
use admix_models::Pass;
use admix_torch::{Kind, Tensor};

use super::capture::{bundled_session, two_views};

/// The embeddings of images by a network in train mode, float64.
fn embedded(session: &Session, net: &str, images: &Tensor) -> Tensor {
    let world = session.world();
    let net = world.nets.iter().find(|own| own.name == net).expect("a network");
    let map = net.network.backbone().forward(images, &Pass::TRAIN).expect("a pass");
    net.network.embed(&map, true).expect("embeddings").to_kind(Kind::Double)
}

fn predicted(session: &Session, z: &Tensor) -> Tensor {
    let told = session.world().heads[0].forward(&z.to_kind(Kind::Float), true).expect("predictions");
    told.to_kind(Kind::Double)
}

fn cosine(a: &Tensor, b: &Tensor) -> Tensor {
    let lengths =
        (a * a).sum_dim_intlist(1i64, false, None).sqrt() * (b * b).sum_dim_intlist(1i64, false, None).sqrt();
    (a * b).sum_dim_intlist(1i64, false, None) / lengths
}

/// The loss of the bundled method's first step, and that of the formula.
fn both(method: &str, formula: impl Fn(&Session, [Tensor; 2]) -> f64) -> (f64, f64) {
    let step = |execution: Execution| {
        let options = StepOptions { execution, ..StepOptions::default() };
        let report = bundled_session(method).step_with(two_views(0), &options).expect("a step");
        report.losses[0].1.double_value(&[])
    };
    let found = step(Execution::Direct);
    assert_eq!(found, step(Execution::Recorded));
    let _guard = admix_torch::no_grad();
    let views = two_views(0).remove(0).views.iter().map(Tensor::copy).collect::<Vec<_>>();
    let views: [Tensor; 2] = views.try_into().expect("two views");
    (found, formula(&bundled_session(method), views))
}

#[track_caller]
fn close((found, wanted): (f64, f64)) {
    assert!((found - wanted).abs() < 1e-4 * (1.0 + wanted.abs()), "{found}, the formula {wanted}");
}

#[test]
fn simclr_is_the_cross_entropy_of_the_other_view_among_all_but_oneself() {
    close(both("simclr", |session, views| {
        let z = embedded(session, "q", &Tensor::cat(&views, 0));
        let z = &z / (&z * &z).sum_dim_intlist(1i64, true, None).sqrt();
        let all = z.size()[0];
        let product = |a: i64, b: i64| (z.get(a) * z.get(b)).sum(None).double_value(&[]) / 0.5;
        let term = |a: i64| {
            let sum: f64 = (0..all).filter(|b| *b != a).map(|b| product(a, b).exp()).sum();
            sum.ln() - product(a, (a + all / 2) % all)
        };
        (0..all).map(term).sum::<f64>() / all as f64
    }));
}

#[test]
fn byol_is_the_squared_distance_of_predictions_to_the_other_networks_embeddings() {
    close(both("byol", |session, [one, two]| {
        let term = |from: &Tensor, to: &Tensor| -> Tensor {
            let guess = predicted(session, &embedded(session, "q", from));
            2.0 - 2.0 * cosine(&guess, &embedded(session, "k", to))
        };
        (term(&one, &two) + term(&two, &one)).mean(None).double_value(&[])
    }));
}

#[test]
fn simsiam_is_minus_the_mean_cosine_of_predictions_and_embeddings() {
    close(both("simsiam", |session, [one, two]| {
        let (one, two) = (embedded(session, "q", &one), embedded(session, "q", &two));
        let term = |from: &Tensor, to: &Tensor| -> Tensor { cosine(&predicted(session, from), to) };
        -0.5 * (term(&one, &two) + term(&two, &one)).mean(None).double_value(&[])
    }));
}

#[test]
fn barlow_twins_pulls_the_cross_correlation_of_features_to_the_identity() {
    close(both("barlow_twins", |session, views| {
        let features = views.map(|view| {
            let z = embedded(session, "q", &view);
            let (variance, mean) = z.var_mean_dim(0i64, false, true);
            (z - mean) / variance.sqrt()
        });
        let samples = features[0].size()[0] as f64;
        let all = features[0].transpose(0, 1).matmul(&features[1]) / samples;
        let width = all.size()[0];
        let term = |i: i64, j: i64| {
            let c = all.double_value(&[i, j]);
            if i == j { (c - 1.0).powi(2) } else { 0.0051 * c * c }
        };
        (0..width * width).map(|at| term(at / width, at % width)).sum()
    }));
}
