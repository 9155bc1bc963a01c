use admix_api::Streams;

use super::super::problem::{PairCosts, PairForm};
use super::*;

/// Random problems: costs of cells near those of smoothness.
fn random(blocks: usize, inputs: usize, pairs: &[[usize; 2]], number: u64) -> Problem {
    let mut draws = Streams::new(1).draws("test", "labelling", blocks as u64, number);
    let costs = PairCosts::with_pairs(inputs, pairs, PairForm::Distance);
    let unary = (0..blocks * blocks * costs.labels()).map(|_| draws.normal() * 0.5).collect();
    Problem { blocks, unary, weight: 0.5 * draws.uniform(), costs }
}

/// The lowest energy of any labels: all of them are tried.
fn lowest(problem: &Problem) -> f64 {
    let (labels, cells) = (problem.costs.labels(), problem.blocks * problem.blocks);
    let energy = |code: usize| {
        let digits: Vec<usize> = (0..cells).map(|cell| code / labels.pow(cell as u32) % labels).collect();
        problem.energy(&digits)
    };
    (0..labels.pow(cells as u32)).map(energy).fold(f64::INFINITY, f64::min)
}

const PAIRS: [[usize; 2]; 3] = [[0, 1], [0, 3], [1, 3]];

#[test]
fn the_energy_counts_cells_and_both_directions_of_edges() {
    let problem = Problem {
        blocks: 2,
        // Three inputs and the pair of the first two.
        unary: (0..16).map(f64::from).collect(),
        weight: 10.0,
        costs: PairCosts::with_pairs(3, &[[0, 1]], PairForm::Distance),
    };
    // Input 0, pair / input 2, input 2: cells 0 + 7 + 10 + 14; right 1/4 and 0; down 1 and 3/4.
    assert_eq!(problem.energy(&[0, 3, 2, 2]), 31.0 + 10.0 * 2.0);
    assert_eq!(problem.cheapest(), [0; 4]);
}

#[test]
fn two_labels_are_solved_exactly_by_swap_moves() {
    for number in 0..200 {
        for blocks in [2, 3] {
            let problem = random(blocks, 2, &[], number);
            for solver in [&Swap as &dyn Solve, &Both] {
                let found = problem.energy(&solver.solve(&problem));
                assert!(
                    (found - lowest(&problem)).abs() < 1e-9,
                    "{solver:?}, {blocks} blocks, problem {number}"
                );
            }
        }
    }
}

#[test]
fn without_smoothness_every_solver_takes_the_cheapest_labels() {
    for number in 0..20 {
        let problem = Problem { weight: 0.0, ..random(4, 6, &PAIRS, number) };
        for solver in [&Swap as &dyn Solve, &Both, &BeliefPropagation::default()] {
            assert_eq!(solver.solve(&problem), problem.cheapest(), "{solver:?}, problem {number}");
        }
    }
}

#[test]
fn many_labels_are_solved_nearly_and_never_below_the_optimum() {
    let number = 300;
    for (solver, most_missed) in
        [(&BeliefPropagation::default() as &dyn Solve, 0.05), (&Swap, 0.1), (&Both, 0.02)]
    {
        let mut missed = 0;
        for number in 0..number {
            let problem = random(2, 5, &PAIRS, number);
            let gap = problem.energy(&solver.solve(&problem)) - lowest(&problem);
            assert!(gap > -1e-9, "{solver:?}, problem {number}: below the optimum");
            missed += usize::from(gap > 1e-9);
        }
        assert!(missed as f64 <= most_missed * number as f64, "{solver:?} missed the optimum {missed} times");
    }
}

#[test]
fn both_together_are_never_worse_than_belief_propagation_and_rarely_than_swap_moves() {
    // (lower, higher) than belief propagation and than swap moves from the first label.
    let mut count = [(0, 0); 2];
    for number in 0..200 {
        let problem = random(4, 8, &PAIRS, number);
        let both = problem.energy(&Both.solve(&problem));
        let alone = [&BeliefPropagation::default() as &dyn Solve, &Swap];
        for ((lower, higher), solver) in count.iter_mut().zip(alone) {
            let energy = problem.energy(&solver.solve(&problem));
            *lower += usize::from(both < energy - 1e-9);
            *higher += usize::from(both > energy + 1e-9);
        }
    }
    let [bp, swap] = count;
    assert_eq!(bp.1, 0);
    // Without the labels that no cell can want, swap moves may start elsewhere and end higher; rarely so.
    assert!(swap.0 > 20 && swap.1 <= 2, "{swap:?}");
}

#[test]
fn labels_that_no_cell_can_want_change_nothing() {
    let mut fewer = 0;
    for number in 0..100 {
        let mut problem = random(2, 5, &PAIRS, number);
        // A penalty on two inputs, and so on the pairs of one of them.
        for row in problem.unary.chunks_exact_mut(8) {
            for label in [1, 4, 5, 7] {
                row[label] += 3.0;
            }
        }
        let (pruned, kept) = problem.pruned();
        fewer += usize::from(kept.len() <= 4);
        assert!((lowest(&pruned) - lowest(&problem)).abs() < 1e-9, "problem {number}");
        let labels: Vec<usize> = BeliefPropagation::default().solve(&pruned);
        let labels: Vec<usize> = labels.into_iter().map(|label| kept[label]).collect();
        let plain = BeliefPropagation::default().found(&problem);
        assert_eq!(labels, plain, "problem {number}");
    }
    assert!(fewer > 50, "{fewer}");
}

#[test]
fn messages_are_the_least_over_all_labels() {
    let costs = PairCosts::with_pairs(4, &PAIRS, PairForm::Distance);
    let mut draws = Streams::new(1).draws("test", "messages", 0, 0);
    for _ in 0..50 {
        let given: Vec<f64> = (0..7).map(|_| draws.normal()).collect();
        let mut found = vec![0.0; 7];
        costs.least(&given, 0.7, &mut found);
        for (label, found) in found.into_iter().enumerate() {
            let each = given.iter().enumerate().map(|(other, cost)| cost + 0.7 * costs.between(label, other));
            assert!((found - each.fold(f64::INFINITY, f64::min)).abs() < 1e-12, "label {label}");
        }
    }
}

#[test]
fn costs_that_are_no_numbers_give_some_labels() {
    for cost in [f64::NAN, f64::INFINITY, 0.0] {
        let problem = Problem { unary: vec![cost; 4 * 7], ..random(2, 4, &PAIRS, 0) };
        for solver in [&Swap as &dyn Solve, &Both, &BeliefPropagation::default()] {
            let labels = solver.solve(&problem);
            assert!(labels.len() == 4 && labels.iter().all(|label| *label < 7), "{solver:?} of {cost}");
        }
    }
}
