//! The Swin transformer: counts, names, windows.

use admix_api::{Store, Streams};
use admix_torch::{Device, Kind, Tensor};

use super::*;
use crate::LinearHead;

fn built(config: &SwinConfig) -> Result<(Store, Box<dyn Backbone>)> {
    let store = Store::new(Device::Cpu, Streams::new(1));
    let net = config.build(&store.root(), 3)?;
    Ok((store, net))
}

fn toy() -> SwinConfig {
    SwinConfig { width: 0.125, drop_path: 0.0, patch: 2, window: 4, ..SwinConfig::default() }
}

#[test]
fn parameter_counts_equal_torchvisions() -> Result<()> {
    for (size, wanted) in [(Size::Tiny, 28_288_354), (Size::Small, 49_606_258), (Size::Base, 87_768_224)] {
        let (store, net) = built(&SwinConfig { size, ..SwinConfig::default() })?;
        LinearHead::new(&store.root(), net.channels(4), 1000)?;
        let count: usize = store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum();
        assert_eq!(count, wanted, "{size:?}");
    }
    Ok(())
}

#[test]
fn torchvision_has_other_names() {
    for (ours, theirs) in [
        ("patch_embed.proj.bias", "features.0.0.bias"),
        ("patch_embed.norm.weight", "features.0.2.weight"),
        ("layers.0.blocks.1.attn.qkv.weight", "features.1.1.attn.qkv.weight"),
        ("layers.1.downsample.reduction.weight", "features.2.reduction.weight"),
        (
            "layers.2.blocks.5.attn.relative_position_bias_table",
            "features.5.5.attn.relative_position_bias_table",
        ),
        ("layers.3.blocks.0.mlp.fc2.bias", "features.7.0.mlp.3.bias"),
        ("norm.weight", "norm.weight"),
    ] {
        assert_eq!(torchvision(ours), theirs);
    }
}

#[test]
fn a_block_sees_its_window_and_the_next_one_those_beside_it() -> Result<()> {
    let (_store, net) = built(&toy())?;
    let _guard = admix_torch::no_grad();
    // 16 x 16 cells in windows of 4.
    let images = admix_api::contract::wild(&[1, 3, 32, 32], 0.3, Kind::Float);
    let patches = net.forward_to(0, &images, &Pass::EVALUATE)?.into_tensor();
    let moved = patches.f_detach_copy()?;
    let mut corner = moved.f_narrow(2, 0, 1)?.f_narrow(3, 0, 1)?;
    let _ = corner.f_add_(&admix_api::contract::wild(&corner.size(), 0.6, Kind::Float))?;
    let run = |x: &Tensor| net.stage(1, &x.shallow_clone().into(), &Pass::EVALUATE);
    let differs = run(&patches)?.into_tensor().f_ne_tensor(run(&moved)?.tensor())?.f_any_dim(1, false)?;
    let at = |y: i64, x: i64| differs.f_int64_value(&[0, y, x]).map(|value| value != 0);
    // The first block reaches the 4 x 4 cells of the corner's window. The second one's windows begin at -2, 2, 6, ..; those
    // at -2 hold cells of opposite edges, which do not see each other.
    assert!(at(0, 0)? && at(3, 3)? && at(5, 5)? && at(0, 5)?);
    assert!(!at(6, 6)? && !at(0, 6)? && !at(15, 15)? && !at(0, 15)? && !at(15, 0)?);
    Ok(())
}

#[test]
fn maps_of_any_size_have_windows() -> Result<()> {
    let (_store, net) = built(&toy())?;
    let mut map: Map = admix_api::contract::wild(&[1, 3, 31, 12], 0.3, Kind::Float).into();
    for (stage, wanted) in [(0, [15, 6]), (1, [15, 6]), (2, [8, 3]), (3, [4, 2]), (4, [2, 1])] {
        map = net.stage(stage, &map, &Pass::EVALUATE)?;
        assert_eq!(map.tensor().size()[2..], wanted, "stage {stage}");
    }
    Ok(())
}

#[test]
fn position_biases_do_not_decay_and_layers_are_timms() -> Result<()> {
    let (store, net) = built(&toy())?;
    for (name, _, hints) in store.parameters() {
        assert_eq!(hints.weight_decay, !name.ends_with("relative_position_bias_table"), "{name}");
    }
    assert_eq!((net.layers(), net.layer("patch_embed.norm.bias"), net.layer("norm.bias")), (13, 0, 12));
    assert_eq!(
        (net.layer("layers.1.downsample.norm.bias"), net.layer("layers.2.blocks.5.norm1.bias")),
        (3, 10)
    );
    Ok(())
}

#[test]
fn values_out_of_range_and_misfits_name_their_setting() {
    let config = SwinConfig::default();
    for (config, words) in [
        (SwinConfig { window: 1, ..config.clone() }, "window is 1, expected a number of cells from 2 to 32"),
        (SwinConfig { patch: 0, ..config.clone() }, "patch is 0"),
    ] {
        assert!(built(&config).expect_err(words).to_string().contains(words), "{words}");
    }
    let table = "layers.0.blocks.0.attn.relative_position_bias_table";
    assert_eq!(config.misfit(table, &[49, 3], &[169, 3]), Some("window"));
    assert_eq!(config.misfit("patch_embed.proj.weight", &[96, 3, 2, 2], &[96, 3, 4, 4]), Some("patch"));
    assert_eq!(config.misfit(table, &[169, 4], &[169, 3]), Some("size"));
}

#[test]
fn torchvisions_files_have_the_rows_of_each_table_beside_it() {
    let naming = SwinConfig::default().namings().into_iter().find(|one| one.libraries == ["torchvision"]);
    let naming = naming.expect("torchvision has it");
    let name = "layers.1.blocks.0.attn.relative_position_bias_table";
    let beside = (naming.beside)(name, &[9, 3]).expect("a tensor");
    assert_eq!(beside.name, "features.3.0.attn.relative_position_index");
    // A window of 2x2: rows of the pairs of cells, as torchvision computes them.
    assert_eq!(
        (beside.shape, beside.values),
        (vec![16], vec![4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4])
    );
    assert_eq!((naming.beside)("layers.1.blocks.0.norm1.weight", &[9]), None);
}
