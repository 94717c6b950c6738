"""The compiled CPU kernels (kernels.cpp): built once with the system's compiler, kept in the user's cache, called through ctypes.

Where there is no compiler, or BURNISH_KERNELS=off, `library()` is None and callers take the path that needs none. Nothing else of
Burnish needs a compiler. Not for: laying weights out for them (fused_layer.py).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-w"),
)
COMPILE_S = 120.0

_FUNCTIONS: dict[str, str] = {  # i int, l long, f float, p pointer; where a tensor is expected, None is a null pointer
    "add_norm": "iippppfpp",
    "add": "lppp",
    "norm_backward": "iippppppppi",
    "silu_mul": "iipp",
    "silu_mul_backward": "iipppp",
    "norm_rotate": "iiiipppfpppp",
    "norm_rotate_backward": "iiiipppfpppppi",
    "attend": "ippiiippfipp",
    "attend_backward": "ippiiippfippp",
    "paged_attend": "iipiiiiipppfpppppppipppfip",
    "log_probs": "iippfppp",
    "log_probs_backward": "iippfpp",
    "draw": "iipfppp",
    "spent": "p",
    "through": "ippiiiiiiiipppppippipppipfp",
    "product_bf16": "iiippppip",
    "product_int8": "iiippppip",
}
_KINDS = {"i": ctypes.c_int, "l": ctypes.c_long, "f": ctypes.c_float, "p": ctypes.c_void_p}

log = logging.getLogger(__name__)


class Kernels:
    """The functions of kernels.cpp. Tensors must be contiguous and of the dtype that kernels.cpp names."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        for name, kinds in _FUNCTIONS.items():
            function = getattr(self._library, name)
            function.argtypes = [_KINDS[kind] for kind in kinds]
            function.restype = None
            setattr(self, name, functools.partial(_call, function))

    def __getattr__(self, name: str) -> Any:  # for the type checker: every name is set in __init__
        raise AttributeError(name)


def _call(function: Any, *arguments: Tensor | int | float | None) -> None:
    function(*[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments])


@functools.cache
def library() -> Kernels | None:
    """The kernels, built if need be; None where they cannot be (the reason is logged once)."""
    if os.environ.get("BURNISH_KERNELS", "").lower() in {"off", "0", "no"}:
        return None
    try:
        return Kernels(_built())
    except (OSError, subprocess.SubprocessError) as error:
        log.info("no compiled kernels, so training and sampling on this CPU take the slower path: %s", error)
        return None


def _built() -> Path:
    """The shared library for this source, compiler and processor; made where it is not there yet. Raises OSError."""
    compiler = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    if compiler is None:
        raise OSError("no C++ compiler (c++, g++ or clang++) on the path")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    said = "\n".join((version, " ".join(FLAGS), _processor(), torch.__version__))
    digest = hashlib.blake2b(SOURCE.read_bytes() + said.encode(), digest_size=10).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "burnish"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = cache if os.access(cache, os.W_OK) else Path(tempfile.mkdtemp(prefix="burnish-"))
    except OSError:  # no home, or a read-only one
        folder = Path(tempfile.mkdtemp(prefix="burnish-"))
    target = folder / f"kernels-{digest}.so"
    if not target.is_file():
        made = folder / f".{target.name}.{os.getpid()}"
        command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
        began = time.perf_counter()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_S, check=False)
            if done.returncode:
                raise OSError(f"{compiler} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
            made.replace(target)  # whole or not at all: two processes may build at once
            log.info(
                "compiled the CPU kernels in %.1f s, once for this machine: %s", time.perf_counter() - began, target
            )
        finally:
            made.unlink(missing_ok=True)
    return target


def _processor() -> str:
    """What -march=native means here: a cache in a shared home must not serve another processor's code."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        return next((line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    return f"{sys.platform} {platform.machine()} {platform.processor()}"
