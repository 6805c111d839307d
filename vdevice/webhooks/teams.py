"""Microsoft Teams: Workflows webhooks and the retired Office 365 connectors.

https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook
https://adaptivecards.io/explorer/TextBlock.html
"""

import json
import re
from typing import Any
from urllib.parse import urlsplit

from vdevice.model import Outcome
from vdevice.variables import Escape, is_url, percent_encode, substitute, substitute_json
from vdevice.webhooks import chat

_ANYWHERE = re.compile(
    r"""
      \\(?=[!-/:-@\[-`{-~]|\n|\Z)       # a backslash that would escape what follows, or break the line
    | `                                 # code
    | (?<!\s)\*|\*(?!\s)                # emphasis: not where blanks stand on both sides, 2 * 3
    | (?<![^\W_])_|_(?![^\W_])          # emphasis: not inside a word, boiler_2
    | (?<=~)~|~(?=~)                    # strikethrough
    | \](?=[(\[:])                      # a link, an image, or the name of a link, whose line would vanish
    | <(?=[A-Za-z][\w+.\-]*:|[^\s<>]+@) # a link; HTML is shown as it is
    | &(?=\#?\w{1,32};)                 # a character reference
    | (?<=\{)\{(?=(?:DATE|TIME)\()      # a function, which is done before all else
    """,
    re.VERBOSE,
)
_AFTER_BRACKET = re.compile(r"(?<=<)(?=[A-Za-z][\w+.\-]*:|[^\s<>]+@)")
_LINE_START = re.compile(
    r"""
      (?P<mark>\#)\#{0,5}(?:\s|\Z)      # a heading
    | (?P<item>[-+*])(?:\s|\Z)          # an item of a list
    | \d{1,9}(?P<number>[.)])(?:\s|\Z)  # the same, numbered
    | (?P<quote>>)
    | (?P<rule>[-=*_|:])[-=*_|:\ \t]*\Z # a rule across, a heading's underline, the second line of a table
    """,
    re.VERBOSE,
)
_MARKERS = re.compile(r"(?:[ \t>]|[-+*][ \t]|\d{1,9}[.)][ \t])*")
"""What may stand before a line's text without ending the start of the line: quotes, and items of lists."""

_PLAIN = frozenset({"TextRun", "CodeBlock"})
"""Elements of a card whose texts are shown as they are."""

_FUNCTION = re.compile(r"(?<=\{)(?=\{(?:DATE|TIME)\()")
_FAILED = re.compile(r"webhook message delivery failed with error", re.IGNORECASE)
_HTTP_ERROR = re.compile(r"HTTP error (\d{3})")


def is_connector(url: str) -> bool:
    """Tell whether a URL is one of the old connectors, which take {"text": …} and answer `1`."""
    host = (urlsplit(url).hostname or "").lower()
    return host.endswith(".webhook.office.com") or host in {"outlook.office.com", "outlook.office365.com"}


def escape(value: str, before: str, after: str) -> str:
    """Backslash-escape what would format in a TextBlock, and nothing else: telephones show each backslash.

    A line break becomes a paragraph, as a TextBlock has no other; blanks that would make a line code stay as fixed blanks.
    """
    lines = re.split(r"\r\n?|\n", value)
    written: list[str] = []
    for index, line in enumerate(lines):
        so_far = before + "\n\n".join(written) + ("\n\n" if index else "")
        rest = after if index == len(lines) - 1 else "\n"
        written.append(_escape_line(line, so_far, rest))
    return "\n\n".join(written)


def _escape_line(line: str, before: str, after: str) -> str:
    begun = before.rpartition("\n")[2]
    begun = begun[_MARKERS.match(begun).end() :]  # type: ignore[union-attr] # it matches nothing as well
    if not begun:
        line = _fixed_blanks(line)
    marks = dict.fromkeys(chat.places(_ANYWHERE, line, before, after), "\\")
    if line and 0 in chat.places(_AFTER_BRACKET, line, before, after):
        marks[0] = "\u200b" + marks.get(0, "")
    text = line.lstrip()
    # What another value behind this one says is not known: the line may end here.
    behind = "" if after.startswith("$") else after.partition("\n")[0]
    found = _LINE_START.match(begun + text + behind)
    if found:
        place = max(found.start(name) for name in found.groupdict()) - len(begun) + len(line) - len(text)
        if 0 <= place < len(line):
            marks[place] = "\\"
        elif place == len(line):
            # The template has the point behind the number; it cannot be escaped from here.
            marks[place] = "\u200b"
    return chat.marked(line, marks.items())


def _fixed_blanks(line: str) -> str:
    """Return a line whose indent does not make it code: four blanks or a tab."""
    indent = len(line) - len(line.lstrip(" \t"))
    return line[:indent].replace("\t", "    ").replace(" ", "\u00a0") + line[indent:] if indent else line


def plain(value: str, before: str, after: str) -> str:
    """Break the functions {{DATE(…)}} and {{TIME(…)}} of a value, which even a TextRun does."""
    return chat.marked(value, [(place, "\u200b") for place in chat.places(_FUNCTION, value, before, after)])


def body(payload: str, values: dict[str, str], url: str, *, raw: bool) -> bytes:
    """Return the JSON body: text as an Adaptive Card in a message envelope, a card in the envelope, others as they are."""
    parsed = chat.as_object(payload)
    if parsed is not None and parsed.get("type") in {"AdaptiveCard", "message"}:
        card = json.loads(substitute_json(payload, values)) if raw else _filled(parsed, values, escape)
        return chat.to_json(_envelope(card) if card.get("type") == "AdaptiveCard" else card)
    how = None if raw else escape
    if is_connector(url):
        return chat.render(payload, values, how, lambda text: {"text": text})
    return chat.render(payload, values, how, lambda text: _envelope(_card(text)))


def _filled(node: Any, values: dict[str, str], how: Escape) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Return a card with its variables replaced: escaped where a text is Markdown, as they are where it is not."""
    match node:
        case str():
            return substitute(node, values, percent_encode if is_url(node) else how)
        case list():
            return [_filled(item, values, how) for item in node]
        case dict():
            kind = str(node.get("type", ""))
            if kind:
                how = plain if kind in _PLAIN or kind.startswith("Action.") else escape
            return {substitute(key, values, how): _filled(item, values, how) for key, item in node.items()}
    return node


def _card(text: str) -> dict[str, Any]:
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "TextBlock", "text": _paragraphs(text), "wrap": True}],
        "msteams": {"width": "Full"},
    }


def _paragraphs(text: str) -> str:
    """Double single line breaks: a TextBlock ignores them."""
    return re.sub(r"(?<!\n)\n(?!\n)", "\n\n", text.replace("\r\n", "\n"))


def _envelope(card: dict[str, Any]) -> dict[str, Any]:
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def classify(response: chat.Response) -> Outcome | None:
    """Judge what is the connectors' own: a 200 whose body says that the delivery failed."""
    if not 200 <= response.status < 300 or not _FAILED.search(response.text):
        return None
    found = _HTTP_ERROR.search(response.text)
    code = int(found[1]) if found else 0
    words = f"Teams says HTTP error {code}" if code else "Teams says it failed"
    return chat.refused(response.status, words, later=code == 429 or code >= 500)
