"""Case files of a hostile or an unlucky user: each is refused in a sentence with file, line and field."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vlm_parity.schema.case import Case, ImagePart
from vlm_parity.schema.case_file import load_case, load_cases, write_case
from vlm_parity.util.errors import CaseError

HEAD = "summary: s\nmessages:\n- role: user\n  content:\n"
GOOD = "summary: s\nmessages:\n- {role: user, content: Hi}\n"
CONTENT = "messages[0].content"
MAPPING = "must be a mapping: {file: NAME}, {url: DATA_URL}, a recipe, or {max_size: true}"


def write(folder: Path, content: str | bytes, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


def read_error(path: Path) -> str:
    with pytest.raises(CaseError) as caught:
        load_case(path)
    return str(caught.value).replace(str(path), "FILE")


def image(source: str) -> str:
    return f"{HEAD}  - image: {source}\n"


def video(recipe: str) -> str:
    return f"{HEAD}  - video: {{pattern: gradient, {recipe}}}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (image("cat.png"), f"5: {CONTENT}[0].image: {MAPPING}"),
        (image("null"), f"5: {CONTENT}[0].image: {MAPPING}"),
        (image("[1]"), f"5: {CONTENT}[0].image: {MAPPING}"),
        (f"{HEAD}  - video: cat.mp4\n", f"5: {CONTENT}[0].video: {MAPPING}"),
        (f"{HEAD}  - audio: 3\n", f"5: {CONTENT}[0].audio: {MAPPING}"),
        (f"{HEAD}  - hi\n", f"5: {CONTENT}[0]: must be a mapping with one of: text, image, video, audio"),
        (f"{HEAD}  -\n", f"5: {CONTENT}[0]: must be a mapping with one of: text, image, video, audio"),
        (HEAD.rstrip() + " {text: Hi}\n", f"4: {CONTENT}: must be text, or a list of parts"),
        ("summary: s\nmessages: hi\n", "2: messages: must be a list"),
        ("summary: s\nmessages: [null]\n", "2: messages[0]: must be a mapping"),
        (
            f"{HEAD}  - text: 12\n",
            f"5: {CONTENT}[0].text: must be text, but 12 is read as a number: put it in",
        ),
        (GOOD.replace("summary: s", "summary:"), "1: summary: must be text, but it is empty"),
        (GOOD + "max_new_token: 8\n", "4: max_new_token: no such key here"),
        (
            image("{file: a.png, url: 'data:image/png;base64,AA'}"),
            f"5: {CONTENT}[0].image.url: no such key here",
        ),
        (image("{file: a.png, encoded: yes}"), f"5: {CONTENT}[0].image.encoded: must be true or false"),
        (image("{url: http://host/a.png}"), f"5: {CONTENT}[0].image.url: must be a data URL"),
        (image('{file: ""}'), f"5: {CONTENT}[0].image.file: must have at least 1 character"),
        (image('{file: "a\\0b"}'), f"5: {CONTENT}[0].image.file: 'a\\x00b' is not the name of a file"),
    ],
)
def test_value_of_another_type_is_located(tmp_path: Path, content: str, message: str) -> None:
    assert read_error(write(tmp_path, content)).startswith(f"FILE:{message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (video("size: [8, 8], frames: 2, fps: .inf"), f"5: {CONTENT}[0].video.fps: must be less than"),
        (video("size: [8, 8], frames: 2, fps: .nan"), f"5: {CONTENT}[0].video.fps: must be "),
        (video("size: [8, 8], frames: 2, fps: 1.0e-9"), f"5: {CONTENT}[0].video.fps: must be greater than"),
        (video("size: [8, 8], frames: true"), f"5: {CONTENT}[0].video.frames: must be a valid integer"),
        (
            video("size: [8, 8], frames: 2, encoded: {timestamps: [0, .nan]}"),
            f"5: {CONTENT}[0].video.encoded.",
        ),
        (
            video("size: [8, 8], frames: 2, encoded: {timestamps: [0, 1.0e+300]}"),
            f"5: {CONTENT}[0].video.enc",
        ),
        (
            image("{pattern: gradient, size: [8, 8], seed: 4294967296}"),
            f"5: {CONTENT}[0].image.seed: must be",
        ),
        (image("{pattern: gradient, size: [8, 8], seed: -1}"), f"5: {CONTENT}[0].image.seed: must be"),
        (
            image("{pattern: gradient, size: [8, 010]}"),
            f"5: {CONTENT}[0].image.size[1]: must be a valid integer",
        ),
        (image(f"{{pattern: gradient, size: [8, {'9' * 5000}]}}"), "5:42: a number of 5000 digits"),
        (
            GOOD + "max_new_tokens: 1" + "0" * 25 + "\n",
            "4: max_new_tokens: must be less than or equal to 1024",
        ),
        (
            GOOD + "processor_kwargs: {min_pixels: 1000000000000}\n",
            "4: processor_kwargs.min_pixels: must be less",
        ),
    ],
)
def test_huge_or_ambiguous_number_is_located(tmp_path: Path, content: str, message: str) -> None:
    assert read_error(write(tmp_path, content)).startswith(f"FILE:{message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            image("{pattern: plain, size: [16384, 16384]}"),
            "image: 16384 x 16384 pixels are 268 megapixels, and ",
        ),
        (
            video("size: [4096, 4096], frames: 4096"),
            "video: 4096 frames of 192.0 GiB when decoded; all media ",
        ),
        (
            f"{HEAD}  - audio: {{waveform: tone, seconds: 1.0e+9}}\n",
            "audio.seconds: must be less than or equal",
        ),
        (
            image(f"{{pattern: text, size: [8, 8], text: {'x' * 1001}}}"),
            "image.text: must have at most 1000 ",
        ),
    ],
)
def test_medium_that_exhausts_the_memory_is_located(tmp_path: Path, content: str, message: str) -> None:
    assert read_error(write(tmp_path, content)).startswith(f"FILE:5: {CONTENT}[0].{message}")


def test_media_of_a_case_are_limited_together(tmp_path: Path) -> None:
    large = "  - image: {pattern: plain, size: [8192, 8192]}\n"
    assert len(tuple(load_case(write(tmp_path, HEAD + large * 8)).media)) == 8
    assert read_error(write(tmp_path, HEAD + large * 9)).startswith("FILE:1: 9 media of 2.2 GiB when decoded")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + "summary: t\n", "4:1: the key summary is already in line 1"),
        (f"{HEAD}  - text: a\n    text: b\n", "6:5: the key text is already in line 5"),
        (GOOD + "name: x\n", "4: name: no such key here"),
        (GOOD + "folder: /etc\n", "4: folder: no such key here"),
        (GOOD + "media_roots: [/]\n", "4: media_roots: no such key here"),
        (GOOD + "<<: {depth: tokens}\n", "4: <<: no such key here"),
        (GOOD + "1: 2\n", "4:1: the key 1 is read as a number: put it in quotes"),
        (GOOD + "[1, 2]: 2\n", "4:1: a key must be a name, not a list or a mapping"),
        (GOOD + '"\\e[31mred": 1\n', "4: \\x1b[31mred: no such key here"),
    ],
)
def test_key_is_never_ignored(tmp_path: Path, content: str, message: str) -> None:
    assert read_error(write(tmp_path, content)) == f"FILE:{message}"


LAUGHS = "summary: s\na0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 99)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS, "2:5: the anchor &a0 is not supported: write the value out wherever it is used"),
        ("summary: *a\n", "1:10: the alias *a is not supported: write the value out"),
        ("summary: !!int x\n", "1:10: the tag tag:yaml.org,2002:int is not supported"),
        (
            "summary: !!python/object:os.system x\n",
            "1:10: the tag tag:yaml.org,2002:python/object:os.system is",
        ),
        ("summary: " + "[" * 100_000, "1:41: more than 32 lists and mappings within each other"),
        ("summary: " + "{a: " * 100_000, "1:131: more than 32 lists and mappings within each other"),
        ("summary: [" + "a," * 20_001 + "]\n", "1:40005: more than 20,000 keys and values in the file"),
        (GOOD.replace("Hi", '"\\ud800"'), "3:25: half of a surrogate pair: write the character itself"),
        (GOOD.encode("utf-16"), "1: not UTF-8: the byte 0xff"),
        (b"summary: s\nmessages: na\xefve\n", "2: not UTF-8: the byte 0xef"),
        (b"summary: s\nmessages: \0\n", "2: the character U+0000 is not allowed"),
        (b"summary: s\nmessages: \x1b[31m\n", "2: the character U+001B is not allowed"),
        (
            "summary: s\nmessages:\n\t- role: user\n",
            "3:1: while scanning for the next token found character '\\t'",
        ),
        ("a: [\n", "2:1: while parsing a flow node expected the node content"),
        (GOOD + "---\n" + GOOD, "4:1: expected a single document in the stream but found another document"),
        ("[1, 2]\n", "1: the file is a list: it must be a mapping with summary and messages"),
        ("hi\n", "1: the file is a single value: it must be a mapping with summary and messages"),
        ("# hi\n", "1: the file is empty: it must be a mapping with summary and messages"),
        ("", "1: the file is empty: it must be a mapping with summary and messages"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_other_yaml_is_located(tmp_path: Path, content: str | bytes, message: str) -> None:
    start = time.monotonic()
    error = read_error(write(tmp_path, content))
    assert error.startswith(f"FILE:{message}")
    assert "\n" not in error
    assert time.monotonic() - start < 5


def test_tabs_come_with_the_remedy(tmp_path: Path) -> None:
    error = read_error(write(tmp_path, "summary: s\nmessages:\n\t- role: user\n"))
    assert error.endswith("cannot start any token: indent with spaces, not with tabs")


def test_only_the_first_of_many_errors_are_listed(tmp_path: Path) -> None:
    error = read_error(write(tmp_path, GOOD + "".join(f"key{number}: 1\n" for number in range(5000))))
    assert error.count("\n") == 20
    assert error.endswith("\nand 4980 more errors")


@pytest.mark.parametrize("word", ["2024-13-45", "no", "1:30", "012", "0x10", "="])
def test_word_that_only_yaml_1_1_takes_for_a_date_or_a_number_is_text(tmp_path: Path, word: str) -> None:
    assert load_case(write(tmp_path, GOOD.replace("Hi", word))).messages[0].content == word


@pytest.mark.parametrize(
    "text", ["1e3", "1:30", "no", "=", "<<", "0o7", "012", "2024-01-01", "~", " a: b", "x\n"]
)
def test_every_text_is_read_as_it_was_written(tmp_path: Path, text: str) -> None:
    case = Case.model_validate(
        {"name": "a", "summary": text, "messages": [{"role": "user", "content": text}]}
    )
    write_case(tmp_path / "a.yaml", case)
    assert load_case(tmp_path / "a.yaml").messages == case.messages


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.yaml")
    large = write(tmp_path, b"#" * (4 * 2**20 + 1), "large.yaml")
    assert read_error(tmp_path / "folder.yaml") == "FILE: is a folder, not a file"
    assert read_error(tmp_path / "loop.yaml") == "FILE: too many levels of symbolic links"
    assert read_error(tmp_path / "zero.yaml") == "FILE: is a device, not a file"
    assert read_error(tmp_path / "pipe.yaml") == "FILE: is a pipe, not a file"
    assert read_error(tmp_path / "missing.yaml") == "FILE: no such file"
    assert read_error(large) == "FILE: is too large: 4,194,305 bytes or more, and the limit is 4,194,304"


@pytest.mark.parametrize("name", ["A.yaml", "a-b.yaml", "ä.yaml", ".#a.yaml"])
def test_file_names_the_case(tmp_path: Path, name: str) -> None:
    assert read_error(write(tmp_path, GOOD, name)).startswith(
        "FILE: the file names the case: only lower-case"
    )


@pytest.mark.parametrize("name", ["b.yml", "b.YAML"])
def test_case_with_another_suffix_is_not_left_out(tmp_path: Path, name: str) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, GOOD, name)
    with pytest.raises(CaseError, match=rf"{name}: would not be read: rename it to b\.yaml"):
        load_cases(tmp_path)


def test_file_in_place_of_a_folder_of_cases_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(CaseError, match=r"a\.yaml: cannot be read as a folder of cases: Not a directory"):
        load_cases(path)


# Media files


def file_case(path: str) -> str:
    return f"{HEAD}  - text: Look\n  - image: {{file: {path}}}\n"


@pytest.mark.parametrize("path", ["{outside}/cat.png", "../outside/cat.png", "link.png", "folder/cat.png"])
def test_media_file_outside_of_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "cases"
    outside.mkdir()
    folder.mkdir()
    (folder / "link.png").symlink_to(outside / "cat.png")
    (folder / "folder").symlink_to(outside)
    case_file = write(folder, file_case(path.format(outside=outside)))
    assert read_error(case_file) == (
        f"FILE:6: {CONTENT}[1].image.file: {outside}/cat.png lies outside of the case's folder; "
        "--media-root DIR permits the files of another folder"
    )
    ((_, part),) = load_case(case_file, media_roots=[outside]).media
    assert isinstance(part, ImagePart)


def test_media_file_within_the_folder_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for path in ("cat.png", "deep/cat.png", "deep/../cat.png", f"{tmp_path}/cat.png"):
        for folder in (tmp_path, tmp_path / "link"):
            case = load_case(write(folder, file_case(path)))
            assert case.modalities == ("image",)
