"""Lists of classes as other systems write them: the right names, or a sentence, and never a wrong one."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models._meta import _IMAGENET_CATEGORIES

from verydeep.errors import UsageError
from verydeep.images import imagenet
from verydeep.weights.class_names import class_names, names_in

THREE = ("airplane", "cat", "Tinca tinca, a fish")
WORDNET = imagenet.wordnet_numbers()


def text(*lines: str, end: str = "\n") -> bytes:
    return (end.join(lines) + end).encode()


def read(content: bytes, name: str = "names.txt") -> tuple[str, ...]:
    return names_in(content, name.endswith(".json"))


PLAIN = text(*THREE)
READ = {
    "lines": PLAIN,
    "no end of line": PLAIN.rstrip(b"\n"),
    "CRLF": text(*THREE, end="\r\n"),
    "CR": text(*THREE, end="\r"),
    "blank lines": text("", *THREE, "", "  ", ""),
    "spaces around": text(*(f"  {name} \t" for name in THREE)),
    "UTF-8 with its mark": b"\xef\xbb\xbf" + PLAIN,
    "UTF-16 of Windows": PLAIN.decode().replace("\n", "\r\n").encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + PLAIN.decode().encode("utf-16-be"),
    "comments": text("# the classes of today", *THREE[:2], "#", THREE[2]),
    "numbers and spaces": text(*(f"{i} {name}" for i, name in enumerate(THREE))),
    "numbers in another order": text(*(f"{i} {THREE[i]}" for i in (2, 0, 1))),
    "numbers and tabs": text(*(f"{i}\t{name}" for i, name in enumerate(THREE))),
    "numbers and colons": text(*(f"{i}: {name}" for i, name in enumerate(THREE))),
    "numbers and full stops": text(*(f"{i}. {name}" for i, name in enumerate(THREE))),
    "numbers and dashes": text(*(f"{i} - {name}" for i, name in enumerate(THREE))),
    "zeros before": text(*(f"{i:04d} {name}" for i, name in enumerate(THREE))),
    "numbers last": text(*(f"{name} {i}" for i, name in enumerate(THREE))),
    "tabs and numbers last": text(*(f"{THREE[i]}\t{i}" for i in (1, 2, 0))),
    "a table": text(*(f'{i},"{name}"' for i, name in enumerate(THREE))),
    "a table of quotes": text(*(f'"{i}","{name}"' for i, name in enumerate(THREE))),
    "a table with its heading": text("id,name", *(f'{i},"{name}"' for i, name in enumerate(THREE))),
    "a table whose numbers are last": text("name,id", *(f'"{name}",{i}' for i, name in enumerate(THREE))),
    "quotes": text(*(f'"{name}"' for name in THREE)),
    "quotes where there are commas": text(*THREE[:2], f'"{THREE[2]}"'),
    "a YAML list": text(*(f"- {name}" for name in THREE)),
    "a YAML document": text("---", "# classes", *(f"-   {name}" for name in THREE)),
    "a YAML list of quotes": text(*(f'- "{name}"' for name in THREE)),
    "a YAML list of single quotes": text(*(f"- '{name}'" for name in THREE)),
    "a YAML map": text(*(f"{i}: {name}" for i, name in enumerate(THREE))),
    "numbers and semicolons": text(*(f"{i};{name}" for i, name in enumerate(THREE))),
    "numbers and bars": text(*(f"{i} | {name}" for i, name in enumerate(THREE))),
    "JSON list": json.dumps(THREE).encode(),
    "JSON, numbers to names": json.dumps({str(i): name for i, name in enumerate(THREE)}).encode(),
    "JSON in another order": json.dumps({str(i): THREE[i] for i in (1, 2, 0)}).encode(),
    "JSON, names to numbers": json.dumps({name: i for i, name in enumerate(THREE)}).encode(),
    "JSON, names to written numbers": json.dumps({name: str(i) for i, name in enumerate(THREE)}).encode(),
    "JSON, Keras's": json.dumps({str(i): [f"n0000000{i}", name] for i, name in enumerate(THREE)}).encode(),
    "JSON with its mark": b"\xef\xbb\xbf" + json.dumps(THREE).encode(),
    "JSON in UTF-16": json.dumps(THREE).encode("utf-16"),
    "WordNet numbers of others": text(*(f"n0000000{i} {name}" for i, name in enumerate(THREE))),
    "numbers and WordNet numbers": text(*(f"{i} n0000000{i} {name}" for i, name in enumerate(THREE))),
}


@pytest.mark.parametrize("form", READ)
def test_three_names_however_they_are_written(form):
    assert read(READ[form]) == THREE


@pytest.mark.parametrize("form", [form for form in READ if form.startswith("JSON")])
def test_json_is_known_by_its_ending_too(form):
    assert read(READ[form], "names.json") == THREE


def table(rows: list[tuple[object, ...]], **options) -> bytes:
    file = io.StringIO()
    csv.writer(file, **options).writerows(rows)
    return file.getvalue().encode()


a_name = (
    st.text(st.characters(categories=("L", "M", "P", "S"), exclude_characters="#;|"), min_size=1, max_size=12)
    .filter(lambda name: name[0].isalpha() and name[-1] != '"' and "," not in name)
    .filter(lambda name: name == name.strip())
)
some_names = st.lists(a_name, min_size=2, max_size=12, unique_by=lambda name: name)


@given(some_names, st.randoms(use_true_random=False))
def test_what_python_writes_is_read_back(names, random):
    """Names of any letters, through JSON and Python's own CSV, in any order; or a sentence, but no other names."""
    numbered = list(enumerate(names))
    random.shuffle(numbered)
    for content in (
        text(*names),
        json.dumps(names).encode(),
        json.dumps({str(i): name for i, name in numbered}).encode(),
        json.dumps({name: i for i, name in numbered}).encode(),
        table([(i, name) for i, name in numbered], quoting=csv.QUOTE_ALL),
        table([(i, name) for i, name in numbered], delimiter="\t", quoting=csv.QUOTE_NONNUMERIC),
        text(*(f"{i} {name}" for i, name in numbered)),
    ):
        try:
            found = read(content)
        except ValueError as error:
            assert "both called" in str(error) or "quotation" in str(error)
        else:
            assert found == tuple(names)


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_names_or_a_sentence(content, is_json):
    try:
        names = names_in(content, is_json)
    except (ValueError, RecursionError):
        return
    assert all(name == name.strip() != "" for name in names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "content",
    [
        text(*(f"{wordnet} {name}" for wordnet, name in zip(WORDNET, _IMAGENET_CATEGORIES, strict=True))),
        text(*(f"{wordnet} a name, and another of class {i}" for i, wordnet in enumerate(WORDNET))),
        text(*WORDNET),
        json.dumps({str(i): [wordnet, "crane"] for i, wordnet in enumerate(WORDNET)}).encode(),
    ],
)
def test_wordnet_numbers_are_imagenets_classes(content):
    """Keras's list calls two of them crane and two maillot; the numbers tell them apart."""
    assert read(content) == tuple(_IMAGENET_CATEGORIES)


def test_wordnet_numbers_decide_whatever_the_order():
    """Caffe's development kit has an order of its own, and a number from 1 on in each line."""
    some = [17, 3, 999]
    lines = [f"{WORDNET[i]} {place} a_name" for place, i in enumerate(some, 1)]
    assert read(text(*lines)) == tuple(_IMAGENET_CATEGORIES[i] for i in some)


REFUSED = {
    "Latin-1": ("café\nhund\n".encode("latin-1"), "line 1 has the byte 0xe9, which is not UTF-8"),
    "Shift JIS": ("cat\n猫\n".encode("shift-jis"), "which is not UTF-8"),
    "UTF-16 without its mark": (PLAIN.decode().encode("utf-16-le"), "NUL characters"),
    "half of UTF-16": (PLAIN.decode().encode("utf-16")[:-1], "damaged UTF-16"),
    "NUL": (text("cat", "do\0g"), "NUL characters"),
    "begins at 1": (text("1 cat", "2 dog"), "they begin at 1"),
    "JSON begins at 1": (b'{"cat": 1, "dog": 2}', "they begin at 1"),
    "a gap": (text("0 cat", "1 dog", "3 bird"), "2 is missing"),
    "a gap in JSON": (b'{"0": "cat", "2": "dog"}', "1 is missing"),
    "the same number": (text("0 cat", "1 dog", "1 bird"), "two classes have the number 1"),
    "numbers with zeros": (b'{"0": "cat", "00": "dog"}', "two classes have the number 0"),
    "some numbers": (text("0 cat", "1 dog", "bird"), "'bird' has none"),
    "numbers of their own": (text("1 euro", "2 euro", "50 euro"), "a JSON list of names takes names as they are"),
    "the same name": (text("crane", "dog", "crane"), "classes 0 and 2 are both called 'crane'"),
    "the same to the eye": (text("caf\u00e9", "cafe\u0301"), "classes 0 and 1 are both called"),
    "the same key": (b'{"0": "cat", "1": "dog", "0": "bird"}', "has '0' twice"),
    "numbers as names": (b'{"0": "1", "1": "2", "2": "0"}', "both sides of its map are numbers"),
    "no name": (b'["cat", ""]', "class 1 has an empty name"),
    "null": (b'["cat", null]', "None is not the name of a class"),
    "a truth": (b'{"0": "cat", "1": true}', "True is not the name of a class"),
    "nested": (b'{"names": {"0": "cat"}}', "neither a map of numbers to names nor one of names to numbers"),
    "a word": (b'"cat"', "neither a list of names nor a map"),
    "broken JSON": (b'{"0": "cat",', "it is not JSON"),
    "columns and tabs": (text("cat\tanimal", "oak\tplant"), "with a tab or another control character"),
    "three columns": (text("0,cat,animal", "1,oak,plant"), "more columns than a number and a name"),
    "three columns of semicolons": (text("0;cat;Katze", "1;dog;Hund"), "more columns than a number and a name"),
    "three columns of bars": (text("0|cat|Katze", "1|dog|Hund"), "more columns than a number and a name"),
    "three columns of colons": (text("0:cat:Katze", "1:dog:Hund"), "more columns than a number and a name"),
    "three columns, the number last": (text("cat;Katze;0", "dog;Hund;1"), "more columns"),
    "three columns of arrows": (text("0 => cat => Katze", "1 => dog => Hund"), "more columns"),
    "three columns of dashes": (text("0 - cat - Katze", "1 - dog - Hund"), "more columns"),
    "two signs": (text("0 cat;Katze", "1 dog;Hund"), "more columns than a name"),
    "two columns": (text("cat;Katze", "dog;Hund"), "more columns than a name"),
    "two columns of bars": (text("cat | Katze", "dog | Hund"), "more columns than a name"),
    "a list of a program": (text("cat,", "dog,", "bird"), "'cat,' ends with ','"),
    "an empty column": (text("0,cat,", "1,dog,"), "'cat,' ends with ','"),
    "an empty column of semicolons": (text("cat;", "dog;"), "'cat;' ends with ';'"),
    "single quotation marks": (text("'cat'", "'dog'"), "'cat' is in single quotation marks"),
    "ranges": (text("0 - 2", "1 - 3", "2 - 4"), "'0 - 2' is two numbers or a range"),
    "ranges of years": (text("0 - 2 years", "1 - 3 years"), "two numbers or a range"),
    "ranges with a longer dash": (text("0 \u2013 2", "1 \u2013 3"), "two numbers or a range"),
    "ranges in words": (text("0 to 2", "1 to 3"), "'0 to 2' is two numbers or a range"),
    "ranges in words and years": (text("0 to 2 years", "1 to 3 years"), "two numbers or a range"),
    "ranges of points": (text("0 .. 2", "1 .. 3"), "two numbers or a range"),
    "ranges and a space": (text("0 -2", "1 -3"), "two numbers or a range"),
    "two numbers": (text("0 5", "1 7"), "'0 5' is two numbers"),
    "two numbers of a table": (text('0,"5"', '1,"7"'), "is two numbers"),
    "numbers in another order": (text("2 0", "0 1", "1 2"), "is two numbers"),
    "some items of a YAML list": (text("names:", "- cat", "- dog"), "most lines are items of a YAML list"),
    "YAML within YAML": (text("- - cat", "- - dog"), "'- cat' is an item of a YAML list that is no plain name"),
    "a YAML comment": (text("- cat  # a pet", "- dog"), "no plain name"),
    "a YAML list in a line": (text("- [cat, Katze]", "- [dog, Hund]"), "no plain name"),
    "an escape in YAML": (text('- "c\\u0061t"', "- dog"), "no plain name"),
    "an empty item": (text("- cat", "-"), "class 1 has an empty name"),
    "an escape": (text("\x1b[31mcat", "dog"), "control character"),
    "a surrogate": (b'["\\ud800", "dog"]', "control character"),
    "half of a quotation": (text("dog", '"cat'), "one quotation mark of two"),
    "some WordNet numbers": (text("n01440764 tench", "n01443537 goldfish", "shark"), "'shark' has none"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_not_certain_is_refused(form):
    content, said = REFUSED[form]
    with pytest.raises(ValueError, match=r".") as refused:
        read(content, "x.json" if content[:1] in b'{"' else "x.txt")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "names",
    [
        ("2 euro", "a dollar", "a yen"),  # one of several begins with a number
        ("Boeing 747", "Boeing 737", "Airbus 380"),  # numbers that can be no classes'
        tuple("0123456789"),
        ("[UNK]", "cat", "no. 1"),
        ("C#", "F#", "Ada"),
        ("0-2", "3-5", "6 and more"),
        ("A;B", "C", "D|E"),
        ("'t Hooft", "a 'quote'", "b"),
        ("T-shirt", "- a minus", "c"),
        ("minus -", "a, b", "c"),
    ],
)
def test_names_with_numbers_and_signs_are_names(names):
    assert read(text(*names)) == names
    assert read(json.dumps(names).encode()) == names


@pytest.mark.parametrize("separator", [" ", ",", "\t", ": ", " - ", ";"])
def test_digits_beside_their_own_numbers_are_names(separator):
    if separator == " - ":
        with pytest.raises(ValueError, match="two numbers or a range"):
            read(text(*(f"{i}{separator}{i}" for i in range(10))))
    else:
        assert read(text(*(f"{i}{separator}{i}" for i in range(10)))) == tuple("0123456789")


@pytest.mark.parametrize(
    "names", [("2 euro", "50 euro"), ("to go", "and so on"), ("T-shirt", "Wi-Fi 6"), ("a, b", "c")]
)
def test_names_behind_numbers(names):
    for separator in (" ", "\t", ": "):
        assert read(text(*(f"{i}{separator}{name}" for i, name in enumerate(names)))) == names


def test_a_list_of_another_length_is_refused(tmp_path: Path):
    file = tmp_path / "names.txt"
    for content in (b"cat,dog,bird", text("cat", "dog"), text("cat", "dog", "bird", "heading")):
        file.write_bytes(content)
        with pytest.raises(UsageError, match="the weights have 3; give a line for each class"):
            class_names(str(file), 3)
    file.write_bytes(b"caf\xe9")
    with pytest.raises(UsageError, match=r"names\.txt` cannot be read: line 1 has the byte 0xe9"):
        class_names(str(file), 1)
