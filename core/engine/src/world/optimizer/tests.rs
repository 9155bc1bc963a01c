//! Rules by layer and clipping, against the formulas of PyTorch in float64.

use admix_api::contract::wild;

use super::*;
use crate::optimizers::{AdamW, Sgd};

/// A parameter in float64 with the moments of AdamW.
struct Reference {
    values: Vec<f64>,
    moments: [Vec<f64>; 2],
    rate: f64,
    decay: f64,
}

const SHAPES: [&[i64]; 3] = [&[4, 3], &[4], &[2, 3, 2, 2]];
const RATES: [f64; 3] = [1.0, 0.75, 0.5625];

fn gradient(place: usize, step: usize) -> Tensor {
    wild(SHAPES[place], 0.1 * place as f64 + step as f64, Kind::Float) * 3.0
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).reshape([-1])).expect("numbers")
}

fn optimizer(
    config: &dyn OptimizerConfig,
    rules: Rules,
    rates: [f64; 3],
) -> Result<(Optimizer, Vec<Tensor>)> {
    let groups = vec![Group::new("net", config.lr(), 0.0, None)];
    let mut optimizer = Optimizer::new(config, groups, rules, Device::Cpu)?;
    let mut leaves = Vec::new();
    for (place, shape) in SHAPES.iter().enumerate() {
        let leaf = wild(shape, 7.0 + place as f64, Kind::Float).set_requires_grad(true);
        leaves.push(leaf.shallow_clone());
        optimizer.add(0, format!("p{place}"), leaf, &Hints::default(), rates[place])?;
    }
    Ok((optimizer, leaves))
}

/// Steps with the gradients above; `bad` of them has one that is not finite.
fn run(optimizer: &mut Optimizer, leaves: &[Tensor], steps: usize, bad: Option<usize>) -> Result<()> {
    for step in 0..steps {
        for (place, leaf) in leaves.iter().enumerate() {
            let mut gradient = gradient(place, step);
            if bad == Some(step) && place == 1 {
                let _ = gradient.fill_(f64::INFINITY);
            }
            admix_torch::backward(&(leaf * gradient).sum(Kind::Float))?;
        }
        optimizer.step(&Tensor::zeros([0i64; 0], (Kind::Float, Device::Cpu)))?;
        optimizer.clear()?;
    }
    Ok(())
}

#[test]
fn clipped_adamw_with_rules_by_layer_is_that_of_the_formulas() -> Result<()> {
    let config = AdamW { lr: 0.01, weight_decay: 0.3, ..AdamW::default() };
    let rules = Rules { decay_vectors: false, clip_norm: Some(1.5) };
    let (mut optimizer, leaves) = optimizer(&config, rules, RATES)?;
    let mut wanted: Vec<Reference> = (0..3)
        .map(|place| {
            let values = values(&leaves[place].detach());
            let zeros = vec![0.0; values.len()];
            let decay = if SHAPES[place].len() > 1 { 0.3 } else { 0.0 };
            Reference { values, moments: [zeros.clone(), zeros], rate: 0.01 * RATES[place], decay }
        })
        .collect();
    run(&mut optimizer, &leaves, 4, None)?;
    for step in 0..4 {
        let gradients: Vec<Vec<f64>> = (0..3).map(|place| values(&gradient(place, step))).collect();
        let norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        assert!(norm > 1.5, "the limit bites");
        let factor = (1.5 / (norm + 1e-6)).min(1.0);
        let (first, second) = (1.0 - 0.9f64.powi(step as i32 + 1), 1.0 - 0.999f64.powi(step as i32 + 1));
        for (own, gradients) in wanted.iter_mut().zip(&gradients) {
            let [m, v] = &mut own.moments;
            for (at, g) in gradients.iter().map(|g| g * factor).enumerate() {
                m[at] = 0.9 * m[at] + 0.1 * g;
                v[at] = 0.999 * v[at] + 0.001 * g * g;
                let shrunk = own.values[at] * (1.0 - own.rate * own.decay);
                own.values[at] = shrunk - own.rate * (m[at] / first) / ((v[at] / second).sqrt() + 1e-8);
            }
        }
    }
    for (leaf, wanted) in leaves.iter().zip(&wanted) {
        for (got, wanted) in values(&leaf.detach()).iter().zip(&wanted.values) {
            assert!((got - wanted).abs() < 2e-6, "{got} and {wanted}");
        }
    }
    Ok(())
}

#[test]
fn a_bad_step_changes_nothing_where_gradients_are_clipped() -> Result<()> {
    let config = Sgd::default();
    let rules = Rules { clip_norm: Some(0.5), ..Rules::default() };
    let (mut skipping, leaves) = optimizer(&config, rules, RATES)?;
    run(&mut skipping, &leaves, 1, None)?;
    let before: Vec<Tensor> = leaves.iter().map(|leaf| leaf.detach().copy()).collect();
    let state: Vec<Tensor> = skipping.tensors().iter().map(|(_, tensor)| tensor.copy()).collect();
    run(&mut skipping, &leaves, 1, Some(0))?;
    assert!(leaves.iter().zip(&before).all(|(now, was)| now.detach() == *was));
    assert!(skipping.tensors().iter().zip(&state).all(|((_, now), was)| now == was));
    Ok(())
}

#[test]
fn rules_that_are_off_change_no_bit() -> Result<()> {
    let config = Sgd::default();
    let wide = Rules { clip_norm: Some(1e6), ..Rules::default() };
    let [(mut plain, one), (mut ruled, other)] =
        [optimizer(&config, Rules::default(), [1.0; 3])?, optimizer(&config, wide, [1.0; 3])?];
    run(&mut plain, &one, 3, None)?;
    run(&mut ruled, &other, 3, None)?;
    assert_eq!(one, other);
    Ok(())
}
