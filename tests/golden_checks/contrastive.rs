//! Contrastive losses, feature extension and the projection neck.

use admix_api::{Loss, LossInput, Store, Streams, extend, unit};
use admix_models::{Head, MlpNeck, MlpNeckConfig};
use admix_plugins::losses::{Bce, BceForm, InfoNce};
use admix_torch::{Device, Kind, Tensor, grad_of};

use super::{Golden, Tolerance};

const LOSS: Tolerance = Tolerance::relative(1e-6, 0.0);
const GRAD: Tolerance = Tolerance::relative(1e-5, 1e-7);
const EMBEDDING: Tolerance = Tolerance::absolute(1e-6);

/// The keys of both sources, the own with `lambda`.
fn pair(golden: &Golden, prefix: &str, lambda: f64) -> LossInput {
    let keys = Tensor::stack(&[golden.get(&format!("{prefix}k_i")), golden.get(&format!("{prefix}k_j"))], 1);
    let own = Tensor::full([keys.size()[0]], lambda, (Kind::Float, Device::Cpu));
    LossInput::default()
        .with("contrast.keys", keys)
        .with("contrast.shares", Tensor::stack(&[own.shallow_clone(), 1.0 - own], 1))
}

/// The loss of the embedding that `make` takes from the tensor `leaf`, and its gradient for that tensor.
fn check(
    golden: &Golden,
    name: &str,
    loss: &dyn Loss,
    input: LossInput,
    leaf: &str,
    make: fn(&Tensor) -> Tensor,
) {
    let z = golden.get(leaf).set_requires_grad(true);
    let value = loss.loss(&input.with("embedding", make(&z))).expect("a loss");
    golden.check(&format!("{name}.loss"), &value, LOSS);
    value.backward();
    golden.check(&format!("{name}.grad_z"), &grad_of(&z).expect("a gradient"), GRAD);
}

fn normalised(z: &Tensor) -> Tensor {
    unit(z).expect("a unit embedding")
}

pub fn contrastive(golden: &Golden) {
    let temperature = golden.number("temperature");
    let info_nce = InfoNce { temperature, ..InfoNce::default() };
    let bce = |form| Bce { temperature, form };
    let own = LossInput::default().with_keys(&golden.get("k_i")).expect("keys");
    check(golden, "infonce", &info_nce, own.with("queue", golden.get("queue")), "z_raw", normalised);
    for (i, lambda) in golden.numbers("lams").into_iter().enumerate() {
        let mixed = pair(golden, "", lambda).with("queue", golden.get("queue"));
        check(golden, &format!("mix_infonce.lam{i}"), &info_nce, mixed, "z_raw", normalised);
        let sources = pair(golden, "", lambda);
        check(golden, &format!("bce_code.lam{i}"), &bce(BceForm::Softmax), sources, "z_raw", normalised);
        for (name, form) in [("eq6_literal", BceForm::Literal), ("eq6_neglog", BceForm::NegativeLog)] {
            let sources = pair(golden, "eq6.", lambda);
            check(golden, &format!("{name}.lam{i}"), &bce(form), sources, "eq6.z", Tensor::shallow_clone);
        }
    }

    let (first, second) = (golden.get("k_i"), golden.get("k_j"));
    for (name, beyond) in [("extend_interp", 0.0), ("extend_extrap", 1.0)] {
        let weight = golden.get(&format!("{name}.beta_draw")) + beyond;
        for (end, own, other) in [("q", &first, &second), ("k", &second, &first)] {
            let found = extend(own, other, &weight).expect("an embedding");
            golden.check(&format!("{name}.{end}"), &found, EMBEDDING);
        }
    }

    let widths = golden.get("neck.fc0.weight").size();
    let outputs = golden.get("neck.fc1.weight").size()[0];
    let store = Store::new(Device::Cpu, Streams::new(0));
    let config = MlpNeckConfig { hidden: widths[0], out: outputs, ..MlpNeckConfig::default() };
    let neck = MlpNeck::new(&store.root(), widths[1], &config).expect("a neck");
    store.load(|name| golden.find(&format!("neck.{name}"))).expect("the neck's weights");
    let found = neck.forward(&golden.get("neck.feature"), true).expect("embeddings");
    golden.check("neck.out", &found, EMBEDDING);
}
