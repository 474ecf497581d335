"""Find in a checkpoint the network that a family asks for: containers and the names of wrappers are taken off.

Nothing is guessed from the names of wrappers: a network is taken from where the most of its weights' names are found,
whatever stands before them. ``module._orig_mod.visual.conv1.weight`` in a dictionary in a dictionary is the
``conv1.weight`` of a network that has one.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from embprobe.encoders.checkpoints.formats import NotWeights
from embprobe.encoders.checkpoints.reading import ADAPTER
from embprobe.errors import UsageError
from embprobe.system.text import visible

log = logging.getLogger("embprobe")

_WRAPPED = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Names that torch.compile and its kin put anywhere into a weight's name; no network has such a part."""
_FIRST = ("teacher", "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
"""Networks that are taken before others of the same layers: those whose weights are averages over training."""
_LAST = ("student", "momentum", "momentum_encoder", "encoder_k", "backbone_momentum", "target", "target_network")
"""Networks that are taken after others of the same layers."""
HEADS = ("head", "head_dist", "fc", "classifier", "last_linear", "aux_classifier")
"""Parts that hold a classifier or a head for the loss, under their usual names."""
_UNUSED = re.compile(
    r"(?:mask_token|queue|queue_ptr|center|logit_scale|logit_bias|temperature|decoder|decoder_\w+|projector|"
    r"projection_head|proj_head|prediction_head|predictor|prototypes|prototype_layer|dino_head|ibot_head|last_layer|"
    r"contrastive_head|online_classifier|linear_probe|image_mean|image_std|mean|std|input_resolution|context_length|vocab_size)(?:\.|$)"
)
"""Parts that training needs and an encoder does not: a decoder, a projector, a queue of negatives."""
_WRAPPERS = {"module", "model", "network", "net", "backbone", "student", "teacher"}
"""First parts of names that wrappers put there, where the names behind them are not those expected."""
_NEARLY = 0.9
"""Share of the names that a wrapper begins; others lie beside the network."""
_PREFIXES = 50
"""Prefixes that are looked at, those of the most expected names first."""
_DEEPEST = 4
"""Dictionaries within dictionaries that are looked into."""
_QUANTISED = re.compile(r"\.(?:absmax|quant_map|quant_state\.\w+|SCB|qweight|qzeros|g_idx)$")
_LORA = re.compile(r"(?:^|\.)(?:lora_[A-Za-z_]+|hada_w\d_[ab]|ia3_l)(?:\.|$)|^base_model\.model\.")


@dataclass(frozen=True)
class Part:
    """A part of a checkpoint that may be the network: the weights under one name and behind one prefix."""

    name: str
    """The name of the dictionary that they lie in, or else the first part of the prefix; "" for neither."""
    words: tuple[str, ...]
    """All parts of the names of dictionaries and the prefix."""
    state: Mapping[str, Tensor]
    beside: Sequence[str]
    """Names of weights in the same dictionary that do not begin with the prefix."""


def fit(
    checkpoint: Mapping[str, Any], expected: Collection[str], *, key: str = "", file: str = ""
) -> dict[str, Tensor]:
    """Return the weights of the network in a checkpoint, under the network's own names as far as they have them.

    Args:
        checkpoint: Values by name, dictionaries of them, or both, as :func:`read_weights` returns them.
        expected: The names of the network's weights.
        key: The network to take, if there are several: ``teacher``, ``student``, ``state_dict_ema``.
        file: The name of the checkpoint, for messages.

    Returns:
        Weights by name. Names that the network does not have are among them; :func:`drop_unused` and
        :func:`without_heads` take off what the network does not need. Where most expected names are not there, the
        weights are returned as they are named, without usual wrappers.

    Raises:
        UsageError: There is no network of this ``key``.
        NotWeights: There are no named weights, several networks of the same rank, or they are quantised or an adapter.
    """
    dictionaries = list(_dictionaries(checkpoint))
    if not dictionaries:
        raise NotWeights(f"'{file}' holds {'no named weights' if checkpoint else 'nothing'}")
    parts = [part for words, state in dictionaries for part in _parts(words, state, expected)]
    most = max((_matches(part, expected) for part in parts), default=0)
    if 2 * most <= len(expected):  # other names: a library may know how to translate the whole
        most, parts = 0, [_whole(words, state) for words, state in dictionaries]
    networks = [part for part in parts if 2 * _matches(part, expected) > most or not most]
    if key:
        chosen = [part for part in networks if key in part.words]
        if not chosen:
            named = list(dict.fromkeys(part.name for part in sorted(networks, key=_rank) if part.name))
            known = f"it has {' and '.join(named)}" if named else "it holds one network only: leave out 'key'"
            raise UsageError(f"'{file}' has no '{key}'; {known}.")
        networks = chosen
    networks.sort(key=lambda part: (-_matches(part, expected) if most else 0, *_rank(part), -len(part.state)))
    best = networks[0]
    _refuse_changed_weights(best.state, file)
    equals = [part for part in networks if _matches(part, expected) == _matches(best, expected)]
    others = [part for part in equals[1:] if part.words != best.words]
    if others and most and not key:
        if _rank(others[0])[0] == _rank(best)[0] == _NEUTRAL:
            listed = " and ".join(f"'{'.'.join(part.words)}'" for part in (best, *others))
            raise NotWeights(
                f"'{file}' holds several networks of the same layers, {listed}: choose one with ',key=NAME'"
            )
        log.warning(
            "'%s' holds several networks; '%s' is taken. ',key=%s' takes another.", file, best.name, others[0].name
        )
    if best.beside and most:
        _note_unused(best.beside, file)
    return dict(best.state)


def drop_unused(state: Mapping[str, Tensor], names: Collection[str], file: str) -> dict[str, Tensor]:
    """Return weights without the parts that training needs and an encoder does not, and say so.

    Args:
        state: Weights by name.
        names: The names of the network's weights; none of them is left out.
        file: The name of the checkpoint, for the note.
    """
    unused = {name for name in state if name not in names and _UNUSED.match(name)}
    if unused:
        _note_unused(unused, file)
    return {name: value for name, value in state.items() if name not in unused}


def without_heads(state: Mapping[str, Tensor], unexpected: Collection[str]) -> dict[str, Tensor] | None:
    """Return weights without classifiers and heads for the loss; None if other weights have no place in the network.

    Args:
        state: Weights by name.
        unexpected: Names that the network does not have.
    """
    if any(name not in state or name.partition(".")[0] not in HEADS for name in unexpected):
        return None
    return {name: value for name, value in state.items() if name not in unexpected}


def note_resampling(state: Mapping[str, Tensor], network: Mapping[str, Tensor], file: str) -> None:
    """Say that position embeddings were trained for another number of patches or tokens than the network takes.

    Args:
        state: Weights by name.
        network: The network's own, by the same names.
        file: The name of the checkpoint.
    """
    for name, value in state.items():
        if "pos" in name and "embed" in name and name in network and value.ndim == network[name].ndim > 1:
            trained, own = value.shape[-2], network[name].shape[-2]
            if trained != own and value.shape[-1] == network[name].shape[-1]:
                log.warning(
                    "The position embeddings of '%s' are for %d tokens, the network's for %d: they are resampled.",
                    file,
                    trained,
                    own,
                )


def _note_unused(names: Collection[str], file: str) -> None:
    """Say that parts of a checkpoint are not used; classifiers and heads for the loss, which are usual, go unsaid."""
    parts = Counter(re.sub(r"\.(?:\d+|weight|bias)(?:\..*)?$", "", name).split(".")[0] for name in names)
    unusual = [part for part in sorted(parts) if part not in (*HEADS, *_LAST, "module", "student", "teacher")]
    if unusual:
        listed = ", ".join(f"'{visible(part)}'" for part in unusual[:4]) + (", …" if unusual[4:] else "")
        log.warning("%d weights of '%s' beside the network are not used: %s.", len(names), file, listed)


def _dictionaries(content: Mapping[Any, Any], words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the dictionaries in a checkpoint that hold named tensors, each with the names that lead to it."""
    state = {
        _WRAPPED.sub("", name): value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if state:
        yield words, state
    if len(words) < _DEEPEST:
        for name, value in content.items():
            if isinstance(name, str) and isinstance(value, Mapping):
                yield from _dictionaries(value, (*words, name))


def _parts(words: tuple[str, ...], state: Mapping[str, Tensor], expected: Collection[str]) -> Iterator[Part]:
    """Yield the parts of a dictionary whose weights have expected names behind one prefix."""
    names = set(expected)
    prefixes: Counter[str] = Counter()
    for key in state:
        pieces = key.split(".")
        for i in range(len(pieces)):
            if ".".join(pieces[i:]) in names:
                prefixes[".".join(pieces[:i])] += 1
    for prefix, _ in prefixes.most_common(_PREFIXES):
        start = f"{prefix}." if prefix else ""
        own = {key[len(start) :]: value for key, value in state.items() if key.startswith(start)}
        wrapping = tuple(word for word in prefix.split(".") if word)
        named = next((word for word in (*words, *wrapping) if word in (*_FIRST, *_LAST)), "")
        name = named or (words[0] if words else wrapping[0] if wrapping else "")
        yield Part(name, (*words, *wrapping), own, [key for key in state if not key.startswith(start)])


def _whole(words: tuple[str, ...], state: Mapping[str, Tensor]) -> Part:
    """Return a whole dictionary as one part, without the wrappers that all its names begin with."""
    return Part(words[-1] if words else "", words, unwrapped(state), [])


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights without the wrappers of torch.compile and others, which nearly all of their names begin with.

    The few that do not lie beside the network, such as a projector, and are left out.

    Example:
        >>> list(unwrapped({"module._orig_mod.norm.weight": torch.ones(2), "module.norm.bias": torch.ones(2)}))
        ['norm.weight', 'norm.bias']
    """
    state = {_WRAPPED.sub("", key): value for key, value in state.items()}
    while state:
        (first, count), *_ = Counter(key.partition(".")[0] for key in state).most_common(1)
        if not (first in _WRAPPERS and count >= _NEARLY * len(state) or first == "encoder" and count == len(state)):
            break
        state = {key.partition(".")[2]: value for key, value in state.items() if key.startswith(f"{first}.")}
    return dict(state)


def _matches(part: Part, expected: Collection[str]) -> int:
    """Return the number of expected names that a part has."""
    return sum(name in part.state for name in expected)


_NEUTRAL = len(_FIRST)


def _rank(part: Part) -> tuple[int, int]:
    """Return the place of a part among others of the same layers; lower ones are taken first."""
    first = [_FIRST.index(word) for word in part.words if word in _FIRST]
    last = [_LAST.index(word) for word in part.words if word in _LAST]
    place = first[0] if first else _NEUTRAL + 1 + last[0] if last else _NEUTRAL
    return place, len(part.words)


def _refuse_changed_weights(state: Mapping[str, Tensor], file: str) -> None:
    """Raise NotWeights for an adapter, quantised weights, and tensors without values."""
    for name, value in state.items():
        if _LORA.search(name):
            raise NotWeights(f"'{file}' is {ADAPTER} (its first such weight is '{visible(name)}')")
        if _QUANTISED.search(name) or value.is_quantized:
            raise NotWeights(
                f"'{file}' holds quantised weights (first '{visible(name)}'), which only the program that made them "
                "reads: get or save the weights in float16 or float32"
            )
        if value.is_meta or value.layout is not torch.strided:
            raise NotWeights(f"'{file}' holds no values for '{visible(name)}'")
