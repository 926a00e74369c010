# Shapes: L blocks, T tokens, d the width, V the vocabulary. Docstrings are those of the module itself.
from os import PathLike
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Protocol, Union, final, overload
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

class _DLPack(Protocol):
    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

# Lists, numpy arrays, and whatever has `__array__` or DLPack on the processor.
_Array = Union[ArrayLike, _DLPack]
_Prompt = Union[str, _Array]
_Token = Union[str, int]
_Place = tuple[int, int]
_Path = Union[str, PathLike[str]]
_Floats = NDArray[np.float32]
_Goal = Union[tuple[Observable, float], tuple[_Place, _Array]]
_Sources = Union[Source, _Array]
_Cotangents = Union[Observable, Cotangent, _Array]
# What `_Sources` or `_Cotangents` are, or a list of them; lists of mixed kinds have no narrower type.
_Entry = Any
_Mode = Literal["exact", "frozen_norm", "frozen_attention", "frozen", "relp"]
_Kind = Literal["resid", "mid", "attn_out", "mlp_out", "q", "k", "v", "z"]
_Predictor = Literal["first_order", "curvature", "hvp", "integrated", "relp"]

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
        self,
        prompt: Union[_Prompt, Run],
        observable: Observable,
        *,
        neurons: bool = False,
        patterns: bool = False,
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
    def lens(self, prompt: Union[_Prompt, Run], observable: Union[Observable, None] = None, *, top: int = 5) -> Result: ...
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
    def study(
        self,
        prompts: Union[_Path, None] = None,
        *,
        tasks: Sequence[str] = (),
        limit: int = 32,
        quick: bool = False,
        small: Sequence[Model] = (),
        seed: int = 0,
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
        self,
        observable: Observable,
        *,
        direction: Union[str, None] = None,
        donor: Union[_Prompt, Run, None] = None,
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
    def along(
        self, sources: Sequence[_Entry], observable: Observable
    ) -> list[tuple[float, float]]: ...

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

@final
class Result:
    @property
    def analysis(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def values(self) -> _Floats: ...
    @property
    def axes(self) -> tuple[str, ...]: ...
    def axes_of(self, name: Union[str, None] = None) -> tuple[str, ...]: ...
    @property
    def arrays(self) -> dict[str, _Floats]: ...
    # For each check its figure and the largest that passes: the bound plus the noise floor.
    @property
    def checks(self) -> dict[str, tuple[float, float]]: ...
    @property
    def metadata(self) -> dict[str, str]: ...
    @property
    def str_tokens(self) -> list[str]: ...
    def __getitem__(self, key: str, /) -> _Floats: ...
    def __contains__(self, key: str, /) -> bool: ...
    def keys(self) -> list[str]: ...
    def __array__(self, dtype: Any = None, copy: Union[bool, None] = None) -> NDArray[Any]: ...
    # A pandas.DataFrame, and the axes of matplotlib, where those are installed.
    def to_pandas(self, name: Union[str, None] = None) -> Any: ...
    def plot(self, name: Union[str, None] = None, ax: Any = None) -> Any: ...
    def svg(self) -> Union[str, None]: ...
    def save(self, path: _Path) -> None: ...
    @staticmethod
    def load(path: _Path) -> Result: ...
    def to_json(self) -> str: ...
    def _repr_html_(self) -> str: ...

@final
class Dictionary:
    @staticmethod
    def load(path: _Path) -> Dictionary: ...
    @property
    def n_features(self) -> int: ...
    @property
    def hooks(self) -> tuple[str, str]: ...
    def encode(self, rows: _Array) -> NDArray[np.float32]: ...
    def directions(self, features: Sequence[int]) -> NDArray[np.float32]: ...

class Prompts:
    @property
    def names(self) -> list[str]: ...
    @property
    def tokens(self) -> list[list[int]]: ...
    @property
    def observables(self) -> list[Union[str, None]]: ...
    @property
    def left_out(self) -> list[tuple[str, str]]: ...
    def __len__(self) -> int: ...
    def logits(self, position: int = -1) -> _Floats: ...
    def run(self) -> Result: ...
    def sensitivity(self) -> Result: ...
    def patch(
        self, *, sites: Sequence[_Kind] = ["resid"], predictors: Sequence[_Predictor] = ()
    ) -> Result: ...
    def transfer(self, *, scale: float = 1.0, controls: int = 8, seed: int = 0) -> Result: ...
    def edges(
        self,
        *,
        predictors: Sequence[Literal["integrated", "relp"]] = (),
        steps: int = 8,
        exact: bool = False,
        controls: int = 0,
    ) -> Result: ...
    def attribute(self, *, neurons: bool = False, patterns: bool = False) -> Result: ...
    def lens(self) -> Result: ...
    def circuit(
        self,
        *,
        score: Literal["first_order", "integrated", "relp", "exact"] = "integrated",
        steps: int = 8,
        selection: Literal["top", "greedy"] = "top",
        prune: Union[float, None] = None,
        ablation: Literal["corrupted", "zero", "mean", "resample"] = "corrupted",
        resamples: int = 4,
        shares: Union[Sequence[float], None] = None,
        controls: int = 2,
        seed: int = 0,
        ranked_on: int = 0,
    ) -> Result: ...

@final
class Study:
    @property
    def results(self) -> dict[str, Result]: ...
    @property
    def statements(self) -> list[dict[str, Any]]: ...
    @property
    def left_out(self) -> list[dict[str, Any]]: ...
    @property
    def page(self) -> Path: ...
    def _repr_html_(self) -> str: ...
