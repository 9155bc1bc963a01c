"""Gradients in float64, through images, masks and parameters."""

import pytest
import torch
from conftest import every_mixer, given, make, reads, wave
from torch.autograd import gradcheck

import admix


@pytest.mark.parametrize(("name", "settings"), every_mixer())
def test_gradients_reach_the_images(name, settings):
    inputs = given(torch.float64, n=3, size=8)
    mixer = make(name, settings).double()
    images = inputs.pop("images").requires_grad_()
    rest = {key: value for key, value in inputs.items() if key in mixer.needs}

    def mixed(images):
        m = mixer(images, **rest, step=4)
        return m.blend(m.images) if m.stage else m.images

    if name in ("puzzlemix", "co_mixup"):
        # Patches move by a plan that has no slope: these mixers say that they give no graph.
        assert not mixed(images).requires_grad
        return
    assert gradcheck(mixed, (images,), atol=1e-6)


@pytest.mark.parametrize("name", ["amix", "automix"])
def test_gradients_reach_every_parameter(name):
    inputs = given(torch.float64, n=3, size=8)
    mixer = make(name, {"dropout": 0.0} if name == "amix" else {}).double()
    names = [key for key, _ in mixer.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for p in mixer.parameters())
    assert names

    def mixed(*values):
        m = torch.func.functional_call(mixer, dict(zip(names, values)), (inputs["images"],), {
            "features": inputs["features"], "step": 1,
        })
        return m.images, m.mask

    assert gradcheck(mixed, values, atol=1e-6)


def test_a_mixer_learns_by_an_optimiser_of_pytorch():
    inputs = given()
    mixer = make("amix")
    before = [p.detach().clone() for p in mixer.parameters()]
    optimiser = torch.optim.SGD(mixer.parameters(), lr=0.1)
    mask = admix.Loss("mask", mode="L1Variance")
    for _ in range(3):
        optimiser.zero_grad()
        m = mixer(inputs["images"], features=inputs["features"])
        (m.images.square().mean() + mask(m)).backward()
        optimiser.step()
        mixer.after_step()
    assert any(not torch.equal(a, b) for a, b in zip(before, mixer.parameters()))


def test_losses_have_gradients():
    m = make("cutmix")(given()["images"])
    logits = wave((6, 5), 1.3, torch.float64).requires_grad_()
    labels = torch.tensor([0, 3, 1, 4, 2, 3])
    loss = admix.Loss("mixup_cross_entropy")
    assert gradcheck(lambda logits: loss(logits, m.of(labels)), (logits,))
    # As PyTorch computes it from soft labels.
    soft = m.target(labels, 5).double()
    torch.testing.assert_close(m.loss(logits, labels), torch.nn.functional.cross_entropy(logits, soft))


def test_a_quiet_mix_has_no_graph():
    inputs = given()
    mixer = make("amix")
    loud = mixer(inputs["images"], features=inputs["features"], step=0)
    quiet = mixer(inputs["images"], features=inputs["features"], step=0, quiet=True)
    assert loud.images.requires_grad and not quiet.images.requires_grad
    with torch.no_grad():
        assert not mixer(inputs["images"], features=inputs["features"]).images.requires_grad
