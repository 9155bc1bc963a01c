"""What PyTorch programs do to a module: an exception or the right result, never a crash."""

import concurrent.futures
import copy
import gc
import io
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import every_mixer, given, make, reads

import admix


def mixed(mixer, **more):
    m = mixer(**reads(mixer, given()), step=3, **more)
    return m.images.detach()


@pytest.mark.parametrize(("name", "settings"), every_mixer())
def test_a_mixer_is_pickled_copied_and_restored(name, settings):
    mixer = make(name, settings, seed=5)
    mixer(**reads(mixer, given()))
    wanted = mixed(mixer)
    for other in (pickle.loads(pickle.dumps(mixer)), copy.deepcopy(mixer)):
        assert torch.equal(mixed(other), wanted)
        assert (other.seed, other.step) == (5, 1)
        owned, others = {id(p) for p in mixer.parameters()}, {id(p) for p in other.parameters()}
        assert not owned & others
    file = io.BytesIO()
    torch.save(mixer.state_dict(), file)
    file.seek(0)
    fresh = make(name, settings, seed=0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(mixed(fresh), wanted) and (fresh.seed, fresh.step) == (5, 1)


def test_weights_may_be_replaced_by_others():
    mixer = make("amix")
    state = {key: value * 0.5 if torch.is_tensor(value) else value for key, value in mixer.state_dict().items()}
    one, other = make("amix"), make("amix")
    one.load_state_dict(state)
    other.load_state_dict(state, assign=True)
    assert torch.equal(mixed(one), mixed(other)) and not torch.equal(mixed(one), mixed(mixer))
    m = other(given()["images"], features=given()["features"])
    m.images.sum().backward()
    assert all(p.grad is not None for p in other.parameters() if p.requires_grad) or any(
        p.grad is not None for p in other.parameters()
    )


def test_a_module_moves_to_other_kinds_and_devices():
    mixer = make("amix").double()
    inputs = given(torch.float64)
    m = mixer(inputs["images"], features=inputs["features"])
    assert m.images.dtype == torch.float64 and all(p.dtype == torch.float64 for p in mixer.parameters())
    back = mixer.float()
    assert mixed(back).dtype == torch.float32
    meta = make("amix").to("meta")
    with pytest.raises(ValueError, match="meta"):
        meta(given()["images"], features=given()["features"])
    empty = meta.to_empty(device="cpu")
    empty.load_state_dict(make("amix").state_dict())
    assert torch.equal(mixed(empty), mixed(make("amix")))
    with torch.device("meta"):
        meta = make("amix")
    assert mixed(meta).isfinite().all(), "made on the CPU, as its weights are drawn there"


def test_threads_share_a_mixer_and_mix_apart():
    inputs = given()
    for name in ("mixup", "puzzlemix", "amix"):
        mixer = make(name)
        wanted = [mixer(**reads(mixer, inputs), step=step).images.detach() for step in range(32)]

        def one(step, mixer=mixer):
            with torch.no_grad():
                return mixer(**reads(mixer, inputs), step=step).images.detach()

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(one, range(32)))
        assert all(torch.equal(a, b) for a, b in zip(wanted, found)), name
        # Made here, dropped there.
        held = [make(name)]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(held.clear).result()


class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, at):
        return given()["images"][at % 6], at % 5


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_loader_draw_apart_and_anew_in_every_epoch(start):
    def epochs():
        collate = admix.Collate(admix.Mixer("mixup", per="Sample"), 5)
        loader = torch.utils.data.DataLoader(
            Images(), batch_size=6, num_workers=2, collate_fn=collate, multiprocessing_context=start,
            generator=torch.Generator().manual_seed(3),
        )
        return [[targets for _, targets in loader] for _ in range(2)]

    first = epochs()
    batches = [batch for epoch in first for batch in epoch]
    assert len(batches) == 8 and all(batch.shape == (6, 5) for batch in batches)
    for i, one in enumerate(batches):
        torch.testing.assert_close(one.sum(1), torch.ones(6))
        assert not any(torch.equal(one, other) for other in batches[i + 1 :])
    again = [batch for epoch in epochs() for batch in epoch]
    assert all(torch.equal(a, b) for a, b in zip(batches, again)), "and the same at the next start"


def test_a_forked_process_mixes():
    mixer = make("puzzlemix")
    wanted = mixed(mixer)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if torch.equal(mixed(mixer), wanted) else 1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_mix_breaks_the_graph_of_a_compiled_step_once():
    mixer, net = make("cutmix"), torch.nn.Conv2d(3, 5, 3)

    def step(images, labels):
        m = mixer(images * 1.0, step=3)
        return torch.nn.functional.cross_entropy(net(m.images).mean((2, 3)), labels)

    images, labels = given()["images"], torch.tensor([0, 3, 1, 4, 2, 3])
    wanted = step(images, labels)
    explained = torch._dynamo.explain(step)(images, labels)
    assert (explained.graph_count, explained.graph_break_count) == (2, 1), explained
    compiled = torch.compile(step, backend="eager")
    torch.testing.assert_close(compiled(images, labels), wanted)
    torch._dynamo.reset()
    with pytest.raises(Exception, match="admix works outside of compiled graphs"):
        torch.compile(step, backend="eager", fullgraph=True)(images, labels)


def test_the_compiler_is_not_imported():
    code = "import sys, torch, admix; m = admix.Mixer('mixup')(torch.rand(2, 3, 4, 4)); print('torch._dynamo' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_autocast_holds_inside_and_losses_stay_in_float32():
    inputs = given()
    mixer = make("amix")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        m = mixer(inputs["images"], features=inputs["features"], step=0)
        logits = torch.nn.functional.linear(m.images.flatten(1), torch.ones(5, 768))
        assert logits.dtype == torch.bfloat16
        value = m.loss(logits, torch.tensor([0, 1, 2, 3, 4, 0]))
        assert value.dtype == torch.float32 and torch.is_autocast_enabled("cpu")
    assert m.images.dtype == torch.float32 and m.mask.isfinite().all()
    (value + admix.Loss("mask")(m)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in mixer.parameters())


@pytest.mark.parametrize(("name", "settings"), every_mixer())
def test_channels_last_stays_channels_last_with_the_same_values(name, settings):
    mixer, inputs = make(name, settings), given()
    wanted = mixer(**reads(mixer, inputs), step=1).images
    inputs["images"] = inputs["images"].to(memory_format=torch.channels_last)
    found = mixer(**reads(mixer, inputs), step=1).images
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_keep_their_kind(dtype):
    for name in ("mixup", "cutmix", "resizemix", "fmix"):
        assert make(name)(given()["images"].to(dtype)).images.dtype == dtype, name


def test_views_and_subclasses_are_tensors_too():
    images = given()["images"]
    mixer = make("mixup")
    wanted = mixer(images[::2].flip(3), step=0).images
    assert torch.equal(mixer(images[::2].flip(3).contiguous(), step=0).images, wanted)

    class Marked(torch.Tensor):
        pass

    assert torch.equal(mixer(images[::2].flip(3).as_subclass(Marked), step=0).images, wanted)
    assert torch.equal(mixer(torch.nn.Parameter(images[::2].flip(3)), step=0).images, wanted)
    with torch.inference_mode():
        assert torch.equal(mixer(images[::2].flip(3), step=0).images, wanted)


def test_transforms_of_functions_and_fake_tensors_are_refused():
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    mixer, images = make("mixup"), given()["images"]
    with pytest.raises(ValueError, match="torch.func"):
        torch.func.vmap(lambda images: mixer(images).images)(images[None])
    with pytest.raises(ValueError, match="torch.func"):
        torch.func.grad(lambda images: mixer(images).images.sum())(images)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(images)
        with pytest.raises(ValueError, match="FakeTensorMode"):
            mixer(fake)
        with pytest.raises(ValueError, match="FakeTensorMode"):
            mixer(images)
    with pytest.raises((TypeError, ValueError), match="FakeTensor"):
        mixer(fake)
    with FlopCounterMode(display=False), pytest.raises(ValueError, match="TorchDispatchMode"):
        mixer(images)
    assert mixer(images).images.isfinite().all()


def test_distributed_training_of_one_process(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        plain, mixer = make("amix"), make("amix")
        parallel = torch.nn.parallel.DistributedDataParallel(mixer)
        inputs = given()
        for module in (plain, parallel):
            m = module(inputs["images"], features=inputs["features"], step=2)
            m.images.square().sum().backward()
        for one, other in zip(plain.parameters(), mixer.parameters()):
            assert (one.grad is None) == (other.grad is None)
            assert one.grad is None or torch.equal(one.grad, other.grad)
    finally:
        torch.distributed.destroy_process_group()


def test_a_map_of_a_script_mixes_maps_as_long_as_its_mix_lives(repo):
    mixer = admix.Script(repo / "scripts/mixers/moex.rhai", own=0.75)
    maps = given()["features"].requires_grad_()

    def moments(maps):
        return maps.mean(1, keepdim=True), (maps.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    mixes = [mixer(given()["images"], step=step) for step in range(3)]
    for m in reversed(mixes):
        (mean, deviation), (other_mean, other_deviation) = moments(maps), moments(maps[m.partner])
        torch.testing.assert_close(m.blend(maps), (maps - mean) / deviation * other_deviation + other_mean)
        assert m.stage == 1 and m.shares[:, 0].eq(0.75).all()
    (gradient,) = torch.autograd.grad(mixes[0].blend(maps).square().sum(), maps)
    assert gradient.isfinite().all() and gradient.abs().max() > 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        wanted = [m.blend(maps).detach() for m in mixes]
        for _ in range(8):
            again = pool.map(lambda m: m.blend(maps).detach(), mixes)
            assert all(torch.equal(one, other) for one, other in zip(again, wanted, strict=True))
    kept = mixes[1].blend(maps)
    del mixer, mixes, m
    gc.collect()
    assert kept.isfinite().all()


def test_scripts_are_mixers_and_losses(tmp_path, repo):
    mixer = admix.Script(repo / "scripts/mixers/cutmix.rhai", alpha=0.5, seed=2)
    assert isinstance(mixer, admix.Mixer)
    wanted = mixed(mixer)
    assert torch.equal(mixed(pickle.loads(pickle.dumps(mixer))), wanted)
    focal = admix.Script(repo / "scripts/losses/focal.rhai")
    assert isinstance(focal, admix.Loss)
    assert focal(torch.rand(6, 5), mixer(given()["images"]).of(torch.arange(6) % 5)).isfinite()
    with pytest.raises(ValueError, match="Did you mean"):
        admix.Script(repo / "scripts/losses/focal.rhai", gama=1.0)
    broken = tmp_path / "broken.rhai"
    broken.write_text("fn mix(m) {\n    #{ images: m.images, \n}\n")
    with pytest.raises(ValueError, match=r"broken.rhai"):
        admix.Script(broken)
    odd = tmp_path / "odd.rhai"
    odd.write_text("fn mix(m) {\n    #{ images: m.images.nothing }\n}\n")
    with pytest.raises(ValueError, match=r"odd.rhai.*2"):
        admix.Script(odd)(given()["images"])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: mixed(mixer), range(16)))
    assert all(torch.equal(one, wanted) for one in found)


def test_a_library_brings_mixers():
    library = os.environ.get("ADMIX_LIBRARY")
    if not library:
        pytest.skip("ADMIX_LIBRARY names no library: `cargo xtask wheel --test` builds examples/plugin_rust")
    code = """
import pickle, sys, torch, admix
names = admix.load_library(sys.argv[1])
assert names and set(names) <= set(admix.mixers()) | set(admix.losses()), names
assert admix.load_library(sys.argv[1]) == names, "once more is no harm"
mixer = admix.Mixer(names[0], channels=4, seed=1)
images = torch.rand(6, 3, 16, 16)
one = mixer(images, step=0).images
assert torch.equal(pickle.loads(pickle.dumps(mixer))(images, step=0).images, one)
try:
    admix.Mixer(names[0], nonsense=1)
except ValueError as error:
    assert "nonsense" in str(error), error
else:
    raise AssertionError("not refused")
print("well")
"""
    ran = subprocess.run([sys.executable, "-c", code, library], capture_output=True, text=True)
    assert ran.stdout.strip() == "well", ran.stderr


def test_what_a_library_does_wrong_is_an_exception(repo, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("a C++ library needs g++")
    real, library = pathlib.Path(torch.__file__).parent, tmp_path / "libmisbehaving.so"
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-w", "-DNDEBUG", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{repo}/core/api/include",
         f"-I{real}/include", f"{repo}/tests/plugins/misbehaving.cpp", "-o", str(library), f"-L{real}/lib", "-ltorch_cpu", "-lc10"],
        check=True,
    )
    code = """
import sys, torch, admix
admix.load_library(sys.argv[1])
images, told = torch.rand(6, 3, 16, 16), {}
for fault in sys.argv[2:]:
    try:
        admix.Mixer("misbehaving", fault=fault)(images)
    except ValueError as error:
        told[fault] = str(error)
        assert "misbehaving" in told[fault] and "\\n" not in told[fault], told
    assert torch.is_grad_enabled()
    assert admix.Mixer("misbehaving")(images).images.isfinite().all(), "the next one is well"
print(*told)
"""
    faults = [
        "Throws", "ThrowsAnything", "Torch", "NaN", "Shape", "Shares", "Draws", "Writes", "Empty", "Kind", "Create", "Plan",
        "Partners", "DrawsInCreate", "Half", "Missing", "Lines", "Device", "Train", "HiddenImages", "HiddenMask",
    ]
    ran = subprocess.run([sys.executable, "-c", code, library, *faults], capture_output=True, text=True)
    assert ran.stdout.split() == faults, ran.stderr


def test_a_mix_that_fails_inside_is_an_exception_and_harms_nothing():
    # A limit of memory makes libtorch throw in the middle of a mix.
    code = """
import resource, sys
import torch
from conftest import every_mixer, given, make, reads
torch.set_num_threads(1)
for name, settings in every_mixer():
    mixer, small = make(name, settings), given()
    wanted = mixer(**reads(mixer, small), step=0).images.detach()
    large = given(n=6000, size=32)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 30_000_000, resource.RLIM_INFINITY))
    try:
        mixer(**reads(mixer, large), step=0)
        assert name in ("plain", "manifoldmix", "choice"), name + " needs no memory"
    except torch.OutOfMemoryError as error:
        assert "\\n" not in str(error), (name, error)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    del large
    assert torch.equal(mixer(**reads(mixer, small), step=0).images.detach(), wanted), name
print("well")
"""
    # What is small comes from memory that is there already: without it no program can tell what happened.
    spare = {"MALLOC_TOP_PAD_": str(1 << 25), "MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=os.path.dirname(__file__),
        env={**os.environ, **spare},
    )
    assert ran.stdout.strip() == "well", ran.stderr


def test_a_thousand_mixes_leak_nothing():
    inputs = given(n=32, size=32)
    labels = torch.arange(32) % 5

    def memory():
        gc.collect()
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for name in ("mixup", "cutmix", "amix", "fmix"):
        mixer = make(name)

        def some(count, mixer=mixer):
            for _ in range(count):
                m = mixer(**reads(mixer, inputs))
                m.sources, m.shares, m.mask, m.extras  # noqa: B018
                m.target(labels, 5)
                m.loss(torch.rand(32, 5), labels)

        some(200)
        tensors = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
        before = memory()
        some(1000)
        # One batch of images is 393 kB: kept once per mix it would be 393 MB.
        assert memory() - before < 16e6, name
        assert sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()) <= tensors + 8, name


def test_what_is_printed_is_readable():
    mixer = make("cutmix", alpha=0.5)
    assert repr(mixer) == "Mixer('cutmix', alpha=0.5, seed=0)"
    assert repr(mixer(given()["images"])) == "<mix of [6, 3, 16, 16] by cutmix>"
    assert "solver" in admix.about("puzzlemix") and "alpha" in admix.PuzzleMix.__doc__
    assert isinstance(admix.CutMix(alpha=0.5), admix.Mixer) and isinstance(admix.Mask(), admix.Loss)
    assert admix.PuzzleMix(alpha=0.5).settings["alpha"] == 0.5 if "alpha" in admix.PuzzleMix().settings else True
    copied = pickle.loads(pickle.dumps(admix.CutMix(alpha=0.5)))
    assert copied.settings == admix.CutMix(alpha=0.5).settings
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        admix.Nothing
