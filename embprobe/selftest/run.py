"""Test the instrument: what it promises is checked on answers that are known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from embprobe.errors import UsageError
from embprobe.selftest import controls, known, path, probed, scenes, uncertainty, units
from embprobe.selftest.planted import ORDERED, order_of
from embprobe.selftest.promise import NO_ANSWER, Promise, Settings, Verdict
from embprobe.system.suggestions import did_you_mean
from embprobe.system.threads import one_thread

PROMISES: tuple[Promise, ...] = (
    Promise("pairing", "What two encoders share cancels in their difference.", uncertainty.pairing),
    Promise("groups", "Images of one concept are resampled together.", uncertainty.groups),
    Promise("skewness", "Intervals of skewed scores are BCa's.", uncertainty.skewed),
    Promise("correction", "p-values are corrected for their number.", uncertainty.correction),
    Promise("permutations", "A factor without effect has any p.", uncertainty.permutations),
    Promise("rotation", "Displacement is known for a known angle.", known.rotated),
    Promise("lengths", "Measures by cosine do not depend on lengths.", known.scaled),
    Promise("neighbours", "No image is its own neighbour.", known.itself),
    Promise("preference", "Noise prefers neither cue.", known.two_cues),
    Promise("shuffled labels", "A control task has a label a concept.", known.shuffled),
    Promise("differences", "Differences are first less second, paired, by concept, corrected.", probed.differences),
    Promise(
        "control task",
        "Vectors that know concepts can memorise labels, those that know categories cannot.",
        probed.memorised,
    ),
    Promise("guessing", "Guessing knows the labels' shares.", probed.guessed),
    Promise("cue conflict", "The concept alone has 1, the style alone 0.", probed.cues),
    Promise("variance shares", "Planted shares are found.", probed.shares),
    Promise("natural pairs", "What an attribute goes with is held constant.", probed.confounded),
    Promise("image path", "Vectors are of their own row's pixels.", path.stored),
    Promise("readers of pixels", "Hue moves a reader of colour, its control a reader of lightness.", path.noticed),
    Promise("unseen concepts", "Vectors that know images or concepts alone must guess.", probed.unseen),
    Promise("coverage", "95 % intervals hold the truth, and 5 % of true hypotheses fall.", uncertainty.simulated),
    Promise("colour space", "Oklab is Oklab.", units.color_space),
    Promise("strength 0", "A strength of 0 changes nothing.", units.nothing),
    Promise("units", "A strength does what its unit says, for every intervention.", units.units),
    Promise("controls", "Changes of colour, text and style have controls.", controls.every),
    Promise("lightness control", "It changes lightness by as much, and no hue.", controls.lightness),
    Promise("blur control", "It blurs by as much, and keeps the mean colour.", controls.blur),
    Promise("ink controls", "They draw as much ink, and no word.", controls.ink),
    *(
        Promise(f"planted {attribute}", f"The card follows planted shares of {attribute}.", order_of(attribute))
        for attribute in ORDERED
    ),
    Promise("planted scenes", "Who only counts, counts; who only knows places, knows places.", scenes.one_fact),
)
"""Every promise, in the order in which they are checked: what takes long comes last."""


def selftest(
    names: Sequence[str] = (),
    *,
    studies: int = Settings.studies,
    seed: int = Settings.seed,
    notify: Callable[[str], None] = lambda step: None,
) -> Iterator[Verdict]:
    """Yield the verdicts of promises as they come.

    All of them take about a minute on two idle cores.

    Args:
        names: The promises to check, by their names; all of them if none is named.
        studies: Number of studies that are simulated for false alarms and coverage.
        seed: Of the oracles and the simulations.
        notify: Called with the name of each promise before it is checked.

    Raises:
        UsageError: There is no promise of a name.
    """
    known_names = [promise.name for promise in PROMISES]
    for name in names:
        if name not in known_names:
            hint = did_you_mean(name, known_names)
            raise UsageError(f"There is no promise '{name}'.{hint} There are: {', '.join(known_names)}.")
    return _verdicts([promise for promise in PROMISES if promise.name in (names or known_names)], studies, seed, notify)


def _verdicts(promises: Sequence[Promise], studies: int, seed: int, notify: Callable[[str], None]) -> Iterator[Verdict]:
    settings = Settings(seed, studies)
    for promise in promises:
        notify(promise.name)
        verdicts = iter(promise.check(settings))
        try:
            while verdict := _next(verdicts):
                yield replace(verdict, promise=promise.name)
        except Exception as error:  # a broken instrument can fail in any way, and the other promises still count
            yield Verdict(promise.says, "an answer", f"{NO_ANSWER}: {error}", False, promise.name)


@one_thread()
def _next(verdicts: Iterator[Verdict]) -> Verdict | None:
    """Return the next verdict, None after the last; oracles have few vectors."""
    return next(verdicts, None)
