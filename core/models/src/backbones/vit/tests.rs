//! The vision transformer: counts, names, position embedding.

use admix_api::{Store, Streams};
use admix_torch::{Device, Kind};

use super::*;
use crate::LinearHead;

fn built(config: &ViTConfig) -> Result<(Store, Box<dyn Backbone>)> {
    let store = Store::new(Device::Cpu, Streams::new(1));
    let net = config.build(&store.root(), 3)?;
    Ok((store, net))
}

#[test]
fn parameter_counts_equal_timms() -> Result<()> {
    for (size, wanted) in [(Size::Tiny, 5_717_416), (Size::Small, 22_050_664), (Size::Base, 86_567_656)] {
        let (store, net) = built(&ViTConfig { size, patch: 16, image: 224, ..ViTConfig::default() })?;
        LinearHead::new(&store.root(), net.channels(12), 1000)?;
        let count: usize = store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum();
        assert_eq!(count, wanted, "{size:?}");
    }
    Ok(())
}

#[test]
fn torchvision_has_other_names() {
    for (ours, theirs) in [
        ("cls_token", "class_token"),
        ("pos_embed", "encoder.pos_embedding"),
        ("patch_embed.proj.bias", "conv_proj.bias"),
        ("blocks.3.attn.qkv.weight", "encoder.layers.encoder_layer_3.self_attention.in_proj_weight"),
        ("blocks.11.attn.proj.bias", "encoder.layers.encoder_layer_11.self_attention.out_proj.bias"),
        ("blocks.0.norm2.weight", "encoder.layers.encoder_layer_0.ln_2.weight"),
        ("blocks.0.mlp.fc2.weight", "encoder.layers.encoder_layer_0.mlp.3.weight"),
        ("norm.weight", "encoder.ln.weight"),
    ] {
        assert_eq!(torchvision(ours), theirs);
    }
}

#[test]
fn class_token_and_position_embedding_do_not_decay_and_layers_are_timms() -> Result<()> {
    let config = ViTConfig { size: Size::Tiny, width: 0.125, ..ViTConfig::default() };
    let (store, net) = built(&config)?;
    let kept = store.parameters().into_iter().filter(|(_, _, hints)| !hints.weight_decay);
    assert_eq!(kept.map(|(name, ..)| name).collect::<Vec<_>>(), ["cls_token", "pos_embed"]);
    assert_eq!(net.layers(), 13);
    for (name, layer) in [
        ("pos_embed", 0),
        ("patch_embed.proj.bias", 0),
        ("blocks.0.norm1.bias", 1),
        ("blocks.11.mlp.fc1.bias", 12),
        ("norm.bias", 12),
    ] {
        assert_eq!(net.layer(name), layer, "{name}");
    }
    Ok(())
}

#[test]
fn a_position_embedding_keeps_its_shape_at_another_size() -> Result<()> {
    let config = ViTConfig { size: Size::Tiny, width: 0.125, drop_path: 0.0, ..ViTConfig::default() };
    let (store, net) = built(&config)?;
    assert_eq!(net.drops(), 0);
    let position =
        |name: &str| store.tensors().into_iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor);
    let mut embedding = position("pos_embed").expect("there");
    let _guard = admix_torch::no_grad();
    // An embedding that is the same everywhere stays so, whatever the grid.
    let _ = embedding.f_fill_(0.25)?;
    let images =
        |height: i64, width: i64| admix_api::contract::wild(&[1, 3, height, width], 0.3, Kind::Float);
    let square = net.forward_to(0, &images(32, 32), &Pass::EVALUATE)?;
    let wide = net.forward_to(0, &images(20, 50), &Pass::EVALUATE)?;
    assert_eq!(square.cells()?.size(), [1, 24, 8, 8]);
    assert_eq!(wide.cells()?.size(), [1, 24, 5, 13]);
    assert!(wide.summary()?.f_allclose(&square.summary()?, 1e-5, 1e-6, false)?);
    Ok(())
}

#[test]
fn values_out_of_range_and_misfits_name_their_setting() {
    let config = ViTConfig::default();
    for (config, words) in [
        (ViTConfig { patch: 0, ..config.clone() }, "patch is 0"),
        (ViTConfig { image: 30, ..config.clone() }, "image is 30, expected a multiple of the patch, 4"),
        (ViTConfig { drop_path: 1.0, ..config.clone() }, "drop_path is 1, expected a number in [0, 1)"),
    ] {
        assert!(built(&config).expect_err(words).to_string().contains(words), "{words}");
    }
    assert_eq!(config.misfit("patch_embed.proj.weight", &[384, 3, 16, 16], &[384, 3, 4, 4]), Some("patch"));
    assert_eq!(config.misfit("pos_embed", &[1, 197, 384], &[1, 65, 384]), Some("image"));
    assert_eq!(config.misfit("norm.weight", &[192], &[384]), Some("size"));
}
