"""Types of options for a command that has to answer at once: `Words`, `Numbers`.

tyro knows `tuple[str, ...]` and `int | None` too, but checks the defaults of generic types with typeguard, whose
import takes as long as all else that tyro does. Those of a plain tuple and of `Optional` it checks by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from tyro.constructors import PrimitiveConstructorSpec

if TYPE_CHECKING:
    Words = tuple[str, ...]
    Numbers = tuple[int, ...]
else:

    def _several(kind: type, metavar: str) -> PrimitiveConstructorSpec[tuple]:
        return PrimitiveConstructorSpec(
            nargs="*",
            metavar=f"[{metavar} [{metavar} ...]]",
            instance_from_str=lambda words: tuple(map(kind, words)),
            is_instance=lambda value: isinstance(value, tuple) and all(isinstance(item, kind) for item in value),
            str_from_instance=lambda value: [str(item) for item in value],
        )

    Words = Annotated[tuple, _several(str, "STR")]
    Numbers = Annotated[tuple, _several(int, "INT")]
