//! Analytic gradients of trained mixers against central differences, in float64. The contract does so for losses.

use admix_api::contract::{slopes_agree, wild};
use admix_api::prelude::*;
use admix_api::{Store, Streams};

use crate::mixers::block::{Activation, Attention, Content, ContentOf, Gamma, Projection, Rescale};
use crate::mixers::{AMix, AutoMix, Preset};

fn check_block(what: &str, config: &dyn MixerConfig, lambda: Value) {
    let (n, depth, h, w) = (3, 6, 3, 2);
    let store = Store::with_kind(Device::Cpu, Kind::Double, Streams::new(5));
    let context = MixerContext { feature_channels: Some(depth), ..MixerContext::default() };
    let mut mixer = config.build(&store.root(), &context).unwrap();
    for (name, mut weight, _) in store.parameters() {
        let _no_graph = no_grad();
        let value = wild(&weight.size(), name.len() as f64, Kind::Double);
        weight.copy_(&if name == "gamma" { value.abs() } else { value });
    }
    let mut leaves: Vec<(String, Tensor)> = store.parameters().into_iter().map(|(n, t, _)| (n, t)).collect();
    let features = wild(&[n, depth, h, w], 0.9, Kind::Double).set_requires_grad(true);
    leaves.push(("features".into(), features.shallow_clone()));
    let images = wild(&[n, 3, 4 * h, 4 * w], 0.1, Kind::Double);
    let cotangents =
        [wild(&images.size(), 0.4, Kind::Double), wild(&[n, 1, 4 * h, 4 * w], 0.5, Kind::Double)];
    let plan = Plan::default()
        .with("lambda", lambda)
        .with("partner", Value::Ints(vec![2, 0, 1]))
        .with("dropout_key", Value::Int(11))
        .on(Device::Cpu)
        .unwrap();
    let mut value = || {
        let input = MixInput { features: Some(&features), ..MixInput::of(&images) };
        let mixed = mixer.mix(&input, &plan).unwrap();
        (mixed.images * &cotangents[0]).sum(None) + (mixed.mask.unwrap() * &cotangents[1]).sum(None)
    };
    value().backward();
    for (name, leaf) in &leaves {
        slopes_agree(leaf, Some(&leaf.grad()), &mut || value().double_value(&[]))
            .unwrap_or_else(|seen| panic!("{what}: {name}, {seen}"));
    }
}

#[test]
fn both_blocks_have_the_gradients_of_their_formulas() {
    let amix = || AMix::default();
    let forms: Vec<(&str, Box<dyn MixerConfig>)> = vec![
        ("default", Box::new(amix())),
        ("code", Box::new(AMix::preset(Preset::Code))),
        ("literal", Box::new(AMix::preset(Preset::Literal))),
        ("cross", Box::new(AMix { attention: Attention::Cross, ..amix() })),
        ("linear", Box::new(AMix { content: Content::Linear, attention: Attention::Cross, ..amix() })),
        (
            "separate cross, own content",
            Box::new(AMix {
                attention: Attention::Cross,
                projection: Projection::Separate,
                content_of: ContentOf::Own,
                activation: Activation::Elu,
                ..amix()
            }),
        ),
        (
            "polynomial",
            Box::new(AMix { rescale: Rescale::Polynomial(1.0), gamma: Gamma::Learnable, ..amix() }),
        ),
        ("automix", Box::new(AutoMix::default())),
        ("automix with a plane", Box::new(AutoMix { lambda_plane: true, ..AutoMix::default() })),
    ];
    for (what, config) in &forms {
        check_block(what, config.as_ref(), Value::Float(0.3));
        check_block(what, config.as_ref(), Value::Floats(vec![0.2, 0.5, 0.9]));
    }
}
