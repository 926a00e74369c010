from typing import Any, Literal, Union
from collections.abc import Callable, Sequence

from . import Observable
from ._mapped import MappedResult, MappedShards, open_results
from ._results import _Array, _Int, _Names, _Path

__all__ = ["MappedResult", "MappedShards", "Work", "distribute", "open_results"]

class Work:
    def __init__(
        self,
        analysis: Literal[
            "run", "sensitivity", "patch", "transfer", "flow", "edges", "attribute", "lens", "green", "slice", "regime",
            "quadratic", "invert", "identities", "growth", "subspace",
        ],
        prompts: Union[_Path, Sequence[Union[str, _Array, dict[str, Any]]], None],
        out: _Path,
        *,
        model: _Path = "atlas-small",
        options: Union[dict[str, Any], None] = None,
        observable: Union[Observable, None] = None,
        tasks: _Names = (),
        limit: Union[_Int, None] = None,
        shard_size: _Int = 32,
        device: Union[str, _Int] = "auto",
        memory: _Int = 536870912,
        f16_weights: bool = False,
        f16_inputs: bool = False,
    ) -> None: ...
    def compute(self, shards: Sequence[_Int]) -> int: ...
    def missing(self) -> list[int]: ...
    def merge(self, out: _Path) -> None: ...

# An executor has the method `submit` of `concurrent.futures`; a function makes one.
def distribute(
    work: Work,
    executor: Any = None,
    *,
    workers: Union[_Int, None] = None,
    retries: _Int = 3,
    shards_per_task: _Int = 1,
    progress: bool = True,
    callback: Union[Callable[[int, int], object], None] = None,
) -> Union[MappedResult, MappedShards]: ...
