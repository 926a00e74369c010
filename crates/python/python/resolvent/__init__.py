"""How sources propagate through a Transformer, without torch: fields, sensitivities, patches and Green functions.

>>> from resolvent import Model, logit_diff
>>> model = Model.from_pretrained("atlas-small", device="host")
>>> run = model.run("When Mary and John went to the store, John gave a drink to")
>>> run.field.shape
(9, 14, 192)
>>> chi = run.sensitivity(logit_diff(" Mary", " John"))
>>> chi.axes
('level', 'token', 'd')

Names of shapes: L blocks, so L+1 levels of the field; T tokens; d the width; V the vocabulary. Positions count from 0,
or backwards from -1. Results are float32 numpy arrays. Arguments may be anything that numpy converts to an array, such
as lists and tensors.
"""

from ._native import (
    AveragedOperator,
    CertificateError,
    Cotangent,
    DeviceError,
    Dictionary,
    Edit,
    Linearization,
    Model,
    Observable,
    Prompts,
    Result,
    Run,
    Source,
    Study,
    __version__,
    compare,
    continuation,
    devices,
    entropy,
    kl_divergence,
    log_prob,
    logit,
    logit_diff,
    prob,
    projection,
    summarise,
)
from .distribute import Work, distribute, open_results

__all__ = [
    "AveragedOperator",
    "CertificateError",
    "Cotangent",
    "DeviceError",
    "Dictionary",
    "Edit",
    "Linearization",
    "Model",
    "Observable",
    "Prompts",
    "Result",
    "Run",
    "Source",
    "Study",
    "Work",
    "__version__",
    "compare",
    "continuation",
    "devices",
    "distribute",
    "entropy",
    "kl_divergence",
    "log_prob",
    "logit",
    "logit_diff",
    "open_results",
    "prob",
    "projection",
    "summarise",
]
