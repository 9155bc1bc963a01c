use super::*;
use admix_api::Streams;
use admix_api::contract::wild;

fn ask(batch: usize, height: i64, width: i64) -> Ask {
    Ask { batch, height, width, pairing: Pairing::alpha(2.0), quiet: false, progress: 0.0, lambda: None }
}

fn plan(mixer: &CoMixup, ask: &Ask, step: u64) -> Result<Plan> {
    mixer.plan(ask, &mut Streams::new(1).draws("mix", "t", 0, step))
}

fn saliency(shape: [i64; 3]) -> Tensor {
    wild(&shape, 0.3, Kind::Float).abs().pow_tensor_scalar(3)
}

fn mixed(mixer: &CoMixup, images: &Tensor, saliency: &Tensor, plan: &Plan) -> Result<Mixed> {
    let input = MixInput { saliency: Some(saliency), ..MixInput::of(images) };
    mixer.clone().mix(&input, &plan.on(Device::Cpu)?)
}

fn mix(mixer: &CoMixup, images: &Tensor, saliency: &Tensor) -> Mixed {
    let (n, _, height, width) = images.size4().unwrap();
    mixed(mixer, images, saliency, &plan(mixer, &ask(n as usize, height, width), 0).unwrap()).unwrap()
}

fn furthest(one: &Tensor, other: &Tensor) -> f64 {
    (one - other).abs().max().double_value(&[])
}

#[test]
fn images_and_shares_follow_the_assignment() {
    // Parts of three, three and two; height and width differ.
    let mixer = CoMixup { part: 3, ..CoMixup::default() };
    let images = wild(&[8, 3, 8, 12], 0.2, Kind::Float);
    let found = mix(&mixer, &images, &saliency([8, 8, 12]));
    let assignment = &found.extras["assignment"];
    assert_eq!(assignment.size(), [8, 3, 4, 4]);
    let (sources, shares) = found.credit.shares().unwrap();
    assert!(furthest(&shares, &assignment.mean_dim([2i64, 3].as_slice(), false, None)) < 1e-6);
    assert!(
        furthest(
            &shares.sum_dim_intlist([1i64].as_slice(), false, None),
            &Tensor::ones([8], (Kind::Float, Device::Cpu))
        ) < 1e-6
    );
    let rows: Vec<Vec<i64>> = (0..8).map(|i| Vec::try_from(sources.get(i)).unwrap()).collect();
    assert_eq!((&rows[2], &rows[3]), (&vec![0, 1, 2], &vec![3, 4, 5]));
    // The last part has two inputs; the third is one that has no share.
    assert_eq!(rows[7][..2], [6, 7]);
    assert_eq!(shares.narrow(0, 6, 2).select(1, 2).abs().max().double_value(&[]), 0.0);
    let weights = assignment.repeat_interleave_self_int(2, 2, None).repeat_interleave_self_int(3, 3, None);
    for i in 0..8 {
        let used = images.index_select(0, &sources.get(i));
        let blended = (weights.get(i).unsqueeze(1) * used).sum_dim_intlist([0i64].as_slice(), false, None);
        assert!(furthest(&found.images.get(i), &blended) < 1e-6, "output {i}");
    }
    // Some cell is shown whole and some in halves, or this would say little.
    assert!(assignment.eq(0.5).any().int64_value(&[]) == 1 && assignment.eq(1.0).any().int64_value(&[]) == 1);
}

#[test]
fn outputs_are_made_of_the_salient_cells_and_differ() {
    // Each of four images is salient in one quarter alone.
    let mut maps = Tensor::full([4, 8, 8], 1e-3, (Kind::Float, Device::Cpu));
    for i in 0..4 {
        let _ = maps.get(i).narrow(0, i / 2 * 4, 4).narrow(1, i % 2 * 4, 4).fill_(1.0);
    }
    let mixer = CoMixup { blocks: vec![2], eta: 0.0, beta: 0.0, gamma: 0.0, ..CoMixup::default() };
    let images = wild(&[4, 3, 8, 8], 0.2, Kind::Float);
    let greedy = mix(&mixer, &images, &maps).extras["assignment"].shallow_clone();
    for output in 0..4 {
        for quarter in 0..4 {
            assert_eq!(greedy.double_value(&[output, quarter, quarter / 2, quarter % 2]), 1.0);
        }
    }
    // Without the penalty all outputs are one; with it no two are.
    let mixer = CoMixup { gamma: 1.0, beta: 0.1, ..mixer };
    maps += saliency([4, 8, 8]) * 0.1;
    let found = mix(&mixer, &images, &maps).extras["assignment"].shallow_clone();
    for (one, other) in (0..4).flat_map(|one| (one + 1..4).map(move |other| (one, other))) {
        assert!(furthest(&found.get(one), &found.get(other)) > 0.4, "outputs {one} and {other}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mixer = CoMixup { part: 4, ..CoMixup::default() };
    let given: Vec<Given> = (0..5)
        .map(|number| {
            let inputs = if number == 4 { 2 } else { 4 };
            let mut draws = Streams::new(2).draws("test", "threads", 0, number);
            Given {
                saliency: (0..inputs * 16).map(|_| draws.uniform() / 8.0).collect(),
                places: (0..inputs * 2).map(|_| draws.below(25) as f64).collect(),
                prior: draws.dirichlet(2.0, inputs).unwrap(),
                start: (0..inputs * 16).map(|_| draws.below(inputs)).collect(),
            }
        })
        .collect();
    let alone = mixer.searched(&given, 1);
    assert_eq!(alone.len(), 5);
    for threads in [2, 3, 5, 16] {
        assert_eq!(mixer.searched(&given, threads), alone, "{threads} threads");
    }
}

#[test]
fn a_part_of_one_gives_the_image_itself() {
    let mixer = CoMixup { part: 4, ..CoMixup::default() };
    for n in [1i64, 5] {
        let images = wild(&[n, 3, 8, 8], 0.2, Kind::Float);
        let found = mix(&mixer, &images, &saliency([n, 8, 8]));
        assert!(found.images.get(n - 1).equal(&images.get(n - 1)), "{n} images");
        assert_eq!(found.credit.own_share().unwrap().double_value(&[n - 1]), 1.0);
    }
}

#[test]
fn images_without_saliency_are_used_as_their_prior_has_it() {
    let images = wild(&[6, 3, 8, 8], 0.2, Kind::Float);
    let nothing = Tensor::zeros([6, 8, 8], (Kind::Float, Device::Cpu));
    let mixer = CoMixup::default();
    let plan = plan(&mixer, &ask(6, 8, 8), 0).unwrap();
    let found = mixed(&mixer, &images, &nothing, &plan).unwrap();
    assert_eq!(found.images.isfinite().all().int64_value(&[]), 1);
    let shares = found.credit.shares().unwrap().1;
    assert!(
        furthest(
            &shares.sum_dim_intlist([1i64].as_slice(), false, None),
            &Tensor::ones([6], (Kind::Float, Device::Cpu))
        ) < 1e-6
    );
    // Not a number and infinity count as nothing.
    for value in [f64::NAN, f64::INFINITY] {
        let same = mixed(&mixer, &images, &nothing.full_like(value), &plan).unwrap();
        assert!(same.images.equal(&found.images), "{value}");
    }
    // Without penalty every cell takes the input that the prior likes best.
    let mixer = CoMixup { gamma: 0.0, ..mixer };
    let found = mixed(&mixer, &images, &nothing, &plan).unwrap();
    let Value::Floats(prior) = plan.value("prior").unwrap() else { panic!("numbers") };
    let best = (0..6).max_by(|a, b| prior[*a].total_cmp(&prior[*b])).unwrap();
    assert!(found.images.get(3).equal(&images.get(best as i64)));
}

#[test]
fn the_other_view_shows_in_all_cells_but_the_own() {
    let mixer = CoMixup { part: 5, ..CoMixup::default() };
    let (images, others) = (wild(&[5, 3, 8, 8], 0.2, Kind::Float), wild(&[5, 3, 8, 8], 0.7, Kind::Float));
    let seen = saliency([5, 8, 8]);
    let plan = plan(&mixer, &ask(5, 8, 8), 1).unwrap();
    let input = MixInput { saliency: Some(&seen), partner_images: Some(&others), ..MixInput::of(&images) };
    let found = mixer.clone().mix(&input, &plan.on(Device::Cpu).unwrap()).unwrap();
    let weights = found.extras["assignment"]
        .repeat_interleave_self_int(2, 2, None)
        .repeat_interleave_self_int(2, 3, None);
    assert!(found.credit.own_share().unwrap().max().double_value(&[]) > 0.0, "an own cell to look at");
    for i in 0..5 {
        let shown: Vec<Tensor> = (0..5).map(|j| if i == j { images.get(j) } else { others.get(j) }).collect();
        let blended = (weights.get(i).unsqueeze(1) * Tensor::stack(&shown, 0)).sum_dim_intlist(
            [0i64].as_slice(),
            false,
            None,
        );
        assert!(furthest(&found.images.get(i), &blended) < 1e-6, "output {i}");
    }
}

#[test]
fn a_plan_draws_priors_and_starts_for_each_part_and_tells_grids_apart() {
    let mixer = CoMixup { blocks: vec![2, 4, 8], part: 3, ..CoMixup::default() };
    let mut grids = std::collections::BTreeSet::new();
    for step in 0..40 {
        let plan = plan(&mixer, &ask(7, 24, 12), step).unwrap();
        let (Value::Floats(prior), Value::Ints(start)) =
            (plan.value("prior").unwrap(), plan.value("start").unwrap())
        else {
            panic!("a prior and a start")
        };
        let b = plan.structure as usize;
        grids.insert(b);
        assert_eq!((prior.len(), start.len()), (7, 7 * b * b));
        for (part, inputs) in [(0, 3), (3, 3), (6, 1)] {
            assert!((prior[part..part + inputs].iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let start = &start[part * b * b..][..inputs * b * b];
            assert!(start.iter().all(|input| (0..inputs as i64).contains(input)));
        }
    }
    assert_eq!(grids.into_iter().collect::<Vec<_>>(), [2, 4], "of 24 and 12 divide 2 and 4 alone");
    let message = plan(&mixer, &ask(7, 9, 8), 0).unwrap_err().to_string();
    assert!(message.starts_with("blocks is [") && message.contains("divides 9 and 8"), "{message}");
}

#[test]
fn windows_are_found_where_saliency_is() {
    let maps = Tensor::zeros([2, 12, 16], (Kind::Float, Device::Cpu));
    let _ = maps.get(0).narrow(0, 4, 8).narrow(1, 7, 8).fill_(1.0);
    let _ = maps.get(1).narrow(0, 0, 8).narrow(1, 2, 8).fill_(0.5);
    let list = |places: &Tensor| Vec::<f64>::try_from(places.to_kind(Kind::Double).reshape([-1])).unwrap();
    let found = list(&places::places(&maps, 8, 1).unwrap());
    assert_eq!(found, [4.0, 7.0, 0.0, 2.0]);
    assert_eq!(places::distances(&found), [0.0, 9.0, 9.0, 0.0]);
    // In steps of the stride.
    let _ = maps.get(0).fill_(0.0).narrow(1, 8, 8).fill_(1.0);
    assert_eq!(list(&places::places(&maps, 8, 4).unwrap())[..2], [0.0, 2.0]);
    // A window larger than the image sees one place.
    assert_eq!(list(&places::places(&maps, 40, 8).unwrap()), [0.0; 4]);
}

#[test]
fn what_is_out_of_range_is_refused_by_name() {
    let base = CoMixup::default;
    for (name, config) in [
        ("blocks", CoMixup { blocks: vec![], ..base() }),
        ("blocks", CoMixup { blocks: vec![4, 1], ..base() }),
        ("part", CoMixup { part: 1, ..base() }),
        ("beta", CoMixup { beta: -0.1, ..base() }),
        ("gamma", CoMixup { gamma: f64::INFINITY, ..base() }),
        ("eta", CoMixup { eta: f64::NAN, ..base() }),
        ("tau", CoMixup { tau: -1.0, ..base() }),
        ("omega", CoMixup { omega: 1.1, ..base() }),
        ("window", CoMixup { window: 0, ..base() }),
        ("stride", CoMixup { stride: 0, ..base() }),
        ("sweeps", CoMixup { sweeps: 0, ..base() }),
    ] {
        let message = config.validate().unwrap_err().to_string();
        assert!(message.starts_with(name), "{message}");
    }
    base().validate().unwrap();
}

#[test]
fn plans_and_saliency_that_do_not_fit_are_errors_in_one_line() {
    let images = wild(&[2, 3, 8, 8], 0.2, Kind::Float);
    let seen = saliency([2, 8, 8]);
    let given = |prior: &[f64], start: &[i64]| {
        Plan::default()
            .with("prior", Value::Floats(prior.to_vec()))
            .with("start", Value::Ints(start.to_vec()))
    };
    let fits = given(&[0.5, 0.5], &[0, 1, 1, 0, 1, 0, 0, 1]);
    let mixer = CoMixup::default();
    mixed(&mixer, &images, &seen, &fits).unwrap();
    for (plan, said) in [
        (
            given(&[0.5, 0.5], &[0, 1, 2, 0, 1, 0, 0, 1]),
            "`start` of a plan for co_mixup is 2, expected one of 2 inputs",
        ),
        (given(&[0.5, 0.5], &[0, 1, -1, 0, 1, 0, 0, 1]), "is -1"),
        (given(&[0.5, 0.5], &[0, 1, 1]), "expected [2] and [2 b b]"),
        (given(&[1.0], &[0, 1, 1, 0, 1, 0, 0, 1]), "expected [2] and [2 b b]"),
        (given(&[0.5, 0.5], &[0; 18]), "3 blocks"),
        (Plan::given(0.5, &[1, 0]), "no `prior`"),
    ] {
        let message = mixed(&mixer, &images, &seen, &plan).unwrap_err().to_string();
        assert!(message.contains(said) && !message.contains('\n'), "{message}");
    }
    let message = mixed(&mixer, &images, &saliency([2, 8, 4]), &fits).unwrap_err().to_string();
    assert!(message.contains("saliency for co_mixup"), "{message}");
}
