"""Name the places that hold weights, and explain failures to load from them."""

from __future__ import annotations

import pickle

from embprobe.encoders.checkpoints.formats import NotWeights
from embprobe.errors import EmbprobeError
from embprobe.system.hub import unreachable_reason

PLACES = {"hf-hub": "OWNER/NAME", "local-dir": "FOLDER"}
"""Places that hold weights beside their configuration, as open_clip, timm and transformers take them: by the word
that stands where a model's name would, the form of the address behind its colon."""
SOURCES = {"hf-hub": "that repository", "local-dir": "that folder"}
"""By place, where its weights come from, as lists of encoders print it."""


def load_failure(
    name: str, weights: str, error: Exception, *, part: str = "weights", local: bool = False
) -> EmbprobeError:
    """Return the error, in the user's terms, for a library's failure to load an encoder.

    Args:
        name: The encoder's name.
        weights: The file or tag of its weights; "" if the user gave none.
        error: The exception that the library raised.
        part: The part that was to be loaded, ``weights`` or ``tokenizer``.
        local: The files are on this machine, so that a missing network cannot be the reason.
    """
    text, unreached = str(error), unreachable_reason(error)
    if isinstance(error, NotWeights):
        return EmbprobeError(f"Could not load '{name}': {text}.")
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in text or "Unpickl" in text:
        return EmbprobeError(
            f"'{weights or name}' holds more than weights (it would run code), or is damaged; refused."
        )
    if not local and any(
        sign in text for sign in ("offline", "resolve", "onnect", "LocalEntryNotFound", "cached snapshot")
    ):
        why = f": {unreached}" if unreached else ""
        model = name.partition(":")[0]
        family, _, place = model.partition("/")
        instead = f"a folder: '{family}/local-dir:FOLDER'" if place in PLACES else f"a file: '{model}:FILE'"
        hint = f" Without a network, give {instead}." if part == "weights" else ""
        return EmbprobeError(f"The {part} of '{name}' could not be fetched{why}.{hint}")
    reason = text.splitlines()[0] if text else type(error).__name__
    return EmbprobeError(f"Could not load '{name}': {reason}")
