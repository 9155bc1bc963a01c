"""The loop of docs/python.md: at most 60 lines, and it learns."""

import importlib.util

import pytest
import torch

pytest.importorskip("torchvision")


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def patterns(count, classes, generator):
    """Images [N, 3, 16, 16] of stripes whose width tells the class, shifted and noisy, and labels [N]."""
    labels = torch.arange(count) % classes
    at = torch.arange(16.0) + 16 * torch.rand(count, 1, generator=generator)
    waves = torch.sin(at * (labels[:, None] + 1.0) * 0.7)
    images = waves[:, None, None, :].expand(count, 3, 16, 16) + 0.3 * torch.randn(count, 3, 16, 16, generator=generator)
    return images.contiguous(), labels


def test_the_loop_of_the_documentation_is_short_and_learns(repo):
    file = repo / "python/examples/amix.py"
    assert len(file.read_text().splitlines()) <= 60
    example = load(file)
    torch.manual_seed(0)
    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(1)
    images, labels = patterns(256, 4, generator)
    data = torch.utils.data.TensorDataset(images, labels)
    loader = torch.utils.data.DataLoader(data, 32, shuffle=True, generator=generator)
    _, q, mixer = example.train(loader, epochs=4, classes=4, lr=0.02, momentum=0.9)
    torch.set_num_threads(1)
    q.eval()
    fresh, wanted = patterns(64, 4, generator)
    with torch.no_grad():
        accuracy = (q(fresh).argmax(1) == wanted).float().mean().item()
    # By chance 0.25.
    assert accuracy > 0.7, accuracy
    assert all(p.isfinite().all() for p in mixer.parameters())


def small():
    torch.manual_seed(0)
    stages = [torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.Conv2d(8, 8, 3, stride=2)]
    return torch.nn.Sequential(*stages, torch.nn.Flatten(), torch.nn.Linear(72, 4)), stages


def test_the_step_of_puzzlemix_has_gradients(repo):
    net, _ = small()
    images, labels = patterns(8, 4, torch.Generator().manual_seed(1))
    load(repo / "python/examples/puzzlemix.py").step(net, images, labels).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_the_hook_of_manifoldmix_mixes_maps(repo):
    import admix

    net, stages = small()
    images, labels = patterns(8, 4, torch.Generator().manual_seed(1))
    hidden = load(repo / "python/examples/manifoldmix.py").hidden
    seen = set()
    for step in range(8):
        mixer = admix.Mixer("manifoldmix", stages=[0, 1, 2], seed=step)
        seen.add(mixer(images, step=0).stage)
        found = hidden(mixer, net, stages, images, labels)
        m = mixer(images, step=0)
        maps = m.images
        for number, layer in enumerate(net):
            maps = layer(maps)
            if number + 1 == m.stage:
                theirs = maps[m.partner]
                lam = m.lam
                maps = lam * maps + (1 - lam) * theirs
        torch.testing.assert_close(found, m.loss(maps, labels))
        found.backward()
        assert all(not layer._forward_hooks for layer in net)
    assert len(seen) > 1, seen
