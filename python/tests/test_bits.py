"""The bits of the Rust program, the tensors shared."""

import os
import subprocess

import pytest
import torch
from conftest import every_mixer, given, make, reads

import admix

safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module", params=[(0, 0, 0), (7, 2, 31)], ids=["first", "later"])
def reference(request, program, tmp_path_factory):
    seed, epoch, step = request.param
    file = tmp_path_factory.mktemp("reference") / "all.safetensors"
    command = [program, str(file), "--seed", str(seed), "--epoch", str(epoch), "--step", str(step)]
    subprocess.run(command, check=True, env={**os.environ, "LD_LIBRARY_PATH": os.environ.get("ADMIX_LIBTORCH", "")})
    return request.param, safetensors.load_file(file)


@pytest.mark.parametrize(("name", "settings"), every_mixer())
def test_every_mixer_gives_the_bits_of_the_program(reference, name, settings):
    (seed, epoch, step), wanted = reference
    inputs = {name: wanted[f"given.{name}"] for name in ("images", "saliency", "features", "pseudo")}
    mixer = make(name, settings, seed=seed)
    mixed = mixer(**reads(mixer, inputs), epoch=epoch, step=step)
    found = {"images": mixed.images, "sources": mixed.sources, "shares": mixed.shares, "lam": mixed.lam}
    if mixed.mask is not None:
        found["mask"] = mixed.mask
    found |= {f"extras.{extra}": tensor for extra, tensor in mixed.extras.items()}
    found |= {f"tensors.{key}": tensor for key, tensor in mixer.state_dict().items() if torch.is_tensor(tensor)}
    prefix = f"mixer.{name}."
    assert {key.removeprefix(prefix) for key in wanted if key.startswith(prefix)} == set(found)
    for key, tensor in found.items():
        assert tensor.dtype == wanted[prefix + key].dtype, key
        assert torch.equal(tensor.detach(), wanted[prefix + key]), key


@pytest.mark.parametrize("name", sorted(admix.losses()))
def test_every_loss_gives_the_bits_of_the_program(reference, name):
    (seed, epoch, step), wanted = reference
    mixed = make("cutmix", seed=seed)(wanted["given.images"], epoch=epoch, step=step)
    loss = admix.Loss(name)
    operands = []
    for argument in loss.arguments:
        if argument.startswith("the tensor `"):
            operands.append(wanted[f"given.{argument.split('`')[1]}"])
        elif argument.startswith("labels"):
            operands.append(mixed.of(wanted["given.labels"]))
        elif argument.startswith("keys"):
            operands.append(mixed.of(wanted["given.keys"]))
        else:
            operands.append(mixed)
    value = loss(*operands)
    assert value.shape == () and torch.equal(value, wanted[f"loss.{name}"])


def test_there_is_one_libtorch_in_the_process():
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if "libtorch_cpu.so" in line}
    assert len(paths) == 1, paths


def test_memory_is_shared_where_nothing_is_computed():
    images = given()["images"]
    assert make("mixup", prob=0.0)(images).images.data_ptr() == images.data_ptr()
    hidden = make("manifoldmix", {"stages": [2]})(images)
    assert hidden.stage == 2 and hidden.images.data_ptr() == images.data_ptr()
    assert hidden.images is images, "the same object comes back"
    amix = make("amix")
    assert all(isinstance(p, torch.nn.Parameter) and p.is_leaf and p.requires_grad for p in amix.parameters())
    by_name = {name: tensor.data_ptr() for name, tensor, _ in amix._driver.tensors()}
    assert {name: p.data_ptr() for name, p in amix.named_parameters()} == {
        name: by_name[name] for name, _ in amix.named_parameters()
    }


def test_the_own_image_is_never_modified():
    for name, settings in every_mixer():
        inputs = given()
        before = {key: tensor.clone() for key, tensor in inputs.items()}
        mixer = make(name, settings)
        mixer(**reads(mixer, inputs))
        assert all(torch.equal(inputs[key], before[key]) for key in inputs), name
