use super::*;
use crate::mixers::co_mixup::solve::{BeliefPropagation, Both, Swap};
use admix_api::Streams;

const WEIGHTS: Weights =
    Weights { beta: 0.32, gamma: 1.0, tau: 0.83, penalty: Penalty::Hard, pairs: PairForm::Distance };

fn part(inputs: usize, blocks: usize, penalty: Penalty) -> Part {
    Part {
        inputs,
        blocks,
        unary: vec![0.0; blocks * blocks * inputs],
        compatibility: compatibility(&vec![0.0; inputs * inputs], inputs, 0.0),
        weights: Weights { penalty, ..WEIGHTS },
    }
}

#[test]
fn the_penalty_sets_in_above_the_threshold() {
    // 3.32 cells of a grid of four.
    let others = [3.0, 3.5, 8.0];
    let found =
        |penalty, compatibility: Vec<f64>| Part { compatibility, ..part(3, 2, penalty) }.penalty(&others);
    let alone = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    // 2 gamma / 4 of what is used.
    assert_eq!(found(Penalty::Hard, alone.clone()), [0.0, 1.75, 4.0]);
    assert_eq!(found(Penalty::HardColumns, alone.clone()), [0.0, 1.75, 4.0]);
    for (found, wanted) in found(Penalty::Soft, alone).into_iter().zip([0.0, 0.09, 2.34]) {
        assert!((found - wanted).abs() < 1e-9, "{found} where {wanted} is expected");
    }
    // The first input suffers from the use of the last, which counts by half.
    let mixed = vec![1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0, 0.5, 0.0];
    assert_eq!(found(Penalty::Hard, mixed.clone()), [3.5, 1.75, 0.0]);
    // A hard penalty in the code's form leaves out columns, not rows: the last is below, the first is not.
    assert_eq!(found(Penalty::HardColumns, mixed), [1.5, 1.75, 0.875]);
}

#[test]
fn distances_are_scaled_to_the_number_of_inputs() {
    let found = compatibility(&[0.0, 3.0, 3.0, 0.0], 2, 0.1);
    assert_eq!(found, [0.9, 0.1, 0.1, 0.9]);
    assert_eq!(compatibility(&[0.0; 4], 2, 0.25), [0.75, 0.0, 0.0, 0.75]);
}

#[test]
fn pair_labels_are_of_the_inputs_that_are_used_most() {
    assert!(pairs_of(&[0.0, 4.0, 0.0]).is_empty());
    assert_eq!(pairs_of(&[0.5, 0.0, 3.5]), [[0, 2]]);
    assert_eq!(pairs_of(&[1.0, 2.0, 0.5, 0.5]), [[0, 1], [0, 2], [1, 2]]);
    assert_eq!(pairs_of(&[1.0, 2.0, 0.5, 3.0, 0.0]), [[0, 1], [0, 3], [1, 3]]);
}

#[test]
fn outputs_of_the_same_inputs_are_parted_but_not_those_of_one_input() {
    let counts = [[2.0, 2.0, 0.0], [0.0, 4.0, 0.0], [3.5, 0.5, 0.0], [0.0, 4.0, 0.0]].map(Vec::from);
    let mut four: Vec<Vec<f64>> = counts.iter().map(|of| [&of[..], &[0.0]].concat()).collect();
    assert_eq!(
        parting(&four),
        [[1.0, 0.0, 0.0, 0.0], [0.0; 4], [0.0, 1.0, 0.0, 0.0], [0.0; 4]].map(Vec::from)
    );
    four[2][3] = 1.0;
    assert_eq!(parting(&four), vec![vec![0.0; 4]; 4]);
}

#[test]
fn the_objective_counts_gain_smoothness_and_what_outputs_share() {
    let mut part = part(2, 2, Penalty::Hard);
    part.unary = vec![-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0];
    // Both outputs: input 0 above, half and half below left, input 1 below right.
    let shown = [[0, 0], [0, 0], [0, 1], [1, 1]];
    let assignment = Assignment::new(2, [shown, shown].concat());
    assert_eq!(assignment.counts(0), [2.5, 1.5]);
    let gain = -1.0 - 3.0 - 5.5 - 8.0;
    // Edges: 0 right, 1/4 right below, 1/4 and 1 down.
    let smooth = 0.32 / 4.0 * 1.5;
    let shared = (2.5 * 2.5 + 1.5 * 1.5) / 4.0;
    let wanted = 2.0 * (gain + smooth + shared);
    assert!((part.objective(&assignment) - wanted).abs() < 1e-9);
    // Nothing is above 3.32 cells.
    let wanted = 2.0 * (gain + smooth);
    assert!((part.thresholded(&assignment) - wanted).abs() < 1e-9);
    part.weights.tau = 0.5;
    let wanted = 2.0 * (gain + smooth + 2.5 * 2.5 / 4.0);
    assert!((part.thresholded(&assignment) - wanted).abs() < 1e-9);
}

#[test]
fn costs_of_pair_labels_are_half_of_the_squared_distance_of_shares() {
    let pairs = [[0, 2], [0, 3], [1, 4]];
    let costs = PairCosts::with_pairs(5, &pairs, PairForm::Distance);
    let shown = |label: usize| label.checked_sub(5).map_or([label; 2], |pair| pairs[pair]);
    for (one, other) in (0..8).flat_map(|one| (0..8).map(move |other| (one, other))) {
        assert_eq!(costs.between(one, other), distance(shown(one), shown(other)), "{one} and {other}");
    }
}

/// A part of random saliency, and a start.
pub(in crate::mixers::co_mixup) fn random(inputs: usize, blocks: usize, number: u64) -> (Part, Assignment) {
    let mut draws = Streams::new(4).draws("test", "part", inputs as u64, number);
    let cells = blocks * blocks;
    let mut saliency = Vec::new();
    for _ in 0..inputs {
        let shares: Vec<f64> = (0..cells).map(|_| draws.normal().exp()).collect();
        saliency.extend(shares.iter().map(|share| share / shares.iter().sum::<f64>()));
    }
    let prior = draws.dirichlet(2.0, inputs).unwrap();
    let start: Vec<usize> = (0..inputs * cells).map(|_| draws.below(inputs)).collect();
    let part = Part { unary: unary(&saliency, &prior, 0.05), ..part(inputs, blocks, Penalty::Hard) };
    (part, Assignment::of_inputs(inputs, &start))
}

#[test]
fn the_search_lowers_the_objective_and_uses_inputs_evenly() {
    for (inputs, blocks) in [(20, 4), (7, 4), (2, 4), (3, 2), (6, 8)] {
        for solver in [&BeliefPropagation::default() as &dyn Solve, &Swap, &Both] {
            let search = Search { sweeps: 4, resolve: true, solver };
            let mut lowered = 0.0;
            for number in 0..5 {
                let (part, start) = random(inputs, blocks, number);
                let found = part.search(start.clone(), &search);
                lowered += part.thresholded(&start) - part.thresholded(&found);
                let cells = (blocks * blocks) as f64;
                let all: Vec<f64> = (0..inputs)
                    .map(|input| (0..inputs).map(|output| found.counts(output)[input]).sum::<f64>() / cells)
                    .collect();
                assert!((all.iter().sum::<f64>() - inputs as f64).abs() < 1e-9);
                assert!(all.iter().all(|used| *used < 3.0), "{solver:?}, {inputs} inputs: {all:?}");
            }
            assert!(lowered > 0.0, "{solver:?}, {inputs} inputs");
        }
    }
}

#[test]
fn a_part_of_one_input_shows_it_everywhere() {
    let (part, start) = random(1, 4, 0);
    let found = part.search(start, &Search { sweeps: 4, resolve: true, solver: &Both });
    assert_eq!(found.cells(), [[0, 0]; 16]);
}
