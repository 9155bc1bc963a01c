"""ManifoldMix: mixes inside of the network, by a hook."""


def hidden(mixer, net, stages, images, labels):
    """The loss of a mix at the output of one of `stages`, or of the images."""
    m = mixer(images)
    hook = stages[m.stage - 1].register_forward_hook(lambda _, __, maps: m.blend(maps)) if m.stage else None
    logits = net(m.images)
    if hook:
        hook.remove()
    return m.loss(logits, labels)
