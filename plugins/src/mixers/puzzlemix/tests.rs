use super::*;
use crate::mixers::puzzlemix::Problem;
use admix_api::contract::wild;

fn plan(blocks: i64, lambda: f64, partner: &[i64]) -> Plan {
    Plan::given(lambda, partner).with("blocks", Value::Ints((0..blocks).collect()))
}

fn mix(mixer: &PuzzleMix, images: &Tensor, saliency: &Tensor, plan: &Plan) -> Result<Mixed> {
    let input = MixInput { saliency: Some(saliency), ..MixInput::of(images) };
    mixer.clone().mix(&input, &plan.on(Device::Cpu).unwrap())
}

/// Saliency in one pixel of each of two images.
fn peaks(first: (i64, i64), second: (i64, i64)) -> Tensor {
    let saliency = Tensor::full([2, 8, 8], 1e-3, (Kind::Float, Device::Cpu));
    for (i, (row, column)) in [first, second].into_iter().enumerate() {
        let _ = saliency.get(i as i64).get(row).get(column).fill_(1.0);
    }
    saliency
}

#[test]
fn each_image_keeps_the_block_that_is_salient_in_it_alone() {
    let images = wild(&[2, 3, 8, 8], 0.2, Kind::Float);
    let saliency = peaks((0, 0), (7, 7));
    let mixer = PuzzleMix { transport: false, ..PuzzleMix::default() };
    let mixed = mix(&mixer, &images, &saliency, &plan(2, 0.5, &[1, 0])).unwrap();
    let mask = mixed.mask.unwrap();
    let corner = |sample: i64, row: i64, column: i64| mask.double_value(&[sample, 0, row, column]);
    assert_eq!([corner(0, 0, 0), corner(0, 7, 7)], [1.0, 0.0]);
    assert_eq!([corner(1, 0, 0), corner(1, 7, 7)], [0.0, 1.0]);
    assert!(
        mixed
            .images
            .narrow(2, 0, 4)
            .narrow(3, 0, 4)
            .get(0)
            .equal(&images.get(0).narrow(1, 0, 4).narrow(2, 0, 4))
    );
    let Credit::Pair { lambda, .. } = mixed.credit else { panic!("a pair") };
    assert!(
        (lambda - mask.mean_dim([1i64, 2, 3].as_slice(), false, None)).abs().max().double_value(&[]) < 1e-6
    );
}

#[test]
fn transport_brings_salient_patches_under_the_mask() {
    // A mask that shows the own image in its right half alone, where it is not salient.
    let images = wild(&[1, 1, 8, 8], 0.2, Kind::Float);
    let mask = Tensor::from_slice(&[0f32, 1.0, 0.0, 1.0]).reshape([1, 2, 2]);
    let saliency = peaks((0, 0), (0, 0)).narrow(0, 0, 1);
    let mixer = PuzzleMix { t_size: -1, t_eps: 0.1, ..PuzzleMix::default() };
    let mixed = mixer.blend((&images, &images.zeros_like()), (&saliency, &saliency), &mask).unwrap();
    let block = |of: &Tensor, row: i64, column: i64| of.narrow(2, 4 * row, 4).narrow(3, 4 * column, 4);
    assert!(block(&mixed, 0, 1).equal(&block(&images, 0, 0)));
    assert_eq!(block(&mixed, 0, 0).abs().max().double_value(&[]), 0.0);
}

#[test]
fn images_to_show_are_moved_and_mixed_by_the_mask_of_those_that_were_looked_at() {
    let images = wild(&[2, 3, 8, 8], 0.2, Kind::Float);
    let (shown, theirs) = (wild(&[2, 3, 8, 8], 0.7, Kind::Float), wild(&[2, 3, 8, 8], 0.9, Kind::Float));
    let saliency = peaks((0, 0), (7, 7));
    let mut mixer = PuzzleMix { t_eps: 0.01, ..PuzzleMix::default() };
    let plan = plan(2, 0.5, &[1, 0]);
    let plain = mix(&mixer, &images, &saliency, &plan).unwrap();
    let mut with = |shown, partner_shown| {
        let input = MixInput { saliency: Some(&saliency), shown, partner_shown, ..MixInput::of(&images) };
        mixer.mix(&input, &plan.on(Device::Cpu).unwrap())
    };
    let partner = Tensor::from_slice(&[1i64, 0]);
    let of_partners = |of: &Tensor| of.index_select(0, &partner);
    for (own, other) in [(Some(&shown), Some(&theirs)), (Some(&shown), None), (None, Some(&theirs))] {
        let mixed = with(own, other).unwrap();
        assert!(mixed.mask.as_ref().unwrap().equal(plain.mask.as_ref().unwrap()));
        let mask = plain.mask.as_ref().unwrap().slice(2, 0, 8, 4).slice(3, 0, 8, 4).squeeze_dim(1);
        let pair = (own.unwrap_or(&images), &of_partners(other.unwrap_or(&images)));
        let wanted = PuzzleMix { t_eps: 0.01, ..PuzzleMix::default() }
            .blend(pair, (&saliency, &of_partners(&saliency)), &mask)
            .unwrap();
        assert!(mixed.images.equal(&wanted) && !mixed.images.equal(&plain.images));
    }
    let short = shown.narrow(2, 0, 4);
    let message = with(Some(&short), None).unwrap_err().to_string();
    assert!(message.contains("shows") && message.contains("[2, 3, 8, 8]"), "{message}");
}

fn ask(batch: usize, height: i64, width: i64) -> Ask {
    Ask { batch, height, width, pairing: Pairing::alpha(1.0), quiet: false, progress: 0.0, lambda: None }
}

#[test]
fn a_plan_draws_every_fitting_grid_and_tells_them_apart() {
    let drawn = |mixer: &PuzzleMix, ask: &Ask| -> std::collections::BTreeSet<u64> {
        (0..60)
            .map(|step| {
                let mut draws = admix_api::Streams::new(1).draws("mix", "t", 0, step);
                let plan = mixer.plan(ask, &mut draws).unwrap();
                let Value::Ints(rows) = plan.value("blocks").unwrap() else { panic!("rows") };
                assert_eq!(rows.len() as u64, plan.structure);
                plan.structure
            })
            .collect()
    };
    let mixer = PuzzleMix::default();
    assert_eq!(drawn(&mixer, &ask(2, 32, 32)).into_iter().collect::<Vec<_>>(), [2, 4, 8, 16]);
    assert_eq!(drawn(&mixer, &ask(2, 24, 12)).into_iter().collect::<Vec<_>>(), [2, 4]);
    let mut draws = admix_api::Streams::new(1).draws("mix", "t", 0, 0);
    let message = mixer.plan(&ask(2, 9, 8), &mut draws).unwrap_err().to_string();
    assert!(message.contains("blocks") && message.contains("divides 9"), "{message}");
    assert!(message.contains("no number from 2 to 16"), "{message}");
    let message = mixer.plan(&ask(2, 45, 15), &mut draws).unwrap_err().to_string();
    assert!(message.contains("such as 3 or 5 or 15"), "{message}");
    for t_size in [4, -1] {
        assert_eq!(drawn(&PuzzleMix { t_size, ..mixer.clone() }, &ask(2, 224, 224)).len(), 4);
    }
}

#[test]
fn a_map_without_saliency_gives_a_finite_mix_near_lambda() {
    let images = wild(&[2, 3, 8, 8], 0.2, Kind::Float);
    let nothing = Tensor::zeros([2, 8, 8], (Kind::Float, Device::Cpu));
    for (lambda, wanted) in [(0.0, 0.0), (1.0, 1.0)] {
        let mixed = mix(&PuzzleMix::default(), &images, &nothing, &plan(4, lambda, &[1, 0])).unwrap();
        assert_eq!(mixed.images.isfinite().all().int64_value(&[]), 1);
        assert_eq!(mixed.mask.unwrap().mean(Kind::Float).double_value(&[]), wanted);
    }
}

#[test]
fn what_is_out_of_range_is_refused_by_name() {
    let base = PuzzleMix::default;
    for (name, config) in [
        ("blocks", PuzzleMix { blocks: vec![], ..base() }),
        ("blocks", PuzzleMix { blocks: vec![4, 1], ..base() }),
        ("labels", PuzzleMix { labels: 5, ..base() }),
        ("beta", PuzzleMix { beta: -0.1, ..base() }),
        ("gamma", PuzzleMix { gamma: 1.1, ..base() }),
        ("eta", PuzzleMix { eta: f64::NAN, ..base() }),
        ("neigh", PuzzleMix { neigh: 0, ..base() }),
        ("t_eps", PuzzleMix { t_eps: -1.0, ..base() }),
        ("t_size", PuzzleMix { t_size: 0, ..base() }),
        ("iterations", PuzzleMix { iterations: 0, ..base() }),
        ("std", PuzzleMix { std: Some(vec![0.2, 0.0]), ..base() }),
        ("solver", PuzzleMix { solver: Solver::Profile, ..base() }),
    ] {
        let message = config.validate().unwrap_err().to_string();
        assert!(message.starts_with(name), "{message}");
    }
    base().validate().unwrap();
    let images = wild(&[2, 4, 8, 8], 0.2, Kind::Float);
    let three = PuzzleMix { std: Some(vec![0.2; 3]), ..base() };
    let message =
        mix(&three, &images, &peaks((0, 0), (1, 1)), &plan(2, 0.5, &[1, 0])).unwrap_err().to_string();
    assert!(message.contains("std") && message.contains("4 channels"), "{message}");
    let short = Tensor::ones([2, 4, 8], (Kind::Float, Device::Cpu));
    let message = mix(&base(), &images, &short, &plan(2, 0.5, &[1, 0])).unwrap_err().to_string();
    assert!(message.contains("saliency"), "{message}");
}

/// A batch's problem, as `mix` poses it: partners in reverse order, one lambda.
fn problem(mixer: &PuzzleMix, images: &Tensor, saliency: &Tensor, blocks: i64, lambda: f64) -> Problem {
    let partner = Tensor::arange(images.size()[0], (Kind::Int64, Device::Cpu)).flip([0]);
    let partners = |of: &Tensor| of.index_select(0, &partner);
    let shares = saliency_shares(saliency, (blocks, blocks)).unwrap();
    let terms = mixer.terms((images, &partners(images)), (&shares, &partners(&shares))).unwrap();
    terms.problem(&Tensor::from(lambda as f32), mixer.labels, mixer.eta).unwrap()
}

/// All solvers find labels of the same energy, the exact ones the lowest: labels of the minimum cut.
fn agreed(problem: &Problem, what: &str) -> Tensor {
    let (n, b, labels) = problem.shape().unwrap();
    let of = |tensor: &Tensor| tensor.to_kind(Kind::Double);
    let double = Problem {
        unary: of(&problem.unary),
        vertical: of(&problem.vertical),
        horizontal: of(&problem.horizontal),
    };
    assert_eq!(double.unary.isfinite().all().int64_value(&[]), 1, "{what}");
    let energy = |solver: &dyn Solve| double.energy(&solver.solve(problem).unwrap()).unwrap();
    let exact = energy(&MinCut);
    let flat = double.energy(&Tensor::zeros([n, b, b], (Kind::Int64, Device::Cpu))).unwrap();
    let scale: Tensor = double.unary.abs().amax([1i64, 2, 3].as_slice(), false) + (flat - &exact).abs();
    let beyond = |solver: &dyn Solve| ((energy(solver) - &exact) / &scale).max().double_value(&[]);
    if Profile::states(b, labels).is_some() {
        assert!(beyond(&Profile).abs() < 1e-5, "{what}, b {b}: Profile is off by {}", beyond(&Profile));
    }
    let near = beyond(&Icm::default());
    assert!((-1e-6..1e-3).contains(&near), "{what}, b {b}: Icm is off by {near}");
    MinCut.solve(problem).unwrap()
}

#[test]
fn one_cell_may_hold_nearly_all_saliency() {
    // Costs times 1000 b^2 and 1e5, as the authors' whole numbers, are beyond 2^31 from a share of 8.4 % at b = 16.
    let images = wild(&[2, 3, 32, 32], 0.2, Kind::Float);
    let saliency = Tensor::full([2, 32, 32], 1e-7, (Kind::Float, Device::Cpu));
    let _ = saliency.get(0).get(5).get(9).fill_(1.0);
    let _ = saliency.get(1).get(30).get(2).fill_(1.0);
    for blocks in [2, 4, 8, 16] {
        let problem = problem(&PuzzleMix::default(), &images, &saliency, blocks, 0.4);
        assert!(problem.unary.max().double_value(&[]) > 0.99);
        let labels = agreed(&problem, "concentrated saliency");
        let at = |sample: i64, row: i64, column: i64| {
            labels.int64_value(&[sample, row * blocks / 32, column * blocks / 32])
        };
        // Each image keeps its own salient cell, and shows the partner's.
        assert_eq!([at(0, 5, 9), at(0, 30, 2), at(1, 30, 2), at(1, 5, 9)], [0, 2, 0, 2], "b {blocks}");
    }
}

#[test]
fn lambda_0_and_1_and_pixels_at_both_ends_have_an_optimum_that_all_solvers_find() {
    let saliency = wild(&[4, 32, 32], 0.4, Kind::Float).square();
    let bytes = wild(&[4, 3, 32, 32], 0.7, Kind::Float).sign();
    let black = bytes.narrow(0, 0, 1).ones_like() * -1.0;
    let chessboard = Tensor::cat(&[bytes.narrow(0, 0, 2), black.shallow_clone(), -black], 0);
    // Pixels of 0 and 255, normalised by mean and deviation 1/2: the strongest edges that there are.
    let mixer = PuzzleMix { std: Some(vec![0.5]), ..PuzzleMix::default() };
    for blocks in [2, 4, 8, 16] {
        for lambda in [0.0, 1e-6, 0.5, 1.0] {
            let found = problem(&mixer, &chessboard, &saliency, blocks, lambda);
            assert!(found.vertical.min().double_value(&[]) > 0.0, "weights stay above 0");
            let labels = agreed(&found, &format!("lambda {lambda}"));
            let mean = mask_of(&labels, 3).unwrap().mean(Kind::Float).double_value(&[]);
            assert!((lambda - 0.5) * (mean - 0.5) >= 0.0, "lambda {lambda}: a mean of {mean}");
        }
    }
    let unclear = problem(&PuzzleMix { labels: 4, ..mixer }, &chessboard, &saliency, 4, 1e-6);
    let _ = agreed(&unclear, "4 labels, costs that are not convex");
}

#[test]
fn borders_are_compared_over_a_divisor_of_the_block() {
    // Blocks of 14 pixels at 224, or here of 14 of 28: neigh 4 does not divide them, the authors' code fails.
    let images = wild(&[2, 3, 28, 28], 0.3, Kind::Float);
    let saliency = wild(&[2, 28, 28], 0.5, Kind::Float).square();
    let of = |neigh| problem(&PuzzleMix { neigh, ..PuzzleMix::default() }, &images, &saliency, 2, 0.5);
    assert!(of(4).vertical.equal(&of(2).vertical) && of(4).unary.equal(&of(2).unary));
    assert!(!of(4).vertical.equal(&of(1).vertical));
    let _ = agreed(&of(4), "neigh 4 on blocks of 14");
    let large = wild(&[2, 3, 224, 224], 0.3, Kind::Float);
    let saliency = wild(&[2, 224, 224], 0.5, Kind::Float).square();
    let mixer = PuzzleMix { t_size: -1, ..PuzzleMix::default() };
    let mixed = mix(&mixer, &large, &saliency, &plan(16, 0.5, &[1, 0])).unwrap();
    assert_eq!(mixed.images.isfinite().all().int64_value(&[]), 1);
}

#[test]
fn height_and_width_may_differ_and_blocks_that_do_not_divide_are_refused() {
    let images = wild(&[3, 3, 16, 32], 0.3, Kind::Float);
    let saliency = wild(&[3, 16, 32], 0.5, Kind::Float).square();
    // Blocks of 8 x 16 pixels, patches of 4 x 4: a grid of 4 x 8.
    assert_eq!(PuzzleMix::default().patches((16, 32), 2), (4, 8));
    for blocks in [2, 4, 8, 16] {
        let _ = agreed(&problem(&PuzzleMix::default(), &images, &saliency, blocks, 0.5), "16 x 32 pixels");
        let mixed = mix(&PuzzleMix::default(), &images, &saliency, &plan(blocks, 0.5, &[1, 2, 0])).unwrap();
        assert_eq!(mixed.mask.unwrap().size(), [3, 1, 16, 32]);
    }
    let message =
        mix(&PuzzleMix::default(), &images, &saliency, &plan(3, 0.5, &[1, 2, 0])).unwrap_err().to_string();
    assert!(message.contains("3 blocks") && message.contains("[16, 32]"), "{message}");
}

#[test]
fn without_saliency_the_mask_is_flat_and_nothing_is_moved() {
    let shade = Tensor::from_slice(&[0.3f32, -0.8]).reshape([2, 1, 1, 1]);
    let images = shade.expand([2, 3, 8, 8], false).contiguous();
    let nothing = Tensor::zeros([2, 8, 8], (Kind::Float, Device::Cpu));
    // The likeliest of 0, 1/2 and 1 under Binomial(2, lambda).
    for (lambda, wanted) in [(0.2, 0.0), (0.4, 0.5), (0.6, 0.5), (0.8, 1.0)] {
        for (blocks, t_size) in [(2, -1), (4, 1), (8, 4)] {
            let mixer = PuzzleMix { t_size, ..PuzzleMix::default() };
            let mixed = mix(&mixer, &images, &nothing, &plan(blocks, lambda, &[1, 0])).unwrap();
            let mask = mixed.mask.unwrap();
            assert!(mask.eq(wanted).all().int64_value(&[]) == 1, "lambda {lambda}, b {blocks}");
            let flat = &images * wanted + images.flip([0]) * (1.0 - wanted);
            assert!((mixed.images - flat).abs().max().double_value(&[]) < 1e-6, "nothing is moved or lost");
        }
    }
}

#[test]
fn auto_is_exact_on_a_cpu_and_leaves_the_host_alone_elsewhere() {
    let named = |mixer: &PuzzleMix, blocks, device| {
        format!("{:?}", mixer.solver(blocks, device)).split(' ').next().unwrap().to_string()
    };
    let auto = PuzzleMix::default();
    for blocks in [2, 4, 8, 16] {
        assert_eq!(named(&auto, blocks, Device::Cpu), "MinCut");
        let wanted = if blocks <= 4 { "Profile" } else { "Icm" };
        assert_eq!(named(&auto, blocks, Device::Cuda(0)), wanted);
    }
    let needs = |solver| Mixer::needs(&PuzzleMix { solver, ..PuzzleMix::default() });
    for solver in [Solver::Auto, Solver::Profile, Solver::Icm] {
        assert!(needs(solver).capturable && !needs(solver).host_solver, "{solver:?}");
    }
    assert!(needs(Solver::MinCut).host_solver && !needs(Solver::MinCut).capturable);
    // What Auto takes elsewhere reads nothing, whatever the device.
    let images = wild(&[3, 3, 16, 16], 0.3, Kind::Float);
    let saliency = wild(&[3, 16, 16], 0.5, Kind::Float).square();
    for (solver, blocks) in [(Solver::Profile, 2), (Solver::Profile, 4), (Solver::Icm, 8), (Solver::Icm, 16)]
    {
        let mut mixer = PuzzleMix { solver, ..PuzzleMix::default() };
        let planned = plan(blocks, 0.5, &[1, 2, 0]).on(Device::Cpu).unwrap();
        let syncs = admix_api::SyncCounter::start();
        let input = MixInput { saliency: Some(&saliency), ..MixInput::of(&images) };
        mixer.mix(&input, &planned).unwrap();
        assert_eq!(syncs.names(), Vec::<String>::new(), "{solver:?}");
    }
}

/// The authors' rule: patches of `t_size` pixels, or the next smaller divisor of the block.
fn authors(t_size: i64, side: i64, blocks: i64) -> i64 {
    side / largest_divisor(side / blocks, t_size)
}

#[test]
fn patches_are_the_authors_where_these_fit_and_else_as_many_as_fit() {
    let mixer = PuzzleMix::default();
    for side in [8, 16, 32, 64] {
        for blocks in [2, 4, 8, 16].into_iter().filter(|b| side % b == 0) {
            assert_eq!(mixer.patches((side, side), blocks).0, authors(4, side, blocks), "{side}, b {blocks}");
        }
    }
    for (size, wanted) in [
        ((28, 28), [(2, (14, 14)), (4, (4, 4))].as_slice()),
        ((40, 40), &[(2, (10, 10)), (4, (8, 8)), (8, (8, 8))]),
        ((96, 96), &[(2, (16, 16)), (4, (16, 16)), (8, (16, 16)), (16, (16, 16))]),
        ((24, 40), &[(2, (6, 10)), (4, (8, 8)), (8, (8, 8))]),
        ((224, 224), &[(2, (16, 16)), (4, (16, 16)), (8, (16, 16)), (16, (16, 16))]),
    ] {
        for (blocks, grid) in wanted {
            assert_eq!(mixer.patches(size, *blocks), *grid, "{size:?}, b {blocks}");
        }
    }
    for (side, blocks, t_size) in (2..=260).flat_map(|side| {
        let fitting = (2..=24).filter(move |b| side % b == 0);
        fitting.flat_map(move |b| [-1, 1, 2, 3, 4, 7, 16, 300].map(|size| (side, b, size)))
    }) {
        let found = PuzzleMix { t_size, ..PuzzleMix::default() }.patches((side, side), blocks).0;
        let at = format!("{side}, b {blocks}, t_size {t_size}: {found}");
        assert!(side % found == 0 && found % blocks == 0 && found <= blocks.max(16), "{at}");
        match t_size {
            -1 => assert_eq!(found, blocks, "{at}"),
            size if authors(size, side, blocks) <= blocks.max(16) => {
                assert_eq!(found, authors(size, side, blocks), "{at}");
            }
            // Patches of the next smaller size would be too many.
            _ => assert!((found + 1..=16).all(|more| side % more != 0 || more % blocks != 0), "{at}"),
        }
    }
}

#[test]
fn every_size_is_planned_and_mixed_with_every_grid_that_divides_it_or_refused_by_every_plan() {
    let mut mixer = PuzzleMix::default();
    let mut mixed = 0;
    for (height, width) in (8..=260).map(|side| (side, side)).chain([
        (24, 40),
        (8, 260),
        (36, 20),
        (44, 30),
        (12, 8),
        (31, 64),
        (33, 32),
    ]) {
        let ask = ask(2, height, width);
        let fits: Vec<u64> = [2, 4, 8, 16]
            .into_iter()
            .filter(|b| height % b == 0 && width % b == 0)
            .map(|b| b as u64)
            .collect();
        let mut drawn = std::collections::BTreeMap::new();
        for step in 0..60 {
            match mixer.plan(&ask, &mut admix_api::Streams::new(5).draws("mix", "t", 0, step)) {
                Ok(plan) => drop(drawn.insert(plan.structure, plan)),
                Err(error) => assert!(fits.is_empty(), "{height} x {width}: {error}"),
            }
        }
        assert_eq!(drawn.keys().copied().collect::<Vec<_>>(), fits, "{height} x {width}");
        assert!(fits.is_empty() == (height % 2 == 1 || width % 2 == 1), "even sides work with the defaults");
        // Large images take long, and their blocks are those of small ones.
        let shown = height * width <= 48 * 48 || [96, 100, 224, 260].contains(&height.max(width));
        for plan in drawn.values().filter(|_| shown) {
            let images = wild(&[2, 1, height, width], 0.3, Kind::Float);
            let saliency = wild(&[2, height, width], 0.5, Kind::Float).square();
            let found = mix(&mixer, &images, &saliency, plan).unwrap();
            assert_eq!(found.images.size(), images.size());
            assert_eq!(found.images.isfinite().all().int64_value(&[]), 1, "{height} x {width}");
            mixed += 1;
        }
    }
    assert!(mixed > 60, "{mixed}");
    mixer.blocks = vec![3, 11];
    assert_eq!(
        mixer
            .plan(&ask(2, 33, 66), &mut admix_api::Streams::new(5).draws("mix", "t", 0, 0))
            .unwrap()
            .structure
            % 8,
        3
    );
}
