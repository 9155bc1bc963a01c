//! Checkpoints whose checksum fits, and whose content no run would write.

use admix_engine::Checkpoint;
use admix_torch::{Device, Kind};

use super::resume::file_of;
use super::{Place, TINY};

#[test]
fn a_checkpoint_of_values_that_no_run_writes_is_refused_by_its_tensor_or_field() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let flags = ["run", "r.ron", "--out", "run", "--set", "model=ResNet(width: 0.125)", "--max-steps", "2"];
    place.compute(&flags).good();
    let file = file_of(&place, "run", 2);
    let read = || Checkpoint::read(&file, Device::Cpu).expect("whole");
    let variance = "net.q.backbone.bn1.running_var";
    type Forge = fn(&mut Checkpoint, &str);
    let forgeries: [(Forge, &[&str]); 6] = [
        (
            |c, name| drop(c.tensors.insert(name.into(), -c.tensors[name].shallow_clone())),
            &["the tensor `net.q.backbone.bn1.running_var` holds a variance below 0"],
        ),
        (
            |c, name| drop(c.tensors.insert(name.into(), c.tensors[name].to_kind(Kind::Double))),
            &["`net.q.backbone.bn1.running_var` is of the kind Double, expected Float"],
        ),
        (
            |c, name| drop(c.tensors.insert(name.into(), c.tensors[name].to_kind(Kind::Int))),
            &["`net.q.backbone.bn1.running_var` is of the kind Int, expected Float"],
        ),
        (|c, _| c.header.clock.step = 4_000_000_000, &["`clock.step` is 4000000000, beyond the 16 steps"]),
        (|c, _| c.header.clock.epoch = 99, &["`clock.epoch` is 99, beyond the 2 epochs"]),
        (|c, _| c.header.batch_in_epoch = 9, &["`batch_in_epoch` is 9, beyond the 8 steps of an epoch"]),
    ];
    for (forge, parts) in forgeries {
        let mut forged = read();
        forge(&mut forged, variance);
        let path = place.path("forged.safetensors");
        Checkpoint::write(&path, forged.header.clone(), &forged.tensors).expect("written");
        let parts = [&["forged.safetensors"], parts].concat();
        place.compute(&["eval", "forged.safetensors"]).refused(2, &parts);
        let resume = ["--resume", "forged.safetensors", "--max-steps", "3"];
        place.compute(&[&flags[..flags.len() - 2], &resume[..]].concat()).refused(2, &parts);
    }
}
