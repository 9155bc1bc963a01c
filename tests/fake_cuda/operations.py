"""Writes operations.inc: the names of PyTorch's operations that have a CUDA kernel of their own.

    python3 operations.py NATIVE_FUNCTIONS_YAML > operations.inc

The list is `torchgen/packaged/ATen/native/native_functions.yaml` in the wheel of torch 2.11.0, which holds far more than
libtorch's part that `cargo xtask setup` unpacks: so the names are committed. Needs PyYAML.
"""
import sys

import yaml


def dispatch_keys(function):
    keys = {key.strip() for keys in function.get("dispatch", {}) for key in keys.split(",")}
    # Generated kernels for both devices.
    return keys | {"CPU", "CUDA"} if "ufunc_inner_loop" in function else keys


def main(path):
    with open(path, encoding="utf-8") as file:
        functions = {function["func"].split("(")[0]: function for function in yaml.safe_load(file)}
    print("// Written by operations.py from the list of torch 2.11.0: name, may mix devices, has a CPU kernel.")
    for name, function in sorted(functions.items()):
        keys = dispatch_keys(function)
        if "structured_delegate" in function:
            keys |= dispatch_keys(functions[function["structured_delegate"]])
        if "CUDA" not in keys:
            continue
        mixes = function.get("device_check") == "NoCheck"
        on_cpu = any(key == "CPU" or key.startswith("Composite") for key in keys)
        print('{"%s", %s, %s},' % (name, str(mixes).lower(), str(on_cpu).lower()))


main(sys.argv[1])
