"""A user's own encoder: ``python:package.module:function``, where the function makes it."""

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
    """The form of a name; there is nothing to list."""
    return ["PACKAGE.MODULE:FUNCTION"]


def describe(name: str) -> Listing:
    """What can be said before the function is called."""
    return Listing(name, "that function")


def load(model: str, weights: str, /, *, device: str, **options: str) -> Encoder:
    """Import the module, also from the current folder, and call ``function(device=..., **options)``.

    The function returns an :class:`Encoder`. If it is one made by :func:`network_encoder`, its spec gets this name, and
    its vectors count as new when the options or the module's source change: they may say what the weights do not.
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
    name = f"python:{module}:{function}"
    if not function:
        raise UsageError(f"'{name.rstrip(':')}' names no function; write python:package.module:function.")
    here = str(Path.cwd())
    sys.path.append(here)  # behind everything else: a folder here hides no installed package
    try:
        found = getattr(import_module(module), function, None)
    except (Exception, SystemExit) as error:  # a user's module can fail in any way
        raise UsageError(f"'{name}' cannot be imported: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise UsageError(f"The module '{module}' has no function '{function}'.")
    made: Callable[..., Encoder] = found
    return made


def _source(module: str) -> bytes:
    """The source of an imported module, as it was when first asked for after the import; b"" if there is none."""
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
"""By module: a mark that is new whenever it is imported anew, and its source."""
