"""PuzzleMix in a loop: the two lines that mix, and the saliency that it reads."""

import torch

import admix

mix = admix.Mixer("puzzlemix", alpha=1.0, seed=0)


def step(net, images, labels):
    """The loss of one step: images [N, C, H, W], labels [N]."""
    leaf = images.detach().requires_grad_()
    gradient, = torch.autograd.grad(torch.nn.functional.cross_entropy(net(leaf), labels), leaf)
    m = mix(images, saliency=gradient.square().mean(1).sqrt())    # [N, H, W]
    return m.loss(net(m.images), labels)
