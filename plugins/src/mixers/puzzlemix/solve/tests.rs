use super::*;
use crate::mixers::puzzlemix::grid::largest_divisor;
use admix_api::contract::wild;

/// Random problems: costs of any size and shape beside weights of any size, some of them 0.
fn random(n: i64, b: i64, labels: i64, seed: f64, kind: Kind) -> Problem {
    let line = Tensor::arange(labels, (Kind::Double, Device::Cpu)) / (labels - 1) as f64;
    let slope = wild(&[n, b, b, 1], seed, Kind::Double);
    let noise = wild(&[n, b, b, labels], seed + 0.1, Kind::Double) * 0.2;
    let weight = |shape: [i64; 3], seed: f64| (wild(&shape, seed, Kind::Double) * 0.8).clamp_min(0.0);
    Problem {
        unary: (slope * line + noise).to_kind(kind),
        vertical: weight([n, b - 1, b], seed + 0.2).to_kind(kind),
        horizontal: weight([n, b, b - 1], seed + 0.3).to_kind(kind),
    }
}

/// The lowest energy of any labels: all of them are tried.
fn lowest(problem: &Problem) -> Tensor {
    let (_, b, labels) = problem.shape().unwrap();
    let cells = b * b;
    let all = (0..labels.pow(cells as u32)).map(|code| {
        let digits: Vec<i64> = (0..cells).map(|i| code / labels.pow(i as u32) % labels).collect();
        let labels =
            Tensor::from_slice(&digits).reshape([1, b, b]).expand([problem.unary.size()[0], b, b], false);
        problem.energy(&labels).unwrap()
    });
    Tensor::stack(&all.collect::<Vec<_>>(), 0).amin([0i64].as_slice(), false)
}

fn furthest(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn the_energy_counts_cells_and_both_directions_of_edges() {
    let problem = Problem {
        unary: Tensor::arange(12, (Kind::Double, Device::Cpu)).reshape([1, 2, 2, 3]),
        vertical: Tensor::from_slice(&[10.0, 20.0]).reshape([1, 1, 2]),
        horizontal: Tensor::from_slice(&[100.0, 400.0]).reshape([1, 2, 1]),
    };
    // Labels 0 2 / 1 1: unary 0 + 5 + 7 + 10; down 10 / 4 and 20 / 4; right 100 * 4 / 4 and 0.
    let labels = Tensor::from_slice(&[0i64, 2, 1, 1]).reshape([1, 2, 2]);
    assert_eq!(problem.energy(&labels).unwrap().double_value(&[0]), 22.0 + 7.5 + 100.0);
}

#[test]
fn exact_solvers_find_the_lowest_of_all_labels() {
    for (b, labels) in [(2, 2), (2, 3), (2, 4), (3, 2)] {
        let problem = random(20, b, labels, b as f64 + labels as f64, Kind::Double);
        let wanted = lowest(&problem);
        for solver in [&Profile as &dyn Solve, &MinCut] {
            let found = solver.solve(&problem).unwrap();
            assert!(
                furthest(&problem.energy(&found).unwrap(), &wanted) < 1e-9,
                "{solver:?}, b {b}, L {labels}"
            );
        }
    }
}

#[test]
fn dynamic_programming_and_the_minimum_cut_agree() {
    for (n, b, labels) in [(200, 2, 3), (200, 4, 3), (60, 4, 4), (60, 5, 2), (8, 8, 3)] {
        let problem = random(n, b, labels, 7.0 + b as f64, Kind::Double);
        let (one, other) = (Profile.solve(&problem).unwrap(), MinCut.solve(&problem).unwrap());
        assert!(one.equal(&other), "b {b}, L {labels}: {}", one.ne_tensor(&other).sum(Kind::Int64));
        // Labels of every kind, or there would be nothing to agree on.
        for l in 0..labels {
            assert!(one.eq(l).any().int64_value(&[]) == 1, "b {b}: no label {l}");
        }
    }
}

#[test]
fn icm_is_near_the_optimum_and_never_below_it() {
    for (n, b, labels) in [(200, 2, 3), (200, 4, 3), (40, 4, 2), (40, 4, 4), (30, 8, 3), (12, 16, 3)] {
        let problem = random(n, b, labels, 3.0 + b as f64, Kind::Float);
        let exact = problem.energy(&MinCut.solve(&problem).unwrap()).unwrap();
        let found = problem.energy(&Icm::default().solve(&problem).unwrap()).unwrap();
        // The mean over random labels: one of them may be the optimum.
        let any = (0..10).map(|i| {
            let labels = (wild(&[n, b, b], 0.7 + f64::from(i), Kind::Double).abs() * labels as f64).floor();
            problem.energy(&labels.to_kind(Kind::Int64)).unwrap()
        });
        let any = Tensor::stack(&any.collect::<Vec<_>>(), 0).mean_dim([0i64].as_slice(), false, None);
        let gap = (&found - &exact) / (any - &exact);
        let (low, mean, most) = (
            gap.min().double_value(&[]),
            gap.mean(Kind::Double).double_value(&[]),
            gap.max().double_value(&[]),
        );
        assert!(low >= -1e-5, "b {b}, L {labels}: below the optimum by {low}");
        assert!(mean <= 5e-4 && most <= 0.02, "b {b}, L {labels}: mean {mean}, at most {most}");
    }
}

#[test]
fn without_iterations_the_gap_is_seen() {
    let problem = random(30, 8, 3, 11.0, Kind::Float);
    let exact = problem.energy(&MinCut.solve(&problem).unwrap()).unwrap();
    let found = problem.energy(&Icm { iterations: 1, sweeps: 0 }.solve(&problem).unwrap()).unwrap();
    assert!((found - exact).mean(Kind::Double).double_value(&[]) > 0.05);
}

#[test]
fn solvers_take_one_sample_and_grids_of_equal_costs() {
    let flat = Problem {
        unary: Tensor::zeros([1, 2, 2, 3], (Kind::Float, Device::Cpu)),
        vertical: Tensor::zeros([1, 1, 2], (Kind::Float, Device::Cpu)),
        horizontal: Tensor::zeros([1, 2, 1], (Kind::Float, Device::Cpu)),
    };
    for solver in [&Profile as &dyn Solve, &MinCut, &Icm::default()] {
        let found = solver.solve(&flat).unwrap();
        assert_eq!((found.size(), found.kind()), (vec![1, 2, 2], Kind::Int64), "{solver:?}");
        assert!(found.ge(0).logical_and(&found.le(2)).all().int64_value(&[]) == 1);
    }
    let large = random(1, 16, 3, 0.0, Kind::Float);
    let message = Profile.solve(&large).unwrap_err().to_string();
    assert!(message.contains("16 x 16") && message.contains("6561"), "{message}");
}

#[test]
fn divisors_are_the_largest_below_a_limit() {
    for (whole, limit, wanted) in [(14, 4, 2), (16, 4, 4), (7, 4, 1), (2, 4, 2), (6, 4, 3), (5, 0, 1)] {
        assert_eq!(largest_divisor(whole, limit), wanted, "{whole}, {limit}");
    }
}
