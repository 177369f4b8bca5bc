"""Loads every tensor of the safetensors files of a folder once and lets it go, as a server does that copies them on."""

import glob
import os
import sys

import numpy
from safetensors import safe_open

loaded = seen = 0
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.safetensors"))):
    with safe_open(path, framework="numpy") as tensors:
        for name in tensors.keys():
            tensor = tensors.get_tensor(name)
            # A byte of every page, so that all of it has to be there.
            pages = tensor.reshape(-1).view(numpy.uint8)[::4096]
            seen += int(pages.sum(dtype=numpy.uint64))
            loaded += tensor.nbytes
print(loaded, seen)
