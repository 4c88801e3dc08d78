"""Processes that answer the server."""

import io
import os

from infer.ui.worker import messages, pack, serve


def answer(kind: bytes, content: bytes) -> tuple[bytes, bytes]:
    if kind == b"X":
        raise ValueError("no such question")
    return kind.lower(), content[::-1]


def test_questions_are_answered_one_by_one_and_faults_are_sentences() -> None:
    data = pack(b"A", b"abc") + pack(b"X", b"") + pack(b"B", b"")
    questions = io.BytesIO(data)
    answers = io.BytesIO()
    serve(questions, answers, answer)
    answers.seek(0)
    expected = [(b"a", b"cba"), (b"E", b"no such question"), (b"b", b"")]
    assert list(messages(answers)) == expected


def test_a_helper_whose_server_was_killed_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    questions = io.BytesIO(pack(b"A", b"abc"))
    with os.fdopen(writer, "wb") as target:
        serve(questions, target, answer)
