# Shapes: L blocks, T tokens, d the width, V the vocabulary. Docstrings are those of the module itself.
from types import SimpleNamespace
from typing import Any, Literal, Union, final, overload
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ._results import AveragedOperator, Dictionary, Prompts, Result, Study, _Array, _Floats, _Kind, _Path, _Predictor

_Prompt = Union[str, _Array]
_Token = Union[str, int]
_Place = tuple[int, int]
_Goal = Union[tuple[Observable, float], tuple[_Place, _Array]]
_Sources = Union[Source, _Array]
_Cotangents = Union[Observable, Cotangent, _Array]
# What `_Sources` or `_Cotangents` are, or a list of them; lists of mixed kinds have no narrower type.
_Entry = Any
_Mode = Literal["exact", "frozen_norm", "frozen_attention", "frozen", "relp"]

__version__: str
__all__ = [
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
    "__version__",
    "continuation",
    "devices",
    "entropy",
    "kl_divergence",
    "log_prob",
    "logit",
    "logit_diff",
    "prob",
    "projection",
]

class DeviceError(RuntimeError): ...
class CertificateError(ArithmeticError): ...

@final
class Model:
    @staticmethod
    def from_pretrained(
        name: _Path = "atlas-small", device: str = "auto", *, memory: int = 536870912,
        f16_weights: bool = False, f16_inputs: bool = False, progress: bool = True
    ) -> Model: ...
    @property
    def name(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def weight_rounding(self) -> Union[float, None]: ...
    @property
    def input_rounding(self) -> float | None: ...
    @property
    def cfg(self) -> SimpleNamespace: ...
    # No token goes before a prompt unless the tokenizer's files ask for one; GPT-2's do not.
    def to_tokens(self, prompt: _Prompt) -> NDArray[np.uint32]: ...
    def to_string(self, ids: Union[int, _Array]) -> str: ...
    def to_str_tokens(self, prompt: _Prompt) -> list[str]: ...
    def to_single_token(self, text: str) -> int: ...
    def embedding(self, token: _Token) -> _Floats: ...
    def unembedding(self, token: _Token) -> _Floats: ...
    def run(self, prompt: _Prompt, edits: Sequence[Edit] = (), *, sites: Sequence[str] = ()) -> Run: ...
    def patch_sweep(
        self,
        clean: Union[_Prompt, Run],
        corrupted: Union[_Prompt, Run],
        observable: Observable,
        *,
        sites: Sequence[_Kind] = ["resid"],
        predictors: Sequence[_Predictor] = (),
        interactions: Union[int, None] = None,
        joint: Literal["put", "add"] = "put",
    ) -> Result: ...
    def edges(
        self,
        clean: Union[_Prompt, Run],
        corrupted: Union[_Prompt, Run],
        observable: Observable,
        *,
        predictors: Sequence[Literal["integrated", "relp"]] = (),
        steps: int = 8,
        exact: bool = False,
    ) -> Result: ...
    def attribute(
        self, prompt: Union[_Prompt, Run], observable: Observable, *, neurons: bool = False, patterns: bool = False
    ) -> Result: ...
    def features(
        self,
        dictionary: Dictionary,
        prompt: Union[_Prompt, Run],
        observable: Observable,
        *,
        target: Union[_Prompt, Run, None] = None,
        top: int = 20,
        exact: bool = False,
    ) -> Result: ...
    def lens(
        self,
        prompt: Union[_Prompt, Run],
        observable: Union[Observable, None] = None,
        *,
        top: int = 5,
        averaged: Union[AveragedOperator, None] = None,
    ) -> Result: ...
    def windows(self, text: str, length: int = 128) -> list[list[int]]: ...
    def prompts(
        self,
        rows: Union[_Path, Sequence[Union[_Prompt, dict[str, Any]]], None] = None,
        *,
        observable: Union[Observable, None] = None,
        tasks: Sequence[str] = (),
        limit: Union[int, None] = None,
        strict: bool = False,
    ) -> Prompts: ...
    def scale(
        self,
        large: Model,
        prompts: Union[_Path, None] = None,
        *,
        tasks: Sequence[str] = (),
        limit: int = 12,
        tokens: Sequence[_Token] = (),
        seed: int = 0,
    ) -> Result: ...
    def scale_operators(
        self,
        large: Model,
        prompts: Union[_Path, None] = None,
        *,
        tasks: Sequence[str] = (),
        limit: int = 16,
        levels: Sequence[int] = (),
        seed: int = 0,
    ) -> Result: ...
    def study(
        self,
        prompts: Union[_Path, None] = None,
        *,
        tasks: Sequence[str] = (),
        limit: int = 32,
        quick: bool = False,
        small: Sequence[Model] = (),
        seed: int = 0,
        nulls: bool = True,
        out: _Path = "study",
        progress: bool = True,
    ) -> Study: ...

@final
class Run:
    @property
    def model(self) -> Model: ...
    @property
    def tokens(self) -> NDArray[np.uint32]: ...
    @property
    def str_tokens(self) -> list[str]: ...
    @property
    def field(self) -> _Floats: ...
    @property
    def logits(self) -> _Floats: ...
    def logits_at(self, position: int = -1) -> _Floats: ...
    def __getitem__(self, key: Union[str, tuple[str, int]], /) -> _Floats: ...
    def value(self, observable: Observable) -> float: ...
    def values_under(self, variants: Sequence[Sequence[Edit]], observable: Observable) -> list[float]: ...
    def linearize(self, mode: _Mode = "exact") -> Linearization: ...
    def result(self, *, last: bool = False) -> Result: ...
    def pattern(self, block: int) -> _Floats: ...
    def sensitivity(
        self, observable: Observable, *, direction: Union[str, None] = None, donor: Union[_Prompt, Run, None] = None
    ) -> Result: ...
    def green(
        self,
        at: _Place,
        direction: Union[str, _Array, None] = None,
        *,
        unit: bool = False,
        observable: Union[Observable, None] = None,
        donor: Union[_Prompt, Run, None] = None,
        geometry: bool = False,
        directions: int = 0,
    ) -> Result: ...
    def flow(
        self, observable: Observable, at: Union[_Place, None] = None, direction: Union[str, _Array, None] = None, *,
        unit: bool = False, donor: Union[_Prompt, Run, None] = None, steps: int = 0,
    ) -> Result: ...
    def identities(self, observable: Observable) -> Result: ...
    def growth(self, at: Sequence[int] = (-1,)) -> Result: ...
    def slice(
        self,
        basis: Union[str, _Array, None] = None,
        readout: Union[str, _Array, None] = None,
        *,
        rank: Union[int, None] = None,
        sources: Union[Sequence[_Place], None] = None,
        targets: Union[Sequence[_Place], None] = None,
        observable: Union[Observable, None] = None,
        position: int = -1,
        donors: Sequence[Union[_Prompt, Run]] = (),
        out: Union[_Path, None] = None,
        progress: bool = True,
    ) -> Result: ...
    def regime(
        self,
        observable: Observable,
        direction: Union[str, _Array, None] = None,
        *,
        unit: bool = False,
        sites: Union[Sequence[_Place], None] = None,
        amplitudes: Union[Sequence[float], None] = None,
        absolute: bool = False,
        field: bool = False,
        nodes: int = 0,
        donor: Union[_Prompt, Run, None] = None,
    ) -> Result: ...
    def invert(
        self,
        goals: Union[_Goal, Sequence[_Goal]],
        *,
        sites: Union[Sequence[_Place], None] = None,
        sparse: Union[int, None] = None,
        choose: Literal["greedy", "lasso"] = "greedy",
        limit: Union[float, None] = None,
        damp: float = 0.0,
        refine: int = 0,
        seed: int = 0,
    ) -> Result: ...
    def locate(
        self,
        response: _Array,
        *,
        levels: Union[Sequence[int], None] = None,
        values: Union[Sequence[Union[Observable, tuple[Run, Observable]]], None] = None,
        noise: float = 0.01, length: Union[float, None] = None, draws: int = 4, share: float = 0.95, seed: int = 0,
    ) -> Result: ...
    def transfer(
        self,
        donor: Union[_Prompt, Run],
        observable: Observable,
        *,
        scale: float = 1.0,
        controls: int = 8,
        seed: int = 0,
        others: Sequence[Union[_Prompt, Run]] = (),
    ) -> Result: ...
    def _repr_html_(self) -> str: ...

@final
class Linearization:
    @property
    def run(self) -> Run: ...
    def jvp(self, sources: Union[_Sources, Sequence[_Entry]]) -> _Floats: ...
    def vjp(self, cotangents: Union[_Cotangents, Sequence[_Entry]]) -> _Floats: ...
    def jet(self, sources: Union[_Sources, Sequence[_Entry]]) -> tuple[_Floats, _Floats]: ...
    def hvp(self, sources: Union[_Sources, Sequence[_Entry]], observable: Observable) -> _Floats: ...
    @overload
    def along(self, sources: Source, observable: Observable) -> tuple[float, float]: ...
    @overload
    def along(self, sources: Sequence[_Entry], observable: Observable) -> list[tuple[float, float]]: ...

@final
class Observable:
    def __init__(self, text: str, *, base: Union[Run, None] = None) -> None: ...
    def extend(self, model: Model, prompt: _Prompt) -> list[int]: ...
    def __add__(self, other: Observable) -> Observable: ...
    def __sub__(self, other: Observable) -> Observable: ...
    def __neg__(self) -> Observable: ...
    def __mul__(self, factor: float) -> Observable: ...
    def __rmul__(self, factor: float) -> Observable: ...

def logit(target: _Token, position: int = -1) -> Observable: ...
def logit_diff(target: _Token, against: _Token, position: int = -1) -> Observable: ...
def log_prob(target: _Token, position: int = -1) -> Observable: ...
def prob(targets: Sequence[_Token], position: int = -1) -> Observable: ...
def entropy(position: int = -1) -> Observable: ...
def kl_divergence(base: Run, position: int = -1, *, reverse: bool = False) -> Observable: ...
def continuation(tokens: Union[str, Sequence[int]], position: int = -1) -> Observable: ...
def projection(level: int, position: int, direction: _Array) -> Observable: ...
def devices() -> list[str]: ...

@final
class Edit:
    @staticmethod
    def add(site: str, position: int, vector: _Array) -> Edit: ...
    @staticmethod
    def put(site: str, position: int, vector: _Array) -> Edit: ...
    @staticmethod
    def scale(site: str, position: int, amount: float) -> Edit: ...
    @staticmethod
    def project_out(site: str, position: int, vector: _Array) -> Edit: ...
    @staticmethod
    def ablate(site: str, position: int) -> Edit: ...

@final
class Source:
    def __new__(cls, site: str, position: int, vector: _Array) -> Source: ...

@final
class Cotangent:
    def __new__(cls, level: int, position: int, vector: _Array) -> Cotangent: ...
