//! AMix without the engine: the same networks, mixer, losses and fused updates in a plain loop.
//! `cargo run --release --example train_by_hand -- --case quickstart --steps 20 --warmup 5 --threads 2`
#![allow(clippy::print_stdout, reason = "the one line that a program like this prints")]
use std::time::Instant;

use admix_api::{
    DrivenLoss, DrivenMix, Driver, MixInput, MixerContext, Operand, Registry, Store, Streams, Turn,
};
use admix_models::{Network, Pass, ResNetConfig};
// Linked, or the registry is empty.
use admix_plugins as _;
use admix_torch::{Device, Kind, SgdOptions, Tensor, backward, grad_of, no_grad, scalar};
use serde_json::json;

// The program's, so that the two differ in the engine alone.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |flag| arguments.iter().position(|a| a == flag).and_then(|at| arguments.get(at + 1));
    let number = |flag, default| value(flag).and_then(|v| v.parse().ok()).unwrap_or(default);
    let (steps, warmup) = (number("--steps", 20), number("--warmup", 5));
    admix_torch::set_threads(number("--threads", 2));
    // Batch, channels, size, classes, width: those of `configs/bench/amix_default.ron` and of the quickstart.
    let (n, c, size, classes, width) = match value("--case").map(String::as_str) {
        Some("resnet18") => (number("--batch", 32), 3, 32, 100, 1.0),
        _ => (number("--batch", 100), 1, 28, 10, 0.125),
    };
    let model = ResNetConfig { width, ..Default::default() };
    let (streams, heads) = (Streams::new(0), ["one".to_string(), "mix".to_string()]);
    let store = || Store::new(Device::Cpu, streams);
    let (q, k) = (store(), store());
    let student = Network::build(&q.root(), &model, &heads, classes, c)?;
    let teacher = Network::build(&k.root(), &model, &heads, classes, c)?;
    k.copy_from(&q)?;
    k.set_requires_grad(false);
    let feature_channels = Some(student.backbone().channels(3));
    let driver = Driver::new(Registry::linked()?, 0)
        .knowing(MixerContext { feature_channels, ..MixerContext::default() });
    let per = if c == 1 { "Sample" } else { "Batch" };
    let mut mixer = driver.mixer("amix", &json!({ "alpha": 2.0, "per": per }))?;
    let loss = |name| driver.loss(name, &json!({}));
    let (ce, mixup_ce, mask_loss) = (loss("cross_entropy")?, loss("mixup_cross_entropy")?, loss("mask")?);

    let images = Tensor::f_randn([n as i64, c, size, size], (Kind::Float, Device::Cpu))?;
    let labels = Tensor::f_randint(classes, [n as i64], (Kind::Int64, Device::Cpu))?;
    let of = |store: &Store| store.parameters().into_iter().map(|(_, t, _)| t).collect::<Vec<Tensor>>();
    let (sources, targets) = (of(&q), of(&k));
    let trained: Vec<Tensor> = of(&q).into_iter().chain(of(mixer.store())).collect();
    let velocity = trained.iter().map(Tensor::f_zeros_like).collect::<Result<Vec<_>, _>>()?;
    let (lr, follow, found_inf) =
        (scalar(0.1, Device::Cpu), scalar(0.01, Device::Cpu), scalar(0.0, Device::Cpu));
    let sgd = SgdOptions { momentum: 0.9, weight_decay: 1e-4, nesterov: false };

    let logits = |net: &Network, images: &Tensor, head: &str| -> Outcome<Tensor> {
        Ok(net.forward_head(head, &net.backbone().forward(images, &Pass::TRAIN)?, true)?)
    };
    let of_mix = |loss: &DrivenLoss, logits: Tensor, mix: &DrivenMix| -> Outcome<Tensor> {
        Ok(loss.loss(vec![Operand::Tensor(logits), Operand::shared(&mix.mixed.credit, &labels)?])?)
    };
    let mut times = Vec::new();
    for step in 0..warmup + steps {
        let begin = Instant::now();
        let z = {
            let _guard = no_grad();
            teacher.backbone().forward_to(3, &images, &Pass::TRAIN)?.into_tensor()
        };
        let mut mix = |draw: &str, quiet: bool| {
            let input = MixInput { features: Some(&z), quiet, ..MixInput::of(&images) };
            mixer.mix(&input, &Turn::at(0, step as u64).named(draw))
        };
        let attempt = mix("attempt", false)?;
        let generate = of_mix(&mixup_ce, logits(&teacher, &attempt.mixed.images, "mix")?, &attempt)?;
        let mask = mask_loss.loss(vec![Operand::mask(&attempt)])?;
        backward(&generate.f_add(&mask.f_mul_scalar(0.1)?)?)?;
        let clean = Operand::Tensor(logits(&student, &images, "one")?);
        backward(&ce.loss(vec![clean, Operand::Tensor(labels.shallow_clone())])?)?;
        let lesson = mix("lesson", true)?;
        backward(&of_mix(&mixup_ce, logits(&student, &lesson.mixed.images, "mix")?, &lesson)?)?;

        let gradients: Vec<Tensor> = trained.iter().filter_map(grad_of).collect();
        admix_torch::nonfinite(&gradients, &found_inf)?;
        admix_torch::fused_sgd(&trained, &gradients, &velocity, &sgd, &lr, Some(&found_inf))?;
        admix_torch::clear_grads(&trained)?;
        mixer.after_step()?;
        let _guard = no_grad();
        admix_torch::ema(&targets, &sources, &follow, None)?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let mut times = times.split_off(warmup);
    times.sort_by(f64::total_cmp);
    println!("{{\"ms_per_step\": {:.4}, \"min\": {:.4}}}", times[times.len() / 2], times[0]);
    Ok(())
}
