"""PyTorch on a CUDA device without a GPU: a folder with a package `torch` whose CUDA libraries are the repository's tests/fake_cuda."""

import pathlib
import subprocess
import sys

import torch

# What the fake device and the stand-ins take the place of.
REPLACED = ("libtorch_cuda.so", "libc10_cuda.so", "libtorch_cuda_linalg.so", "libtorch_nvshmem.so")


def build(folder, repo):
    """Makes `folder/torch`; with `folder` first in PYTHONPATH, `import torch` finds it. Needs g++ and PyTorch's CUDA build."""
    real = pathlib.Path(torch.__file__).parent
    own = folder / "torch"
    (own / "lib").mkdir(parents=True)
    for entry in real.iterdir():
        if entry.name not in ("lib", "__pycache__"):
            (own / entry.name).symlink_to(entry)
    for entry in (real / "lib").iterdir():
        if entry.name not in REPLACED:
            (own / "lib" / entry.name).symlink_to(entry)
    if (real.parent / "nvidia").exists():
        (folder / "nvidia").symlink_to(real.parent / "nvidia")
    include = real / "include"
    device = own / "lib/libtorch_cuda.so"
    _run(
        "g++", "-std=c++17", "-O1", "-DNDEBUG", "-w", "-fPIC", "-shared", f"-I{include}", f"-I{include}/torch/csrc/api/include",
        f"-I{repo}/core/torch/cuda", f"-I{repo}/core/torch/shim", repo / "tests/fake_cuda/fake_cuda.cpp", "-o", device,
        f"-L{real}/lib", "-ltorch_cpu", "-lc10",
    )
    # PyTorch's Python part names functions of the real libraries. None may be missing, and hardly one is called here.
    wanted = _symbols("--undefined-only", real / "lib/libtorch_python.so")
    known = dict(_symbols("--defined-only", device))
    code = []
    for library in REPLACED:
        for name, kind in _symbols("--defined-only", real / "lib" / library).items():
            if name in wanted and name not in known:
                known[name] = kind
                code.append(_stand_in(name, kind))
    _run(
        "gcc", "-shared", "-z", "noexecstack", "-x", "assembler", "-", "-o", own / "lib/libc10_cuda.so", "-lstdc++",
        input="".join(code),
    )


def _stand_in(name, kind):
    """Assembly for x86-64: a function that ends the process, an empty variable, or what is read as PyTorch starts."""
    if name.startswith("_ZTI"):
        body = f".quad _ZTVN10__cxxabiv117__class_type_infoE+16, 1f\n1: .asciz \"{name[4:]}\"\n"
        return f".data\n.balign 8\n.globl {name}\n{name}: {body}"
    if name == "_ZN4c10d15get_gil_checkerEv":  # Gives a reference to a pointer, which is set.
        return f".text\n.globl {name}\n{name}: lea 1f(%rip), %rax\nret\n.data\n.balign 8\n1: .quad 0\n"
    if kind == "T":
        return f".text\n.globl {name}\n{name}: ud2\n"
    return f".data\n.balign 8\n.globl {name}\n{name}: .zero 256\n"


def _symbols(which, library):
    """Names of a library's symbols, with the letter that `nm` gives each."""
    lines = _run("nm", "-D", which, library).splitlines()
    return {line.split()[-1].split("@")[0]: line.split()[-2] for line in lines}


def _run(*command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr}")
    return done.stdout
