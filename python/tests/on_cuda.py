"""Every mixer and loss on the device `cuda`, each mixer ROUNDS times, held against the CPU. `test_cuda.py` starts it."""

import contextlib
import os
import sys

import torch
from conftest import every_mixer, given, make, reads

import admix

if "FAKE_CUDA_STATS" in os.environ:
    # PyTorch's start-up would look for a GPU.
    torch.cuda._lazy_init = lambda: None
ROUNDS = int(sys.argv[1])
LAST = 3
LABELS = torch.tensor([0, 3, 1, 4, 2, 3])


def on_device(tensors):
    return {name: tensor.to("cuda") for name, tensor in tensors.items()}


def parts(m):
    return {"images": m.images, "sources": m.sources, "shares": m.shares, "lam": m.lam, "mask": m.mask, **m.extras}


def same(found, wanted, what):
    for name, tensor in wanted.items():
        if tensor is None:
            assert found[name] is None, (what, name)
            continue
        assert found[name].device.type == "cuda", (what, name, found[name].device)
        torch.testing.assert_close(found[name].cpu(), tensor, rtol=1e-5, atol=1e-6, msg=lambda said: f"{what} {name}: {said}")


def step_of(mixer, inputs, labels, step):
    """A step with a mix: what it gives."""
    m = mixer(**reads(mixer, inputs), step=step)
    value = m.loss(m.images.flatten(1)[:, :5], labels)
    if value.requires_grad:
        value.backward()
    mixer.after_step()
    return {**parts(m), "value": value, "soft": m.target(labels, 5)}


def mixers(stream):
    """What each mixer gives in the last of its steps, on both devices."""
    inputs = given()
    moved, labels = on_device(inputs), LABELS.to("cuda")
    torch.accelerator.synchronize()
    for name, settings in every_mixer():
        one, other = make(name, settings), make(name, settings).to("cuda")
        assert all(p.device.type == "cuda" for p in other.parameters())
        torch.accelerator.synchronize()
        for step in range(LAST - ROUNDS + 1, LAST + 1):
            with stream:
                found = step_of(other, moved, labels, step)
            wanted = step_of(one, inputs, LABELS, step)
        torch.accelerator.synchronize()
        same(found, wanted, name)


def losses():
    """Values of every loss, on both devices."""
    keys = torch.nn.functional.normalize(torch.sin(torch.arange(24.0) * 0.61).reshape(6, 4))
    tensors = {"logits": torch.sin(torch.arange(30.0)).reshape(6, 5), "embedding": keys.flip(0), "queue": keys.flip(1).t()}
    for name in sorted(admix.losses()):
        loss = admix.Loss(name)
        values = []
        for device in ("cuda", "cpu"):
            m = make("cutmix")(given()["images"].to(device), step=1)
            own = {"labels": m.of(LABELS.to(device)), "keys": m.of(keys.to(device)), "a": m}
            own |= {f"the tensor `{name}`": tensor.to(device) for name, tensor in tensors.items()}
            values.append(loss(*(own[text if text in own else text.split()[0]] for text in loss.arguments)))
        same({"value": values[0]}, {"value": values[1]}, name)


def tensors_of_two_devices_are_refused():
    here, there = given(), on_device(given())
    amix, cut = make("amix").to("cuda"), make("cutmix")
    logits, labels = torch.zeros(6, 5), LABELS
    for call in (
        lambda: amix(**reads(amix, here)),
        lambda: make("amix")(**reads(amix, there)),
        lambda: amix(there["images"], features=here["features"]),
        lambda: cut(there["images"]).target(labels, 5),
        lambda: cut(there["images"]).loss(logits.to("cuda"), labels),
        lambda: cut(there["images"]).loss(logits, labels.to("cuda")),
        lambda: cut(here["images"]).blend(there["images"]),
        lambda: admix.Loss("cross_entropy")(logits.to("cuda"), labels),
    ):
        try:
            call()
        except ValueError as error:
            assert "Cuda(0)" in str(error) and "Cpu" in str(error) and "\n" not in str(error), error
        else:
            raise AssertionError("not refused")


for stream in (torch.Stream(device="cuda"), contextlib.nullcontext()):
    mixers(stream)
losses()
tensors_of_two_devices_are_refused()
print("well")
