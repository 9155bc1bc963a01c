use super::*;
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
fn a_plan_draws_every_fitting_grid_and_tells_them_apart() {
    let ask = |height, width| Ask {
        batch: 2,
        height,
        width,
        pairing: Pairing::alpha(1.0),
        quiet: false,
        progress: 0.0,
        lambda: None,
    };
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
    assert_eq!(drawn(&mixer, &ask(32, 32)).into_iter().collect::<Vec<_>>(), [2, 4, 8, 16]);
    assert_eq!(drawn(&mixer, &ask(24, 12)).into_iter().collect::<Vec<_>>(), [2, 4]);
    let mut draws = admix_api::Streams::new(1).draws("mix", "t", 0, 0);
    let message = mixer.plan(&ask(9, 8), &mut draws).unwrap_err().to_string();
    assert!(message.contains("blocks") && message.contains("divides 9"), "{message}");
    let message = mixer.plan(&ask(224, 224), &mut draws).unwrap_err().to_string();
    assert!(message.contains("t_size") && message.contains("-1"), "{message}");
    let whole = PuzzleMix { t_size: -1, ..mixer };
    assert_eq!(drawn(&whole, &ask(224, 224)).len(), 4);
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
