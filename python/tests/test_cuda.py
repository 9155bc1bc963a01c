"""Mixers and losses on a CUDA device: a real one where there is one, and the fake one of tests/fake_cuda."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import fake_cuda
import pytest
import torch

SCRIPT = pathlib.Path(__file__).with_name("on_cuda.py")


def run(rounds, **variables):
    command = [sys.executable, str(SCRIPT), str(rounds)]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    assert ran.returncode == 0 and ran.stdout.strip() == "well", ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    if torch.version.cuda is None or shutil.which("g++") is None:
        pytest.skip("the fake device needs a PyTorch with CUDA, and g++")
    folder = tmp_path_factory.mktemp("fake")
    fake_cuda.build(folder, pathlib.Path(__file__).resolve().parents[2])
    return folder


def test_every_mixer_and_loss_works_on_a_device_and_waits_for_it_nowhere(fake):
    seen = []
    for rounds in (1, 3):
        stats = fake / f"{rounds}.json"
        run(rounds, PYTHONPATH=str(fake), FAKE_CUDA_STATS=str(stats))
        seen.append(json.loads(stats.read_text()))
        assert not seen[-1]["faults"], seen[-1]
    waits = {name: seen[1]["syncs"][name] - count for name, count in seen[0]["syncs"].items()}
    # Co-Mixup plans on the host: in each of two rounds on each of two streams it asks for saliency and sends the plan.
    assert {name: more for name, more in waits.items() if more} == {
        "copy to the host, pageable": 4, "copy to the device, pageable": 4,
    }
    assert sum(seen[1]["kernels"].values()) > 2 * sum(seen[0]["kernels"].values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_every_mixer_and_loss_works_on_a_gpu():
    run(3)
