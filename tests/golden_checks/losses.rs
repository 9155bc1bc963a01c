//! Classification losses and the classifier head.

use admix_api::{Loss, LossInput, Store, Streams};
use admix_models::{Head, LinearHead};
use admix_plugins::losses::{ClassWeight, CrossEntropy, Form, MixupCrossEntropy, PBce, PBceForm};
use admix_torch::{Device, Kind, Tensor, grad_of};

use super::{Golden, Tolerance};

const LOSS: Tolerance = Tolerance::relative(1e-6, 0.0);
const GRAD: Tolerance = Tolerance::absolute(1e-6);

/// Labels of both sources, the own with `lambda`, and the weights of the classes.
fn pair(golden: &Golden, lambda: f64) -> LossInput {
    let labels = Tensor::stack(&[golden.get("y_a"), golden.get("y_b")], 1);
    let own = Tensor::full([labels.size()[0]], lambda, (Kind::Float, Device::Cpu));
    LossInput::default()
        .with("target.labels", labels)
        .with("target.shares", Tensor::stack(&[own.shallow_clone(), 1.0 - own], 1))
        .with("class_weight", golden.get("class_weight"))
}

fn check(golden: &Golden, prefix: &str, loss: &dyn Loss, input: LossInput) {
    let logits = golden.get("logits").set_requires_grad(true);
    let value = loss.loss(&input.with("logits", logits.shallow_clone())).expect("a loss");
    golden.check(&format!("{prefix}.loss"), &value, LOSS);
    value.backward();
    golden.check(&format!("{prefix}.grad"), &grad_of(&logits).expect("a gradient"), GRAD);
}

pub fn ce_losses(golden: &Golden) {
    let negative_weight = golden.number("neg_weight");
    let mixup = |form, negative_weight| MixupCrossEntropy { form, negative_weight, ..Default::default() };
    for (i, lambda) in golden.numbers("lams").into_iter().enumerate() {
        let check = |name: &str, loss: &dyn Loss| {
            check(golden, &format!("{name}.lam{i}"), loss, pair(golden, lambda));
        };
        check("hard", &CrossEntropy::default());
        check("hard", &mixup(Form::Hard, 1.0));
        check("soft", &mixup(Form::Soft, 1.0));
        check("soft_neg05", &mixup(Form::Soft, negative_weight));
        check("sigmoid", &mixup(Form::Sigmoid, 1.0));
        check("sigmoid_neg05", &mixup(Form::Sigmoid, negative_weight));
        check("pbce_full_prob", &PBce { form: PBceForm::LiteralFull });
        check("pbce_pair_prob", &PBce { form: PBceForm::LiteralPair });
        check("pbce_pair_log", &PBce::default());
    }
    let labels = golden.get("y_a");
    check(
        golden,
        "onehot",
        &CrossEntropy::default(),
        LossInput::default().with_labels(&labels).expect("labels"),
    );

    let lambda = golden.numbers("lams")[1];
    let class_weight = ClassWeight::OverSamples;
    check(
        golden,
        "hard_class_weight",
        &CrossEntropy { class_weight, ..Default::default() },
        pair(golden, lambda),
    );
    let weighted = MixupCrossEntropy { class_weight, ..Default::default() };
    check(golden, "hard_class_weight", &weighted, pair(golden, lambda));

    let (map, weight) = (golden.get("head.feature"), golden.get("head.fc.weight"));
    let store = Store::new(Device::Cpu, Streams::new(0));
    let head = LinearHead::new(&store.root(), weight.size()[1], weight.size()[0]).expect("a head");
    store.load(|name| golden.find(&format!("head.{name}"))).expect("the head's weights");
    golden.check("head.logits", &head.forward(&map, true).expect("logits"), Tolerance::absolute(1e-6));
}
