"""What is wrong is told as a ValueError, in one line, by the name of the setting or tensor."""

import pytest
import torch
from conftest import given, make

import admix


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: admix.Mixer("puzlemix"), ["no mixer named `puzlemix`", "Did you mean `puzzlemix`?"]),
        (lambda: admix.Loss("msk"), ["no loss named `msk`", "Did you mean `mask`?"]),
        (lambda: admix.Mixer("cutmix", alpah=1.0), ["`alpah` is no setting of the mixer `cutmix`", "Did you mean `alpha`?"]),
        (lambda: admix.Mixer("cutmix", alpha="one"), ["`alpha` of the mixer `cutmix` is \"one\", expected a number"]),
        (lambda: admix.Mixer("cutmix", alpha=-1), ["`alpha` of the mixer `cutmix` is -1, expected a number above 0"]),
        (lambda: admix.Mixer("cutmix", alpha=torch.ones(1)), ["`alpha` of the mixer `cutmix` is tensor([1.]), expected a number"]),
        (lambda: admix.Mixer("cutmix", alpha=float("nan")), ["`alpha` of the mixer `cutmix` is nan"]),
        (lambda: admix.Mixer("cutmix", per="sample"), ["`per`", "expected `Batch` or `Sample`", "Did you mean `Sample`?"]),
        (lambda: admix.Mixer("cutmix", seed=-1), ["`seed` is -1, expected a whole number from 0"]),
        (lambda: admix.Mixer("cutmix", seed=0.5), ["`seed` is 0.5"]),
        (lambda: admix.Mixer("amix"), ["the mixer `amix` needs `channels`", "stage 3"]),
        (lambda: admix.Mixer("amix", channels=0), ["`channels` is 0"]),
        (lambda: admix.Mixer("amix", channels=4, dropout=2.0), ["`dropout` of the mixer `amix` is 2"]),
        (lambda: admix.Loss("mask", margin="big"), ["`margin` of the loss `mask` is \"big\", expected a number"]),
        (lambda: admix.Script("nowhere.rhai"), ["nowhere.rhai"]),
        (lambda: admix.load_library("nowhere.so"), ["there is no such library"]),
        (lambda: admix.about("puzzle"), ["no mixer or loss named `puzzle`"]),
        (lambda: admix.Collate(admix.Mixer("puzzlemix"), 5), ["reads saliency beside the images"]),
        (lambda: admix.Transform(admix.Mixer("mixup"), 0), ["`classes` is 0"]),
    ],
)
def test_wrong_settings(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message, message


IMAGES = torch.rand(4, 3, 8, 8)


@pytest.mark.parametrize(
    ("mix", "kind", "words"),
    [
        (lambda: make("puzzlemix")(IMAGES), ValueError, "the mixer `puzzlemix` needs `saliency`"),
        (lambda: make("amix")(IMAGES), ValueError, "the mixer `amix` needs `features`"),
        (lambda: make("amix")(IMAGES, features=torch.rand(4, 5, 2, 2)), ValueError, "expected [N, 4, h, w]"),
        (lambda: make("mixup")(IMAGES, saliency=IMAGES[:, 0]), ValueError, "takes no `saliency`"),
        (lambda: make("puzzlemix")(IMAGES, saliency=torch.rand(4, 8, 9)), ValueError, "expected [4, 8, 8]"),
        (lambda: make("mixup")(IMAGES[0]), ValueError, "expected [N, C, H, W]"),
        (lambda: make("mixup")((IMAGES * 255).byte()), ValueError, "divide by 255"),
        (lambda: make("mixup")(IMAGES.numpy()), TypeError, "`images` must be a torch.Tensor, got ndarray"),
        (lambda: make("mixup")(None), TypeError, "`images` must be a torch.Tensor, got NoneType"),
        (lambda: make("mixup")(IMAGES[:0]), ValueError, "at least one image"),
        (lambda: make("mixup")(IMAGES.to("meta")), ValueError, "is on meta, which holds no values"),
        (lambda: make("mixup")(IMAGES.to_sparse()), ValueError, "torch.sparse_coo, expected a dense tensor"),
        (lambda: make("mixup")(IMAGES.to(torch.complex64)), ValueError, "floating point"),
        (lambda: make("mixup")(IMAGES.to(torch.uint16)), ValueError, "torch.uint16"),
        (lambda: make("mixup")(IMAGES, partner=torch.tensor([0, 1])), ValueError, "`partner` of the mixer `mixup`"),
        (lambda: make("mixup")(IMAGES, partner=torch.tensor([0, 1, 2, 4])), ValueError, "samples, 0 to 3"),
        (lambda: make("mixup")(IMAGES, lam=1.5), ValueError, "`lambda` of the mixer `mixup` is 1.5"),
        (lambda: make("mixup")(IMAGES).target(torch.tensor([0, 1, 2, 3]), 0), ValueError, "`classes` is 0"),
        (lambda: make("mixup")(IMAGES).loss(torch.rand(4, 3), torch.rand(4)), ValueError, "`labels` is [4] of Float"),
        (lambda: make("mixup")(IMAGES).blend(IMAGES), ValueError, "mask"),
        (lambda: admix.Loss("mask")(make("mixup")(IMAGES)), ValueError, "needs `mask`"),
        (lambda: admix.Loss("mask")(IMAGES), ValueError, "expects a mix that has a mask, got a tensor"),
        (lambda: admix.Loss("mask")(), ValueError, "takes a mix that has a mask; it was given 0"),
    ],
)
def test_wrong_inputs(mix, kind, words):
    with pytest.raises(kind) as caught:
        mix()
    assert words in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


def test_labels_beyond_the_classes_are_an_error():
    with pytest.raises((ValueError, RuntimeError)):
        make("mixup")(IMAGES).target(torch.tensor([0, 1, 2, 9]), 3)
    with pytest.raises((ValueError, RuntimeError)):
        make("mixup")(IMAGES).loss(torch.rand(4, 3), torch.tensor([0, 1, 2, 9]))
    with pytest.raises((ValueError, RuntimeError)):
        make("mixup")(IMAGES).loss(torch.rand(4, 3), torch.tensor([0, 1]))


def test_no_setting_has_the_name_of_a_keyword():
    import inspect

    from admix.entries import entries, settings

    taken = set(inspect.signature(admix.Mixer.__init__).parameters) - {"settings", "self"}
    for entry in entries():
        if entry["name"] != "script":
            assert not taken & {name for name, *_ in settings(entry)}, entry["name"]


def test_another_pytorch_is_refused_before_it_is_loaded(monkeypatch):
    import importlib.metadata

    from admix import _torch

    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.10.1")
    with pytest.raises(ImportError, match=r'torch 2.10.1 is installed.*pip install "torch==2.11.\*"'):
        _torch.check()

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ImportError, match="needs PyTorch"):
        _torch.check()


def test_the_stubs_are_those_of_the_settings(repo):
    import subprocess
    import sys

    ran = subprocess.run([sys.executable, repo / "python/stubs.py", "--check"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_descriptions_speak_of_every_setting():
    from admix.entries import entries, settings

    for entry in entries():
        if entry["name"] == "script":
            continue
        text = admix.about(entry["name"])
        assert entry["summary"][1:] in text and "Recipe:" not in text, text
        for name, kind, _, about in settings(entry):
            assert f"{name}: {kind}" in text and about, (entry["name"], name)
        assert getattr(admix, entry["type_name"]).__doc__ in text
