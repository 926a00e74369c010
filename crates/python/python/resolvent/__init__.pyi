# Shapes: L blocks, T tokens, d the width, V the vocabulary. Docstrings are those of the module itself.
from types import SimpleNamespace
from typing import Any, Literal, Union, final, overload
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ._results import (
    AveragedOperator, Cotangent, Dictionary, Edit, Prompts, Result, Source, Study, _Array, _Float, _Floats, _Int,
    _Interactions, _Names, _Path, _Place, _Places, _Token, compare, summarise,
)
from .distribute import Work, distribute, open_results

_Prompt = Union[str, _Array]
_Input = Union[_Prompt, "Run"]
_Goal = Union[tuple[Observable, _Float], tuple[_Place, _Array]]
_Edits = Union[Edit, Sequence[Edit]]
_Tokens = Union[_Token, Sequence[_Token], NDArray[np.integer[Any]]]
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

class DeviceError(RuntimeError): ...
class CertificateError(ArithmeticError): ...

@final
class Model:
    @staticmethod
    def from_pretrained(
        name: _Path = "atlas-small", device: Union[str, _Int] = "auto", *, memory: _Int = 536870912,
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
    def to_tokens(self, prompt: _Input) -> NDArray[np.uint32]: ...
    def to_string(self, ids: Union[_Int, _Array]) -> str: ...
    def to_str_tokens(self, prompt: _Prompt) -> list[str]: ...
    def to_single_token(self, text: str) -> int: ...
    # Read-only, with TransformerLens' names and shapes; read from the device once.
    @property
    def W_E(self) -> _Floats: ...
    @property
    def W_pos(self) -> Union[_Floats, None]: ...
    @property
    def W_U(self) -> _Floats: ...
    @property
    def b_U(self) -> _Floats: ...
    @property
    def W_Q(self) -> _Floats: ...
    @property
    def W_K(self) -> _Floats: ...
    @property
    def W_V(self) -> _Floats: ...
    @property
    def W_O(self) -> _Floats: ...
    @property
    def b_Q(self) -> _Floats: ...
    @property
    def b_K(self) -> _Floats: ...
    @property
    def b_V(self) -> _Floats: ...
    @property
    def b_O(self) -> _Floats: ...
    @property
    def W_in(self) -> _Floats: ...
    @property
    def W_gate(self) -> Union[_Floats, None]: ...
    @property
    def W_out(self) -> _Floats: ...
    @property
    def b_in(self) -> _Floats: ...
    @property
    def b_out(self) -> _Floats: ...
    # `w` and `b`; `b` is None for norms without a bias.
    @property
    def ln_final(self) -> SimpleNamespace: ...
    @property
    def ln1(self) -> Union[SimpleNamespace, None]: ...
    @property
    def ln2(self) -> Union[SimpleNamespace, None]: ...
    def embedding(self, token: _Token) -> _Floats: ...
    def unembedding(self, token: _Token) -> _Floats: ...
    def run(self, prompt: _Input, edits: _Edits = (), *, sites: _Names = ()) -> Run: ...
    def run_all(self, prompts: Sequence[_Input], edits: _Edits = (), *, sites: _Names = ()) -> list[Run]: ...
    def generate(
        self, prompt: _Input, max_new_tokens: _Int = 10, edits: _Edits = (), *, temperature: _Float = 0.0,
        top_k: Union[_Int, None] = None, top_p: Union[_Float, None] = None, seed: _Int = 0, stop: _Tokens = (),
    ) -> NDArray[np.uint32]: ...
    def generate_all(
        self, prompts: Sequence[_Input], max_new_tokens: _Int = 10, edits: _Edits = (), *, temperature: _Float = 0.0,
        top_k: Union[_Int, None] = None, top_p: Union[_Float, None] = None, seed: _Int = 0, stop: _Tokens = (),
    ) -> list[NDArray[np.uint32]]: ...
    def patch_sweep(
        self,
        clean: _Input,
        corrupted: _Input,
        observable: Observable,
        *,
        sites: _Names = ["resid"],
        predictors: _Names = (),
        interactions: _Interactions = None,
        joint: Literal["put", "add"] = "put",
    ) -> Result: ...
    def edges(
        self,
        clean: _Input,
        corrupted: _Input,
        observable: Observable,
        *,
        predictors: _Names = (),
        steps: _Int = 8,
        exact: bool = False,
        random: _Int = 0,
        seed: _Int = 0,
        by_token: bool = False,
    ) -> Result: ...
    def edges_into(self, clean: _Input, corrupted: _Input, observable: Observable, place: _Place) -> Result: ...
    def path_patch(
        self, clean: _Input, corrupted: _Input, observable: Observable, senders: _Names,
        receivers: _Names = "logits",
    ) -> float: ...
    def paths(
        self, clean: _Input, corrupted: _Input, observable: Observable, senders: _Names,
        receivers: _Names = "logits",
    ) -> Result: ...
    def subspace(
        self,
        clean: _Input,
        corrupted: _Input,
        observable: Observable,
        site: str,
        token: _Int = -1,
        *,
        directions: Union[str, _Array, None] = None,
        readers: Literal["next", "all"] = "next",
        controls: _Int = 16,
        seed: _Int = 0,
    ) -> Result: ...
    def attribute(
        self, prompt: _Input, observable: Observable, *, neurons: bool = False, listed: _Int = 64, patterns: bool = False
    ) -> Result: ...
    def features(
        self,
        dictionary: Dictionary,
        prompt: _Input,
        observable: Observable,
        *,
        target: Union[_Input, None] = None,
        top: _Int = 20,
        exact: bool = False,
    ) -> Result: ...
    def lens(
        self,
        prompt: _Input,
        observable: Union[Observable, None] = None,
        *,
        top: _Int = 5,
        averaged: Union[AveragedOperator, None] = None,
    ) -> Result: ...
    def windows(self, text: str, length: _Int = 128) -> list[list[int]]: ...
    def prompts(
        self,
        rows: Union[_Path, Sequence[Union[_Input, dict[str, Any]]], None] = None,
        *,
        observable: Union[Observable, None] = None,
        tasks: _Names = (),
        limit: Union[_Int, None] = None,
        strict: bool = False,
        edits: _Edits = (),
    ) -> Prompts: ...
    def scale(
        self,
        large: Model,
        prompts: Union[_Path, None] = None,
        *,
        tasks: _Names = (),
        limit: _Int = 12,
        tokens: Sequence[_Token] = (),
        seed: _Int = 0,
    ) -> Result: ...
    def scale_operators(
        self,
        large: Model,
        prompts: Union[_Path, None] = None,
        *,
        tasks: _Names = (),
        fit_on: _Names = (),
        limit: _Int = 16,
        levels: Sequence[_Int] = (),
        seed: _Int = 0,
    ) -> Result: ...
    def study(
        self,
        prompts: Union[_Path, None] = None,
        *,
        tasks: _Names = (),
        limit: _Int = 32,
        quick: bool = False,
        small: Union[Model, Sequence[Model]] = (),
        seed: _Int = 0,
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
    def logits_at(self, position: _Int = -1) -> _Floats: ...
    def __getitem__(self, key: Union[str, tuple[str, _Int]], /) -> _Floats: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def keys(self) -> list[str]: ...
    def to_dict(self, names: Union[_Names, None] = None) -> dict[str, _Floats]: ...
    def value(self, observable: Observable) -> float: ...
    @overload
    def values_under(self, variants: Sequence[_Edits], observable: Observable, *, position: _Int = -1) -> list[float]: ...
    @overload
    def values_under(
        self, variants: Sequence[_Edits], observable: Sequence[Observable], *, position: _Int = -1
    ) -> NDArray[np.float64]: ...
    @overload
    def values_under(
        self, variants: Sequence[_Edits], observable: Callable[[_Floats], _Array], *, position: _Int = -1
    ) -> NDArray[Any]: ...
    def logits_under(self, variants: Sequence[_Edits], position: _Int = -1) -> _Floats: ...
    def linearize(self, mode: _Mode = "exact") -> Linearization: ...
    def result(self, *, last: bool = False) -> Result: ...
    def pattern(self, block: _Int) -> _Floats: ...
    def sensitivity(
        self, observable: Observable, *, sites: _Names = (), direction: Union[str, None] = None,
        donor: Union[_Input, None] = None,
    ) -> Result: ...
    def green(
        self,
        at: _Place, direction: Union[str, _Array, None] = None, *, unit: bool = False,
        observable: Union[Observable, None] = None, donor: Union[_Input, None] = None,
        geometry: bool = False, directions: _Int = 0, nodes: _Int = 0,
    ) -> Result: ...
    def quadratic(
        self, observable: Observable, at: _Place, basis: Union[str, _Array, None] = None, *,
        rank: Union[_Int, None] = None, amplitudes: Union[_Float, Sequence[_Float], None] = None,
        samples: _Int = 32, probes: _Int = 16, seed: _Int = 0, donor: Union[_Input, None] = None,
    ) -> Result: ...
    def flow(
        self, observable: Observable, at: Union[_Place, None] = None, direction: Union[str, _Array, None] = None, *,
        unit: bool = False, donor: Union[_Input, None] = None, steps: _Int = 0,
    ) -> Result: ...
    def identities(self, observable: Observable) -> Result: ...
    def growth(self, at: Union[_Int, Sequence[_Int]] = -1) -> Result: ...
    def slice(
        self,
        basis: Union[str, _Array, None] = None,
        readout: Union[str, _Array, None] = None,
        *,
        rank: Union[_Int, None] = None,
        sources: Union[_Places, None] = None,
        targets: Union[_Places, None] = None,
        observable: Union[Observable, None] = None,
        position: _Int = -1,
        donors: Sequence[_Input] = (),
        nodes: _Int = 0,
        amplitude: _Float = 0.1,
        out: Union[_Path, None] = None,
        fresh: bool = False,
        progress: bool = True,
    ) -> Result: ...
    def regime(
        self,
        observable: Observable,
        direction: Union[str, _Array, None] = None,
        *,
        unit: bool = False,
        sites: Union[_Places, None] = None,
        amplitudes: Union[_Float, Sequence[_Float], NDArray[np.floating[Any]], None] = None,
        absolute: bool = False,
        field: bool = False,
        nodes: _Int = 0,
        donor: Union[_Input, None] = None,
    ) -> Result: ...
    def invert(
        self,
        goals: Union[_Goal, Sequence[_Goal]],
        *,
        sites: Union[_Places, None] = None,
        sparse: Union[_Int, None] = None,
        choose: Literal["greedy", "lasso"] = "greedy",
        limit: Union[_Float, None] = None,
        damp: _Float = 0.0,
        refine: _Int = 0,
        seed: _Int = 0,
    ) -> Result: ...
    def locate(
        self, response: _Array, *,
        levels: Union[_Int, Sequence[_Int], NDArray[np.integer[Any]], None] = None,
        values: Union[Sequence[Union[Observable, tuple[Run, Observable]]], None] = None,
        noise: _Float = 0.01, length: Union[_Float, None] = None, draws: _Int = 4, share: _Float = 0.95, seed: _Int = 0,
        sources: _Int = 1,
    ) -> Result: ...
    def transfer(
        self,
        donor: _Input,
        observable: Observable,
        *,
        scale: _Float = 1.0,
        controls: _Int = 8,
        seed: _Int = 0,
        others: Sequence[_Input] = (),
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
    def __mul__(self, factor: _Float) -> Observable: ...
    def __rmul__(self, factor: _Float) -> Observable: ...

def logit(target: _Token, position: _Int = -1) -> Observable: ...
def logit_diff(target: _Token, against: _Token, position: _Int = -1) -> Observable: ...
def log_prob(target: _Token, position: _Int = -1) -> Observable: ...
def prob(targets: Sequence[_Token], position: _Int = -1) -> Observable: ...
def entropy(position: _Int = -1) -> Observable: ...
def kl_divergence(base: Run, position: _Int = -1, *, reverse: bool = False) -> Observable: ...
def continuation(tokens: Union[str, Sequence[_Int], NDArray[np.integer[Any]]], position: _Int = -1) -> Observable: ...
def projection(level: _Int, position: _Int, direction: _Array) -> Observable: ...
def devices() -> list[str]: ...
