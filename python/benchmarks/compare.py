"""What a mix costs against timm, torchvision and a plain PyTorch version: medians of rounds that take turns.

python compare.py [--batch 100] [--size 32] [--rounds 40] [--threads 1]; needs timm, torchvision and PyMaxflow.
"""

import argparse
import json
import statistics
import time

import maxflow
import numpy
import timm.data
import torch
import torchvision.transforms.v2 as v2

import admix


def timm_like(**alphas):
    mixup = timm.data.Mixup(num_classes=10, label_smoothing=0.0, **alphas)
    # It writes into its batch: for new tensors it is given a copy.
    return lambda images, labels: mixup(images.clone(), labels)


def ours(name, **settings):
    mixer = admix.Mixer(name, **settings)

    def mix(images, labels):
        m = mixer(images)
        return m.images, m.target(labels, 10)

    return mix


def plain_puzzlemix(blocks, alpha=1.0, beta=1.2, gamma=0.5, eta=0.2, t_eps=0.8):
    """PuzzleMix (arXiv:2009.06962, Eq. 3 to 6) with two labels: costs in PyTorch, a graph cut for each sample, then masked
    transport with as many rounds as the grid has rows."""
    place = torch.arange(float(blocks)) / (blocks - 1)
    far = (place[:, None] - place).square()
    far = (far[:, None, :, None] + far[None, :, None, :]).reshape(blocks**2, blocks**2)

    def transport(mask, shares):
        shown = (mask > 0).float().reshape(-1, 1, blocks**2)
        cost = t_eps * far - shares.reshape(-1, blocks**2, 1) * shown
        for _ in range(blocks):
            wish = torch.zeros_like(cost).scatter_(2, cost.argmin(2, keepdim=True), 1.0)
            offers = torch.where(wish > 0, cost, torch.zeros(()))
            best = torch.zeros_like(cost).scatter_(1, offers.argmin(1, keepdim=True), 1.0)
            taken = wish * best
            cost = cost + (wish - taken)
        return taken

    def moved(images, plan):
        n, c, height, width = images.shape
        h, w = height // blocks, width // blocks
        patches = images.reshape(n, c, blocks, h, blocks, w).permute(0, 2, 4, 1, 3, 5).reshape(n, blocks**2, -1)
        patches = plan.transpose(1, 2) @ patches
        return patches.reshape(n, blocks, blocks, c, h, w).permute(0, 3, 1, 4, 2, 5).reshape(n, c, height, width)

    def mix(images, labels, saliency):
        n, size = len(images), images.shape[2]
        lam = float(numpy.random.beta(alpha, alpha))
        partner = torch.randperm(n)
        share = torch.nn.functional.avg_pool2d(saliency[:, None], size // blocks)[:, 0]
        share = share / share.sum((1, 2), keepdim=True)
        theirs = share[partner]
        small = torch.nn.functional.avg_pool2d(images, 2) if size // blocks > 2 else images
        small = small.mean(1)
        step = small.shape[1] // blocks
        rows = (small[:, step - 1 : -1 : step] - small[:, step::step]).abs().reshape(n, blocks - 1, blocks, step).mean(3)
        cols = (small[:, :, step - 1 : -1 : step] - small[:, :, step::step]).abs()
        cols = cols.reshape(n, blocks, step, blocks - 1).mean(2)
        weight = beta / (16 * blocks)
        rows = weight * ((1 - gamma) + gamma * torch.exp(-(rows + rows[partner])))
        cols = weight * ((1 - gamma) + gamma * torch.exp(-(cols + cols[partner])))
        prior = eta / blocks**2 * numpy.log([(1 - lam) + 1e-8, lam + 1e-8])
        own_cost, their_cost = (theirs - prior[1]).numpy(), (share - prior[0]).numpy()
        low = numpy.minimum(own_cost, their_cost)
        own_cost, their_cost = own_cost - low, their_cost - low
        rows, cols = rows.numpy(), cols.numpy()
        masks = numpy.empty((n, blocks, blocks), numpy.float32)
        down, across = numpy.zeros((3, 3)), numpy.zeros((3, 3))
        down[2, 1] = across[1, 2] = 1
        edge = numpy.zeros((blocks, blocks))
        for i in range(n):
            graph = maxflow.Graph[float](blocks**2, 2 * blocks**2)
            nodes = graph.add_grid_nodes((blocks, blocks))
            edge[:] = 0
            edge[:-1] = rows[i]
            graph.add_grid_edges(nodes, edge, down, symmetric=True)
            edge[:] = 0
            edge[:, :-1] = cols[i]
            graph.add_grid_edges(nodes, edge, across, symmetric=True)
            graph.add_grid_tedges(nodes, their_cost[i], own_cost[i])
            graph.maxflow()
            masks[i] = ~graph.get_grid_segments(nodes)
        mask = torch.from_numpy(masks)
        own = moved(images, transport(mask, share))
        other = moved(images[partner], transport(1 - mask, theirs))
        pixels = mask[:, None].repeat_interleave(size // blocks, 2).repeat_interleave(size // blocks, 3)
        ratio = mask.mean((1, 2))[:, None]
        hot = torch.nn.functional.one_hot(labels, 10).float()
        return pixels * own + (1 - pixels) * other, ratio * hot + (1 - ratio) * hot[partner]

    return mix


def our_puzzlemix(blocks):
    mixer = admix.Mixer("puzzlemix", blocks=[blocks], labels=2, t_size=-1)

    def mix(images, labels, saliency):
        m = mixer(images, saliency=saliency)
        return m.images, m.target(labels, 10)

    return mix


def measure(sides, given, rounds, calls):
    """Milliseconds of a call, by side: all take turns in every round."""
    times = {name: [] for name in sides}
    for mix in sides.values():
        for _ in range(calls):
            mix(*given)
    for number in range(rounds):
        order = list(sides.items())
        for name, mix in order if number % 2 else reversed(order):
            begin = time.perf_counter()
            for _ in range(calls):
                mix(*given)
            times[name].append((time.perf_counter() - begin) / calls * 1e3)
    return {name: (statistics.median(all), min(all)) for name, all in times.items()}


def main():
    flags = argparse.ArgumentParser()
    for name, default in (("batch", 100), ("size", 32), ("rounds", 40), ("threads", 1)):
        flags.add_argument(f"--{name}", type=int, default=default)
    flags = flags.parse_args()
    torch.set_num_threads(flags.threads)
    torch.manual_seed(0)
    images, labels = torch.randn(flags.batch, 3, flags.size, flags.size), torch.randint(10, (flags.batch,))
    saliency = torch.rand(flags.batch, flags.size, flags.size)
    cases = {
        "mixup": {
            "admix": ours("mixup"),
            "timm": timm_like(mixup_alpha=1.0, cutmix_alpha=0.0),
            "torchvision": v2.MixUp(num_classes=10),
        },
        "cutmix": {
            "admix": ours("cutmix"),
            "timm": timm_like(mixup_alpha=0.0, cutmix_alpha=1.0),
            "torchvision": v2.CutMix(num_classes=10),
        },
    }
    for blocks in (2, 4, 8, 16):
        cases[f"puzzlemix {blocks}"] = {"admix": our_puzzlemix(blocks), "plain": plain_puzzlemix(blocks)}
    for case, sides in cases.items():
        is_puzzle = case.startswith("puzzle")
        given = (images, labels, saliency) if is_puzzle else (images, labels)
        found = measure(sides, given, max(flags.rounds // 4, 5) if is_puzzle else flags.rounds, 2 if is_puzzle else 20)
        own = found["admix"]
        others = [value for name, value in found.items() if name != "admix"]
        print(json.dumps({
            "case": case,
            "ms": {name: round(median, 4) for name, (median, _) in found.items()},
            "least": {name: round(least, 4) for name, (_, least) in found.items()},
            "ratio": round(own[0] / min(median for median, _ in others), 3),
            "ratio_least": round(own[1] / min(least for _, least in others), 3),
        }))


if __name__ == "__main__":
    main()
