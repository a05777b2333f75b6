"""A request of HTTP -> what it asks for: its query by a table of parameters, its body as images."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from verydeep.errors import did_you_mean, few, printable
from verydeep.files import parse_json
from verydeep.images.decode import Encoded
from verydeep.serving.limits import MOST_LISTED, MOST_PARTS, Refusal
from verydeep.serving.models import ServedModel
from verydeep.serving.service import Service

JSON = "application/json"
THE_IMAGE = "the image"
FORM = "application/x-www-form-urlencoded"  # what curl says of every body, unless it is told otherwise
STRIPPED = frozenset(b"\r\n\0")
"""Bytes that `curl -d` leaves out of a file. Every format of images has some of them."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of the query.

    Attributes:
        name: as written.
        text: what it means.
        default: what is taken where it is missing; None where there is no value then.
        choices: the words that it may be; none for any.
        count: whether it is a whole number.
        several: whether it is a list with commas.
        most: of a number; the least is 1.
        required: whether it has to be there.

    """

    name: str
    text: str
    default: Any = None
    choices: tuple[str, ...] = ()
    count: bool = False
    several: bool = False
    most: int = 100_000
    required: bool = False

    def read(self, text: str) -> Any:
        """Turn the text of a query into a value.

        Raises:
            Refusal: it is none.

        """
        if self.several:
            parts = text.split(",")
            if len(parts) > MOST_LISTED:
                raise Refusal(400, f"`{self.name}` has {len(parts)} words; it may have {MOST_LISTED}")
            return tuple(self._one(part.strip()) for part in parts)
        return self._one(text)

    def _one(self, text: str) -> Any:
        if self.count:
            if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= self.most and len(text) < 9):
                raise self._refusal(text, f"a whole number from 1 to {self.most}")
            return int(text)
        if self.choices and text not in self.choices:
            raise self._refusal(text, f"one of {', '.join(self.choices)}")
        if not text:
            raise self._refusal(text, "a word")
        return text

    def _refusal(self, text: str, wanted: str) -> Refusal:
        return Refusal(400, f"`{self.name}` is {printable(repr(text), 60)}; it must be {wanted}")

    def schema(self, known: Sequence[str] = ()) -> dict[str, Any]:
        """Its JSON schema.

        Args:
            known: the words that it may be where these depend on the models.

        """
        one: dict[str, Any] = {"type": "string", "minLength": 1}
        if self.count:
            one = {"type": "integer", "minimum": 1, "maximum": self.most}
        elif words := self.choices or known:
            one = {"type": "string", "enum": list(words)}
        if self.several:
            one = {"type": "array", "items": one, "minItems": 1}
        if self.default not in (None, ()):
            one["default"] = list(self.default) if isinstance(self.default, tuple) else self.default
        return one


@dataclass
class Call:
    """A request as a handler sees it.

    Attributes:
        service: that answers.
        query: values by the name of the parameter.
        path: parameters of the path.
        body: all of it.
        headers: by their names in lower case.
        num_images: that were found in the body.

    """

    service: Service
    query: Mapping[str, Any]
    path: Mapping[str, str]
    body: bytes
    headers: Mapping[str, str]
    num_images: int = 0

    @property
    def model(self) -> ServedModel:
        """The model that is asked.

        Raises:
            Refusal: there is none of its name.

        """
        try:
            return self.service.models.named(self.path.get("model"))
        except KeyError as error:
            raise Refusal(404, error.args[0]) from None

    @property
    def content_type(self) -> str:
        """Of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def images(self) -> tuple[list[Encoded], bool]:
        """The images of the body, and whether they are a list; JSON is read in a thread.

        Raises:
            Refusal: there is none, or they are too many, or no base64.

        """
        if not self.body:
            raise Refusal(400, "the body is empty; send an image's bytes, or JSON with a list of base64 strings")
        if self.content_type.startswith("multipart/"):
            raise Refusal(415, "forms are not read; send the image's bytes as the body")
        if self.content_type == FORM and not STRIPPED.intersection(self.body):
            if self.body.lstrip().startswith((b"{", b"[")):
                raise Refusal(400, f"the body looks like JSON; say so by the header `Content-Type: {JSON}`")
            raise Refusal(400, "the body is no image's file; send that by `curl --data-binary @FILE`, not by `-d`")
        if self.content_type != JSON:
            self.num_images = 1
            return [Encoded(THE_IMAGE, self.body)], False
        images = await self.service.in_thread(self._listed)
        self.num_images = len(images)
        return images, True

    def _listed(self) -> list[Encoded]:
        given = self.json()
        texts = given.get("images") if isinstance(given, dict) else None
        if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
            raise Refusal(400, 'the JSON must be {"images": [...]}, a list of base64 strings')
        if not texts:
            raise Refusal(400, "`images` is empty; send at least one image")
        check_count(len(texts), self.service.limits.max_images)
        return [Encoded(f"images[{n}]", from_base64(text, f"images[{n}]")) for n, text in enumerate(texts)]

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            Refusal: it is none.

        """
        return json_of(self.body)


def check_count(count: int, most: int) -> None:
    """Make sure that a request has not too many images.

    Raises:
        Refusal: it has.

    """
    if count > most:
        raise Refusal(413, f"{count} images were sent; at most {most} are taken in a request")


def json_of(content: bytes) -> Any:
    """Read JSON.

    Raises:
        Refusal: it is none, or has more parts than memory is given for.

    """
    parts = content.count(b",") + content.count(b"[") + content.count(b"{")
    if parts > MOST_PARTS:
        raise Refusal(413, f"the JSON has {parts:,} parts; at most {MOST_PARTS:,} are taken: send binary data")
    try:
        return parse_json(content)
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not JSON: it is not UTF-8") from None
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {printable(str(error), 100)}") from None


def from_base64(text: str, name: str) -> bytes:
    """The bytes of a base64 string; `data:image/png;base64,` may stand before it.

    Raises:
        Refusal: it is none, or empty.

    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, f"{name} is not base64") from None
    if not content:
        raise Refusal(400, f"{name} is empty")
    return content


def read_query(query: bytes, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Read the parameters of a query.

    Raises:
        Refusal: one is unknown, missing, there twice, or has no such value.

    """
    known = {one.name: one for one in parameters}
    values = {one.name: one.default for one in parameters}
    seen = set()
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"):
        if name not in known:
            there = few(list(known), 20, quoted=False) if known else "none"
            word = printable(repr(name), 60)
            hint = did_you_mean(name, known)
            if name == "model":
                hint = "; a model has an address of its own: /models/NAME/predict"
            raise Refusal(400, f"there is no parameter {word}; there are: {there}{hint}")
        if name in seen and not known[name].several:
            raise Refusal(400, f"`{name}` is given twice")
        value = known[name].read(text)
        values[name] = (*values[name], *value) if name in seen else value
        if known[name].several and len(values[name]) > MOST_LISTED:
            raise Refusal(400, f"`{name}` has more than {MOST_LISTED} values")
        seen.add(name)
    for one in parameters:
        if one.required and one.name not in seen:
            raise Refusal(400, f"`{one.name}` is missing: {one.text}")
    return values
