"""Measures: pure functions of vectors and labels that return one score per image, never an average.

Vectors are NumPy arrays ``[n, d]``, labels arrays of strings ``[n]``, scores float64 ``[n]``. Statistics turn scores
into an estimate with an interval (:mod:`embprobe.statistics`); ``estimate_shape_bias`` does both, for it is a ratio.
SciPy, scikit-learn, FAISS and torch are loaded by the functions that need them.

>>> import numpy as np
>>> from embprobe import measures
>>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
>>> measures.displacement(x, np.array([[1.0, 0.0], [1.0, 1.0]])).round(3)
array([0.   , 0.293])
"""

# Where a submodule has the name of its function, the function is bound last: ``measures.cka`` is callable, and
# ``from embprobe.measures.cka import chance_cka`` still finds the module. Lazy loading could not promise that, because
# importing a submodule binds it over its package's attribute of that name.
from embprobe.measures.attraction import attraction
from embprobe.measures.blind_pairs import alike_pairs, blind_pairs
from embprobe.measures.cka import chance_cka, cka
from embprobe.measures.compression import fit_compression
from embprobe.measures.control_task import control_labels
from embprobe.measures.decisions import read_decisions
from embprobe.measures.decoding import balance, correct, guess_majority
from embprobe.measures.dense import (
    explained,
    mean_iou,
    patch_accuracy,
    patch_places,
    ranked_above,
    shuffle_patches,
)
from embprobe.measures.disagreement import contrasting_pairs
from embprobe.measures.displacement import displacement, displacement_percentile
from embprobe.measures.few_shot import draw_shots, few_shot
from embprobe.measures.gda import predict_gda, predict_gda_with_text
from embprobe.measures.geometry import (
    alignment,
    conformity,
    effective_rank,
    mean_cosine,
    modality_gap,
    uniformity,
)
from embprobe.measures.knn import nearest, predict_knn
from embprobe.measures.logistic import logistic_path, predict_logistic
from embprobe.measures.mutual_knn import mutual_knn, nearest_others, overlap_at_k
from embprobe.measures.natural_pairs import natural_pairs
from embprobe.measures.nearest_mean import predict_nearest_mean
from embprobe.measures.pairs import pair_cosines
from embprobe.measures.patch_probes import guess_objects, predict_objects, predict_ridge
from embprobe.measures.preference import preference
from embprobe.measures.rank_correlation import rank_correlation
from embprobe.measures.retrieval import recall_at_k
from embprobe.measures.same_part import object_box, same_part
from embprobe.measures.shape_bias import covered, estimate_shape_bias, shape_bias
from embprobe.measures.variance import permutation_p, plain_shares, variance_shares
from embprobe.measures.vectors import l2_normalize
from embprobe.measures.zero_shot import class_vectors, predict_zero_shot

__all__ = [
    "alignment",
    "alike_pairs",
    "attraction",
    "balance",
    "blind_pairs",
    "chance_cka",
    "cka",
    "class_vectors",
    "conformity",
    "contrasting_pairs",
    "control_labels",
    "correct",
    "covered",
    "displacement",
    "displacement_percentile",
    "draw_shots",
    "effective_rank",
    "estimate_shape_bias",
    "explained",
    "few_shot",
    "fit_compression",
    "guess_majority",
    "guess_objects",
    "l2_normalize",
    "logistic_path",
    "mean_cosine",
    "mean_iou",
    "modality_gap",
    "mutual_knn",
    "natural_pairs",
    "nearest",
    "nearest_others",
    "object_box",
    "overlap_at_k",
    "pair_cosines",
    "patch_accuracy",
    "patch_places",
    "permutation_p",
    "plain_shares",
    "predict_gda",
    "predict_gda_with_text",
    "predict_knn",
    "predict_logistic",
    "predict_nearest_mean",
    "predict_objects",
    "predict_ridge",
    "predict_zero_shot",
    "preference",
    "rank_correlation",
    "ranked_above",
    "read_decisions",
    "recall_at_k",
    "same_part",
    "shape_bias",
    "shuffle_patches",
    "uniformity",
    "variance_shares",
]
