//! What mixers are told of the data that they are built for.

use admix_data::Info;
use admix_engine::{Clock, Method, Session, Shape, bundled, registry, session_of};
use admix_torch::{Device, Tensor};

use super::{batch, recipe};

/// A data set of images of 16 pixels, normalised by these numbers.
fn info(mean: [f32; 3], std: [f32; 3]) -> Info {
    Info {
        name: "some".into(),
        classes: 5,
        class_names: vec![],
        channels: 3,
        height: 16,
        width: 16,
        mean: mean.to_vec(),
        std: std.to_vec(),
        train: 64,
        test: 8,
        unlabelled: 0,
        split: Default::default(),
        source: String::new(),
    }
}

fn session(mixer: &str, info: Option<&Info>) -> Session {
    let text = format!(
        r#"(epochs: 1, batch: 8, method: "mixup", model: ConvNet(widths: [4], strides: [2]), mixers: {{"mix": {mixer}}})"#
    );
    let recipe = recipe(&text).expect("a recipe");
    let (script, file) = bundled::script("mixup").expect("the bundled script");
    let method = Method::compile(script, file).expect("a method");
    let registry = registry().expect("a registry");
    match info {
        Some(info) => session_of(&recipe, method, &registry, info, Device::Cpu),
        None => {
            let clock = Clock { step: 0, steps: 8, epoch: 0, epochs: 1 };
            Session::build(&recipe, method, &registry, Shape::new(3, 5), clock, Device::Cpu)
        }
    }
    .expect("a session")
}

/// Eight images mixed at half the share, each with the next.
fn mixed(session: &mut Session) -> Tensor {
    let images = batch(0, 8).images;
    let partner: Vec<i64> = (0..8).map(|i| (i + 1) % 8).collect();
    let streams = session.world().streams;
    let mut draws = streams.draws("mix", "test", 0, 0);
    let plan = session.plan_for("mix", &images, 0.5, &partner, &mut draws).expect("a plan");
    session.mix("mix", &images, &batch(0, 8).labels, &plan).expect("a mix").images
}

#[test]
fn a_mixer_knows_how_the_data_is_normalised_unless_its_recipe_says_otherwise() {
    let data = info([0.5, 0.25, 0.125], [0.5, 0.25, 0.0625]);
    let told = "mean: [0.5, 0.25, 0.125], std: [0.5, 0.25, 0.0625]";
    let by_data = mixed(&mut session("SaliencyMix(scope: Each)", Some(&data)));
    let by_recipe = format!("SaliencyMix(scope: Each, {told})");
    // The recipe's numbers win over those of other data, and do without any.
    assert!(mixed(&mut session(&by_recipe, Some(&info([0.0; 3], [1.0; 3])))).equal(&by_data));
    assert!(mixed(&mut session(&by_recipe, None)).equal(&by_data));
    assert!(!mixed(&mut session("SaliencyMix(scope: Each)", None)).equal(&by_data));
}
