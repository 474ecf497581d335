"""The measures as a library: their names, and how light it is to import them."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from types import FunctionType

from embprobe import measures


def test_every_public_name_is_a_function_with_an_example() -> None:
    for name in measures.__all__:
        function = getattr(measures, name)
        assert isinstance(function, FunctionType), name
        assert ">>> " in (function.__doc__ or ""), name


def test_a_function_is_bound_over_the_submodule_of_its_name() -> None:
    submodules = {name for _, name, _ in pkgutil.iter_modules(measures.__path__)}
    for name in submodules:
        importlib.import_module(f"embprobe.measures.{name}")  # binds nothing again: the module is loaded
    both = submodules & set(measures.__all__)
    assert {
        "attraction",
        "blind_pairs",
        "cka",
        "displacement",
        "few_shot",
        "mutual_knn",
        "natural_pairs",
        "preference",
        "rank_correlation",
        "same_part",
        "shape_bias",
    } == both
    assert all(callable(getattr(measures, name)) for name in both)


def test_importing_measures_loads_numpy_and_nothing_heavier() -> None:
    heavy = "scipy", "sklearn", "faiss", "torch", "PIL", "pyarrow"
    code = f"import sys, embprobe.measures; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
