from collections.abc import Sequence
from typing import Any, Literal

from .loss import Loss
from .mixer import Mixer

class AMix(Mixer):
    """A trained mask from global attention over both images and lambda (Mix Block+).

    Source: AMix paper, section 3.2, Eq. 5.
    Reads: images, features of stage 3.

    The rows of the paper's Table 8, from `AutoMix`, add: adaptive lambda (`content: Linear, attention:
    Cross, upsample: Nearest`), non-linear content (`attention: Cross, upsample: Nearest`), global
    attention (`upsample: Nearest`), the variance of the mask loss, bilinear upsampling (the default)
    and lambda adjusting (`adjust: 1.0`).

    Settings
    --------
    preset: 'Default' | 'Paper' | 'Code' | 'Literal' = 'Default'
        Where the values that are not given come from.
    stage: int = 3
        The stage whose features it reads, from 1 (paper: l = 3).
    attention: 'Global' | 'Cross' = 'Global'
        What a position attends to.
    projection: 'Shared' | 'Separate' = 'Shared'
        The weights of query and key.
    gamma: 'Learnable' | {'LearnableFrom': float} | {'Constant': float} = {'LearnableFrom': 1.0}
        The strength of lambda's encoding, in [0, 1].
    rescale: 'Off' | {'Polynomial': float} = 'Off'
        A polynomial of lambda in front of the encoding.
    content: 'NonLinear' | 'Linear' = 'NonLinear'
        How content is modelled.
    content_of: 'Partner' | 'Own' = 'Partner'
        Whose content is modelled.
    activation: 'Relu' | 'Elu' = 'Relu'
        The activation of non-linear content.
    dropout: float = 0.1
        Dropout of non-linear content, in [0, 0.99] (paper: 0.1).
    order: 'SigmoidFirst' | 'UpsampleFirst' = 'SigmoidFirst'
        Where the sigmoid stands.
    upsample: 'Bilinear' | 'Nearest' = 'Bilinear'
        How the mask grows to the size of the image.
    lam_margin: float = 0.0
        In the encoder's lesson: where lambda or 1 - lambda is at most this, plain MixUp; in [0,
        0.5]. 0 is never.
    adjust: float = 0.0
        In the encoder's lesson: how often the mean of the mask is moved to lambda, in [0, 1].
    adjust_margin: float = 0.0
        Adjusting leaves means within this distance of lambda alone, in [0, 1] (the authors' self-
        supervised code: 0.1).
    same_cluster: 'Keep' | 'Blend' = 'Keep'
        In the encoder's lesson: what happens to pairs of one pseudo label.
    init: {'Normal': float} | {'FanIn': float} = {'FanIn': 2.0}
        How the weights start.
    extras: bool = False
        Whether the mix hands out `attention`, `value`, `mask_low`, `lambda_encoded`.
    alpha: float = 2.0
        lambda ~ Beta(alpha, alpha); above 0.
    per: 'Batch' | 'Sample' = 'Sample'
        One lambda for the batch, or one for each sample.
    fold: bool = False
        Use max(lambda, 1 - lambda): the own image dominates.
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Permutation'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        preset: Literal['Code'] | Literal['Default'] | Literal['Literal'] | Literal['Paper'] = ...,
        stage: int = ...,
        attention: Literal['Cross'] | Literal['Global'] = ...,
        projection: Literal['Separate'] | Literal['Shared'] = ...,
        gamma: Literal['Learnable'] | dict[str, Any] = ...,
        rescale: Literal['Off'] | dict[str, Any] = ...,
        content: Literal['Linear'] | Literal['NonLinear'] = ...,
        content_of: Literal['Own'] | Literal['Partner'] = ...,
        activation: Literal['Elu'] | Literal['Relu'] = ...,
        dropout: float = ...,
        order: Literal['SigmoidFirst'] | Literal['UpsampleFirst'] = ...,
        upsample: Literal['Bilinear'] | Literal['Nearest'] = ...,
        lam_margin: float = ...,
        adjust: float = ...,
        adjust_margin: float = ...,
        same_cluster: Literal['Blend'] | Literal['Keep'] = ...,
        init: dict[str, Any] = ...,
        extras: bool = ...,
        alpha: float = ...,
        per: Literal['Batch'] | Literal['Sample'] = ...,
        fold: bool = ...,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class AutoMix(Mixer):
    """A trained mask from cross-attention between the two images.

    Source: Liu et al., ECCV 2022, arXiv:2103.13027.
    Reads: images, features of stage 3.

    Settings
    --------
    stage: int = 3
        The stage whose features it reads, from 1 (paper: l = 3).
    lambda_plane: bool = False
        Whether lambda is appended to the features as a constant channel (the authors: on 224-pixel
        images). Without it the mask does not depend on lambda.
    upsample: 'Bilinear' | 'Nearest' = 'Nearest'
        How the mask grows to the size of the image.
    lam_margin: float = 0.0
        In the encoder's lesson: where lambda or 1 - lambda is at most this, plain MixUp; in [0,
        0.5]. 0 is never; the authors' code has 0.08.
    adjust: float = 0.0
        In the encoder's lesson: how often the mean of the mask is moved to lambda, in [0, 1].
    init: {'Normal': float} | {'FanIn': float} = {'Normal': 0.01}
        How the weights start.
    extras: bool = False
        Whether the mix hands out `attention`, `value`, `mask_low`, `lambda_encoded`.
    alpha: float = 2.0
        lambda ~ Beta(alpha, alpha); above 0.
    per: 'Batch' | 'Sample' = 'Batch'
        One lambda for the batch, or one for each sample.
    fold: bool = False
        Use max(lambda, 1 - lambda): the own image dominates.
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Permutation'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        stage: int = ...,
        lambda_plane: bool = ...,
        upsample: Literal['Bilinear'] | Literal['Nearest'] = ...,
        lam_margin: float = ...,
        adjust: float = ...,
        init: dict[str, Any] = ...,
        extras: bool = ...,
        alpha: float = ...,
        per: Literal['Batch'] | Literal['Sample'] = ...,
        fold: bool = ...,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class Choice(Mixer):
    """One of the recipe's other mixers for each mix, picked at random.

    Source: as in OpenMixup (mix_mode) and timm (switch_prob).
    Reads: images, and what the mixers that it picks from need.

    Beside mixers of these names. The settings of the host, such as `alpha`, are those of the mixer that
    is picked.

    Settings
    --------
    of: object
        Mixers of the same recipe, by the names that it gives them, with their weights: numbers from
        0, not all 0. A mixer is picked with its share of the sum.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        of: dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class CoMixup(Mixer):
    """Outputs of the salient cells of many inputs, and different from each other.

    Source: Kim et al., ICLR 2021, arXiv:2102.03065, Sec. 3 and 4.
    Reads: images, saliency, a part of the work runs on the host.

    Where alpha is that of the Dirichlet prior. The defaults are the authors' for CIFAR-100, Tiny-
    ImageNet and ImageNet in few epochs; for ImageNet with `stride: 8`.

    Settings
    --------
    blocks: array = [4]
        Blocks a side of the grid, each at least 2: one is drawn for every batch among those that
        divide the image.
    part: int = 20
        Inputs that are mixed with each other, at least 2.
    beta: float = 0.32
        Smoothness: the weight of neighbours that show different inputs, at least 0.
    gamma: float = 1.0
        Diversity: the weight of the penalty of inputs that are used too often, at least 0.
    eta: float = 0.05
        Weight of the prior on how much each input is used, drawn from Dirichlet(alpha) for every
        part, at least 0.
    tau: float = 0.83
        How many whole outputs' worth of an input all other outputs may use before the penalty sets
        in, at least 0.
    threshold: 'Hard' | 'Soft' = 'Hard'
        How the penalty sets in.
    omega: float = 0.001
        How much the distance of the most salient windows of two inputs counts in the penalty, in
        [0, 1].
    window: int = 8
        Side of these windows in pixels, at least 1.
    stride: int = 1
        Pixels between two windows, at least 1.
    sweeps: int = 4
        Passes over all outputs, at least 1.
    resolve: bool = True
        Whether outputs that use the same inputs are parted in the last pass.
    form: 'Objective' | 'Code' = 'Objective'
        Where the paper's objective and the authors' code part.
    solver: 'Both' | 'Bp' | 'Swap' = 'Both'
        Who labels an output.
    alpha: float = 2.0
        lambda ~ Beta(alpha, alpha); above 0.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        blocks: list[Any] = ...,
        part: int = ...,
        beta: float = ...,
        gamma: float = ...,
        eta: float = ...,
        tau: float = ...,
        threshold: Literal['Hard'] | Literal['Soft'] = ...,
        omega: float = ...,
        window: int = ...,
        stride: int = ...,
        sweeps: int = ...,
        resolve: bool = ...,
        form: Literal['Code'] | Literal['Objective'] = ...,
        solver: Literal['Both'] | Literal['Bp'] | Literal['Swap'] = ...,
        alpha: float = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class CutMix(Mixer):
    """Paste a rectangle of the partner, credit labels by area.

    Source: Yun et al., ICCV 2019, arXiv:1905.04899, Eq. 1 and 2.
    Reads: images.

    Settings
    --------
    box_rule: 'Integer' | 'Real' = 'Integer'
        How the box is placed.
    alpha: float = 1.0
        lambda ~ Beta(alpha, alpha); above 0.
    per: 'Batch' | 'Sample' = 'Batch'
        One lambda for the batch, or one for each sample.
    fold: bool = False
        Use max(lambda, 1 - lambda): the own image dominates.
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Permutation'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        box_rule: Literal['Integer'] | Literal['Real'] = ...,
        alpha: float = ...,
        per: Literal['Batch'] | Literal['Sample'] = ...,
        fold: bool = ...,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class FMix(Mixer):
    """A mask cut out of a smooth random field.

    Source: Harris et al., 2020, arXiv:2002.12047.
    Reads: images.

    Settings
    --------
    spectrum: 'Reference' | 'Isotropic' = 'Reference'
        Where the random numbers of a field stand in its spectrum.
    decay: float = 3.0
        Power by which amplitudes fall with the frequency, in [0, 10]. Larger is smoother.
    max_soft: float = 0.0
        Share of the pixels, on each side of the edge, that go over in a ramp, in [0, 0.5]. At most
        lambda and 1 - lambda.
    alpha: float = 1.0
        lambda ~ Beta(alpha, alpha); above 0.
    per: 'Batch' | 'Sample' = 'Batch'
        One lambda for the batch, or one for each sample.
    fold: bool = False
        Use max(lambda, 1 - lambda): the own image dominates.
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Permutation'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        spectrum: Literal['Isotropic'] | Literal['Reference'] = ...,
        decay: float = ...,
        max_soft: float = ...,
        alpha: float = ...,
        per: Literal['Batch'] | Literal['Sample'] = ...,
        fold: bool = ...,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class InterIntra(Mixer):
    """MixUp within a cluster, CutMix between clusters.

    Source: AMix paper, section 3.1; its alphas are an assumption.
    Reads: images, pseudo labels.

    The host's `alpha` plays no part: there are two.

    Settings
    --------
    intra_alpha: float = 2.0
        lambda ~ Beta(alpha, alpha) of MixUp for a pair of one cluster; above 0. An assumption, as
        the paper prints none; 1, 2 and 4 are worth trying.
    inter_alpha: float = 0.2
        lambda ~ Beta(alpha, alpha) of CutMix for a pair of two clusters; above 0. An assumption;
        0.2, 0.5 and 1 are worth trying.
    per: 'Batch' | 'Sample' = 'Batch'
        One lambda for the batch, or one for each sample.
    fold: bool = False
        Use max(lambda, 1 - lambda): the own image dominates.
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Derangement'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        intra_alpha: float = ...,
        inter_alpha: float = ...,
        per: Literal['Batch'] | Literal['Sample'] = ...,
        fold: bool = ...,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class ManifoldMix(Mixer):
    """Blend the feature maps of a drawn stage, or the images, labels alike.

    Source: Verma et al., ICML 2019, arXiv:1806.05236, Eq. 1.
    Reads: images, a network to mix inside of, at stages up to 2.

    Settings
    --------
    stages: array = [0, 1, 2]
        The stages that one is drawn from for every batch, each alike: 0 mixes the images, k the
        output of stage k of the network. The default is that of the authors' code.
    alpha: float = 1.0
        lambda ~ Beta(alpha, alpha); above 0.
    per: 'Batch' | 'Sample' = 'Batch'
        One lambda for the batch, or one for each sample.
    fold: bool = False
        Use max(lambda, 1 - lambda): the own image dominates.
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Permutation'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        stages: list[Any] = ...,
        alpha: float = ...,
        per: Literal['Batch'] | Literal['Sample'] = ...,
        fold: bool = ...,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class MixUp(Mixer):
    """Blend two whole images, labels alike.

    Source: Zhang et al., ICLR 2018, arXiv:1710.09412, Eq. 1.
    Reads: images.

    Has no settings of its own.

    Settings
    --------
    alpha: float = 1.0
        lambda ~ Beta(alpha, alpha); above 0.
    per: 'Batch' | 'Sample' = 'Batch'
        One lambda for the batch, or one for each sample.
    fold: bool = False
        Use max(lambda, 1 - lambda): the own image dominates.
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Permutation'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        alpha: float = ...,
        per: Literal['Batch'] | Literal['Sample'] = ...,
        fold: bool = ...,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class Plain(Mixer):
    """Images as they are, for a choice among mixers.

    Source: timm, mixup_prob.
    Reads: images.

    Has no settings of its own.

    Settings
    --------
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Derangement'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class PuzzleMix(Mixer):
    """Keep the salient parts of both images: an optimal mask, then transport.

    Source: Kim et al., ICML 2020, arXiv:2009.06962, Eq. 3 to 6.
    Reads: images, saliency, where given, images to show in their place.

    The defaults are the authors' for CIFAR-100; for larger images they use `t_size: -1`, and for
    ImageNet in few epochs also `beta: 1.5, neigh: 2`.

    Settings
    --------
    blocks: array = [2, 4, 8, 16]
        Blocks a side of the mask's grid, each at least 2: one is drawn for every batch among those
        that divide the image.
    labels: int = 3
        Values of the mask, in 2 .. 4: 3 are 0, 1/2 and 1.
    beta: float = 1.2
        Label smoothness, at least 0.
    gamma: float = 0.5
        Data smoothness relative to label smoothness, in [0, 1].
    eta: float = 0.2
        Weight of the prior that holds the mask near lambda, at least 0.
    neigh: int = 4
        Pixels over which images are averaged before the borders of blocks are compared, at least 1.
        Where it does not divide a block, the next smaller divisor.
    transport: bool = True
        Whether patches are moved.
    t_eps: float = 0.8
        The price of moving a patch, at least 0.
    t_size: int = 4
        Side of a patch in pixels that is aimed at, at least 1, or -1 for whole blocks. Where it
        does not divide a block, the next smaller divisor; where that makes more than 16 patches a
        side, the smallest divisor that does not.
    solver: 'Auto' | 'Profile' | 'Icm' | 'MinCut' = 'Auto'
        Who finds the mask.
    iterations: int = 50
        Primal-dual steps of `Icm`, at least 1.
    std: array | None = None
        Standard deviation by which the images were divided, above 0: one, or one for each channel.
        `None`: the data's.
    alpha: float = 1.0
        lambda ~ Beta(alpha, alpha); above 0.
    per: 'Batch' | 'Sample' = 'Batch'
        One lambda for the batch, or one for each sample.
    fold: bool = False
        Use max(lambda, 1 - lambda): the own image dominates.
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Permutation'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        blocks: list[Any] = ...,
        labels: int = ...,
        beta: float = ...,
        gamma: float = ...,
        eta: float = ...,
        neigh: int = ...,
        transport: bool = ...,
        t_eps: float = ...,
        t_size: int = ...,
        solver: Literal['Auto'] | Literal['Icm'] | Literal['MinCut'] | Literal['Profile'] = ...,
        iterations: int = ...,
        std: None | list[Any] = ...,
        alpha: float = ...,
        per: Literal['Batch'] | Literal['Sample'] = ...,
        fold: bool = ...,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class ResizeMix(Mixer):
    """Paste the whole partner, made smaller, credit labels by area.

    Source: Qin et al., 2020, arXiv:2012.11101.
    Reads: images.

    Settings
    --------
    tau: 'Uniform' | 'Beta' = 'Uniform'
        How the share of a side is drawn.
    least: float = 0.1
        Smallest share of a side, in [0, 1].
    most: float = 0.8
        Largest share of a side, in [0, 1], at least `least`.
    resizing: 'Nearest' | 'Bilinear' = 'Nearest'
        How the partner is made smaller.
    alpha: float = 1.0
        lambda ~ Beta(alpha, alpha); above 0.
    per: 'Batch' | 'Sample' = 'Batch'
        One lambda for the batch, or one for each sample.
    fold: bool = False
        Use max(lambda, 1 - lambda): the own image dominates.
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Permutation'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        tau: Literal['Beta'] | Literal['Uniform'] = ...,
        least: float = ...,
        most: float = ...,
        resizing: Literal['Bilinear'] | Literal['Nearest'] = ...,
        alpha: float = ...,
        per: Literal['Batch'] | Literal['Sample'] = ...,
        fold: bool = ...,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class SaliencyMix(Mixer):
    """Paste the rectangle around the partner's most striking pixel, credit labels by area.

    Source: Uddin et al., ICLR 2021, arXiv:2006.01791.
    Reads: images.

    Settings
    --------
    scope: 'First' | 'Each' = 'First'
        Whose map places the box.
    map: 'FineGrained' | 'FloatBytes' = 'FineGrained'
        Which map.
    mean: array | None = None
        Mean that each colour was normalised by, of values in [0, 1]; a single one serves all
        colours. `None`: the data's.
    std: array | None = None
        Standard deviation, above 0, in the same way.
    alpha: float = 1.0
        lambda ~ Beta(alpha, alpha); above 0.
    per: 'Batch' | 'Sample' = 'Batch'
        One lambda for the batch, or one for each sample.
    fold: bool = False
        Use max(lambda, 1 - lambda): the own image dominates.
    partner: 'Permutation' | 'Derangement' | 'Flip' | {'ClusterAware': {'share': float}} = 'Permutation'
        How partners are chosen: any permutation, one without fixed points, sample i meets sample N
        - 1 - i, or one without fixed points in which a share of the samples meet one of their own
        pseudo label.
    prob: float = 1.0
        The probability that a batch is mixed, in [0, 1]; a batch that is not keeps its images and
        labels.
    until: 'End' | {'Epochs': float} | {'Share': float} = 'End'
        Until when batches are mixed: to the end of the run, for so many epochs, or for this share
        of its steps.
    """
    def __init__(
        self,
        *,
        scope: Literal['Each'] | Literal['First'] = ...,
        map: Literal['FineGrained'] | Literal['FloatBytes'] = ...,
        mean: None | list[Any] = ...,
        std: None | list[Any] = ...,
        alpha: float = ...,
        per: Literal['Batch'] | Literal['Sample'] = ...,
        fold: bool = ...,
        partner: Literal['Derangement'] | Literal['Flip'] | Literal['Permutation'] | dict[str, Any] = ...,
        prob: float = ...,
        until: Literal['End'] | dict[str, Any] = ...,
        seed: int = 0,
        draw: str = "mix",
        channels: int | None = None,
        classes: int = 0,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None: ...

class Bce(Loss):
    """Binary cross-entropy between the keys of the two sources.

    Source: AMix paper, Eq. 6; the authors' code.
    Takes: the tensor `embedding`, keys or those of a mix's sources.

    Settings
    --------
    temperature: float = 0.2
        T of the softmax, above 0. The literal forms have none.
    form: 'Softmax' | 'Literal' | 'NegativeLog' = 'Softmax'
        Which formula.
    """
    def __init__(
        self,
        *,
        temperature: float = ...,
        form: Literal['Literal'] | Literal['NegativeLog'] | Literal['Softmax'] = ...,
    ) -> None: ...

class CrossEntropy(Loss):
    """Cross-entropy against labels or a mix's target.

    Source: Zhang et al., ICLR 2018; smoothing: Szegedy et al., CVPR 2016, section 7.
    Takes: the tensor `logits`, labels or a mix's target.

    Settings
    --------
    smoothing: float = 0.0
        Share of the target that is spread evenly over all classes, in [0, 1].
    class_weight: 'None' | 'WeightedMean' | 'OverSamples' = 'None'
        Whether a third argument `class_weight` is taken, and what it does.
    """
    def __init__(
        self,
        *,
        smoothing: float = ...,
        class_weight: Literal['None'] | Literal['OverSamples'] | Literal['WeightedMean'] = ...,
    ) -> None: ...

class DecoupledMixup(Loss):
    """Mixup cross-entropy, and each source against the classes that are not in the image.

    Source: Liu et al., NeurIPS 2023, arXiv:2203.10761, Eq. 5 and 6.
    Takes: the tensor `logits`, labels or a mix's target.

    Settings
    --------
    eta: float = 0.1
        Weight of the decoupled term, at least 0.
    """
    def __init__(
        self,
        *,
        eta: float = ...,
    ) -> None: ...

class InfoNce(Loss):
    """An embedding must tell its key from the entries of a queue.

    Source: van den Oord et al. 2018; He et al., CVPR 2020; AMix paper, Eq. 4.
    Takes: the tensor `embedding`, keys or those of a mix's sources, the tensor `queue`.

    Settings
    --------
    temperature: float = 0.2
        T, above 0.
    candidates: 'PositiveAndQueue' | 'QueueOnly' | 'BatchAndQueue' | 'QueueAndNegatives' = 'PositiveAndQueue'
        What the softmax runs over.
    same_label: 'Keep' | 'Leave' = 'Keep'
        What becomes of queue entries of the label that is meant. `Leave` goes with
        `PositiveAndQueue` only.
    """
    def __init__(
        self,
        *,
        temperature: float = ...,
        candidates: Literal['BatchAndQueue'] | Literal['PositiveAndQueue'] | Literal['QueueAndNegatives'] | Literal['QueueOnly'] = ...,
        same_label: Literal['Keep'] | Literal['Leave'] = ...,
    ) -> None: ...

class Mask(Loss):
    """The mean of a mix's mask should be lambda, and the mask not flat.

    Source: AMix paper, section 3.2, L_mean and L_var.
    Takes: a mix that has a mask.

    Settings
    --------
    preset: 'Default' | 'Code' = 'Default'
        Where the values that are not given come from.
    mode: 'L1' | 'L2' | 'Sparsity' | 'L1Variance' | 'L2Variance' = 'L1Variance'
        Which terms the loss has. AMix: L1Variance; AutoMix: L1.
    mean: 'Sample' | 'Batch' = 'Sample'
        What means and variances run over.
    variance_factor: float = 1.0
        Weight of the variance, which is subtracted: 1; the authors' code has 2. Unitless; negative
        adds it.
    margin: float = 0.1
        How far the mean may be from lambda at no cost, in [0, 1] (paper: 0.1).
    """
    def __init__(
        self,
        *,
        preset: Literal['Code'] | Literal['Default'] = ...,
        mode: Literal['L1'] | Literal['L1Variance'] | Literal['L2'] | Literal['L2Variance'] | Literal['Sparsity'] = ...,
        mean: Literal['Batch'] | Literal['Sample'] = ...,
        variance_factor: float = ...,
        margin: float = ...,
    ) -> None: ...

class MixupCrossEntropy(Loss):
    """Cross-entropy shared between the sources of a mix.

    Source: AMix paper, Eq. 3; Zhang et al., ICLR 2018.
    Takes: the tensor `logits`, labels or a mix's target.

    Settings
    --------
    form: 'Hard' | 'Soft' | 'Sigmoid' = 'Hard'
        How the target enters.
    negative_weight: float = 1.0
        Weight of the classes that no source has, at least 0 (the authors' code: 0.5). Acts with
        `Sigmoid` only: under a softmax the terms of such classes are 0 already.
    class_weight: 'None' | 'WeightedMean' | 'OverSamples' = 'None'
        Whether a third argument `class_weight` is taken, and what it does. Not with `Sigmoid`.
    """
    def __init__(
        self,
        *,
        form: Literal['Hard'] | Literal['Sigmoid'] | Literal['Soft'] = ...,
        negative_weight: float = ...,
        class_weight: Literal['None'] | Literal['OverSamples'] | Literal['WeightedMean'] = ...,
    ) -> None: ...

class PBce(Loss):
    """Binary cross-entropy between the classes of the two sources.

    Source: AMix paper, section 3.3, L_pBCE.
    Takes: the tensor `logits`, labels or a mix's target.

    Settings
    --------
    form: 'Log' | 'LiteralFull' | 'LiteralPair' = 'Log'
        Which formula.
    """
    def __init__(
        self,
        *,
        form: Literal['LiteralFull'] | Literal['LiteralPair'] | Literal['Log'] = ...,
    ) -> None: ...
