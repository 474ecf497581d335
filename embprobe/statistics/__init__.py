"""Statistics: scores become an estimate with its interval and p-value. They know groups and pairs, not embeddings.

Images of one concept are not independent, so the bootstrap always resamples the group (the concept, the source image),
never the image. One set of resamples serves every encoder, so that differences and ratios are paired.

A number says how far it is sure for something that it is generalised to:

- other images: :func:`resample`;
- other data sets: :func:`resample_datasets`;
- other training runs of the same recipe: :func:`compare_recipes`.

Of many encoders, :func:`holm` corrects the comparisons, :func:`tied_groups` gives letters to those that they do not
separate, and :func:`effective_robustness` sets accuracy under a shift against accuracy without it.
"""

from embprobe.statistics.depth import Best, Rise, best_elsewhere, half_rise, sure_from
from embprobe.statistics.estimate import LEVEL, Estimate, least_detectable_difference
from embprobe.statistics.many_tests import CERTAIN, holm
from embprobe.statistics.over_datasets import FEWEST_DATASETS, DatasetScores, ResampledDatasets, resample_datasets
from embprobe.statistics.over_seeds import RecipeDifference, compare_recipes
from embprobe.statistics.resampling import RESAMPLES, Resampled, resample
from embprobe.statistics.robustness import FEWEST_ENCODERS, Robustness, effective_robustness
from embprobe.statistics.tied_groups import tied_groups

__all__ = [
    "CERTAIN",
    "FEWEST_DATASETS",
    "FEWEST_ENCODERS",
    "LEVEL",
    "RESAMPLES",
    "Best",
    "DatasetScores",
    "Estimate",
    "RecipeDifference",
    "Resampled",
    "ResampledDatasets",
    "Rise",
    "Robustness",
    "best_elsewhere",
    "compare_recipes",
    "effective_robustness",
    "half_rise",
    "holm",
    "least_detectable_difference",
    "resample",
    "resample_datasets",
    "sure_from",
    "tied_groups",
]
