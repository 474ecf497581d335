"""Load a user's own encoder, ``python:package.module:function``, by calling the function, which returns it."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from embprobe.encoders.network import NetworkEncoder
from embprobe.encoders.spec import Encoder, Listing
from embprobe.errors import EmbprobeError, UsageError


def names() -> list[str]:
    """Return the form of a name in place of names, because functions of the user cannot be listed."""
    return ["PACKAGE.MODULE:FUNCTION"]


def describe(name: str) -> Listing:
    """Describe an encoder of this family before its function is called."""
    return Listing(name, "that function")


def load(model: str, weights: str, /, *, device: str, **options: str) -> Encoder:
    """Import the module, also from the current folder, and call ``function(device=..., **options)``.

    If the function returns an encoder made by :func:`network_encoder`, its spec gets this name, and its fingerprint
    changes with the options and the module's source too, because they may change vectors where the weights do not.

    Args:
        model: The module, ``package.module``.
        weights: The function in it.
        device: Passed to the function: the torch device to compute on.
        **options: Passed to the function as typed.

    Raises:
        UsageError: The module cannot be imported or has no such function.
        EmbprobeError: The function failed, or returned no :class:`Encoder`.
    """
    name = f"{model}:{weights}"
    function = _function(model, weights)
    try:
        encoder = function(device=device, **options)
    except (EmbprobeError, UsageError):
        raise
    except Exception as error:  # a user's function can fail in any way
        raise EmbprobeError(f"'python:{name}' failed: {type(error).__name__}: {error}") from error
    if not isinstance(encoder, NetworkEncoder):
        if not all(hasattr(encoder, part) for part in ("spec", "encode_images", "encode_texts")):
            raise EmbprobeError(f"'python:{name}' gave a {type(encoder).__name__}, not an encoder.")
        return encoder
    typed = ",".join(f"{option}={value}" for option, value in options.items())
    code = b"".join(_source(module) for module in dict.fromkeys((model, function.__module__)))
    digest = hashlib.sha256(f"{encoder.spec.weights_sha256}{typed}".encode() + code).hexdigest()
    spec = replace(encoder.spec, family="python", model=name, weights="", weights_sha256=digest, options=typed)
    return replace(encoder, spec=spec)


def _function(module: str, function: str) -> Callable[..., Encoder]:
    """Import a function from a module, which may lie in the current folder."""
    name = f"python:{module}:{function}"
    if not function:
        raise UsageError(f"'{name.rstrip(':')}' names no function; write python:package.module:function.")
    here = str(Path.cwd())
    sys.path.append(here)  # behind everything else: a folder here hides no installed package
    try:
        value = getattr(import_module(module), function, None)
    except (Exception, SystemExit) as error:  # a user's module can fail in any way
        raise UsageError(f"'{name}' cannot be imported: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(here)
    if not callable(value):
        raise UsageError(f"The module '{module}' has no function '{function}'.")
    make_encoder: Callable[..., Encoder] = value
    return make_encoder


def _source(module: str) -> bytes:
    """Return the source of an imported module as it was at the first call after its import; b"" if there is none."""
    imported = sys.modules.get(module)
    if imported is None:
        return b""
    if module not in _sources or _sources[module][0] is not imported.__spec__:
        try:
            source = inspect.getsource(imported).encode()
        except (OSError, TypeError):
            source = b""
        _sources[module] = (imported.__spec__, source)
    return _sources[module][1]


_sources: dict[str, tuple[object, bytes]] = {}
"""By module, its source, and the module spec of the import that the source belongs to: a new import has a new one."""
