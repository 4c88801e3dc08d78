"""Every word of the page is in one file, so that a translation is another such file."""

import re
from html.parser import HTMLParser
from pathlib import Path

from infer.ui import app

SCRIPTS = sorted(app.STATIC.glob("*.js"))
NAMED = ("data-text", "data-label", "data-alt")
SPOKEN = ("alt", "aria-label", "placeholder", "title")


class Reader(HTMLParser):
    """Collects the keys of words, and words that stand in the page itself."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the words of an element."""
        for name, value in attrs:
            if name in NAMED and value:
                self.keys.add(value)
            elif name in SPOKEN and value:
                self.words.append(value)

    def handle_data(self, data: str) -> None:
        """Note text with letters; the name of the program has no translation."""
        if re.search(r"[^\W\d_]", data) and data.strip() != "sdvsr":
            self.words.append(data.strip())


def keys_of_words() -> set[str]:
    """The keys of the file of words."""
    text = (app.STATIC / "words.js").read_text("utf-8")
    # some lines hold several
    return set(re.findall(r"^  (\w+):", text, re.MULTILINE))


def keys_in(path: Path) -> set[str]:
    """The keys that a script asks for by name."""
    return set(re.findall(r"WORDS\.(\w+)", path.read_text("utf-8")))


def test_the_page_itself_says_nothing_and_asks_for_words_that_are_there() -> None:
    reader = Reader()
    reader.feed((app.STATIC / "index.html").read_text("utf-8"))
    assert reader.words == []
    keys = reader.keys.union(*map(keys_in, SCRIPTS))
    assert keys <= keys_of_words()


def test_no_word_is_there_for_nobody() -> None:
    reader = Reader()
    reader.feed((app.STATIC / "index.html").read_text("utf-8"))
    keys = reader.keys.union(*map(keys_in, SCRIPTS))
    # `WORDS[deed]`: of the buttons of a job
    scripts = "".join(path.read_text("utf-8") for path in SCRIPTS)
    keys |= set(re.findall(r"button\('(\w+)'", scripts))
    assert keys_of_words() <= keys


def test_scripts_write_no_sentence_of_their_own() -> None:
    # two words with a space between, in quotes; lists of CSS classes have none
    sentence = re.compile(r"'[A-Z][a-z]+ [a-z]+[^']*'")
    sentences = {
        path.name: sentence.findall(path.read_text("utf-8")) for path in SCRIPTS
    }
    # the pattern finds what is looked for
    assert sentences.pop("words.js")
    for name, own_sentences in sentences.items():
        assert not own_sentences, name
