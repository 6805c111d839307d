"""What `vdevice check` doubts in a config that is right: names that look like variables, text that looks like JSON."""

import re
from collections.abc import Iterator

from vdevice.config import Config, Target
from vdevice.config.converter import walk
from vdevice.config.media import grammar_of
from vdevice.config.schema import CHAT
from vdevice.errors import Problem
from vdevice.variables import has_variables, nearest, unknown
from vdevice.webhooks.chat import as_object
from vdevice.webhooks.raw_body import JSON5_PIECE
from vdevice.webhooks.words import as_json

UNKNOWN = "{written} is no variable and is sent as it stands; {instead}"
_IN_SCRIPT = re.compile(r"<(script|style)\b[^>]*>.*?</\1", re.IGNORECASE | re.DOTALL)
_UNQUOTED = re.compile(r"<[A-Za-z][^<>]*=\s*\$[^<>]*>")


def find(config: Config) -> list[Problem]:
    """Return all doubts, each with its path."""
    return [doubt for target in config.targets.values() for doubt in of_target(target)] + of_rules(config)


def of_rules(config: Config) -> list[Problem]:
    """Return the doubts about the rules, each with its path."""
    doubts = []
    for path, rule in walk({f"rules[{index}]": rule for index, rule in enumerate(config.rules)}):
        for key, template in (("template", rule.template or ""), ("description", rule.description)):
            doubts += [Problem(f"{path}.{key}", words) for words in _unknown(template)]
    return doubts


def of_target(target: Target) -> list[Problem]:
    """Return the doubts about a target, each with its path."""
    doubts = [(key, words) for key, template in _templates(target) for words in _unknown(template)]
    payload = (target.payload or "").lstrip()
    if target.method in CHAT and payload.startswith("{") and as_object(payload) is None:
        doubts.append(("payload", "starts like JSON but is none, and is sent as text"))
    if target.url.reveal().startswith("http://") and (target.bearer_token or target.auth_password):
        doubts.append(("url", "sends its credentials without encryption; use https"))
    if target.method not in CHAT and has_variables(payload) and not target.raw_variables:
        doubts += [("payload", words) for words in _not_escaped(target.content_type or "text/plain", payload)]
    return [Problem(f"targets.{target.number}.{key}", words) for key, words in doubts]


def _unknown(template: str) -> Iterator[str]:
    for written in unknown(template):
        meant = nearest(written)
        instead = f"did you mean ${meant}? $$ is a dollar sign" if meant else "$$ is a dollar sign"
        yield UNKNOWN.format(written=written, instead=instead)


def _not_escaped(content_type: str, payload: str) -> Iterator[str]:
    """Yield where in a raw body a value is not kept in its place by an escape."""
    kind = content_type.partition(";")[0].strip().lower()
    match grammar_of(content_type):
        case "other":
            yield (
                f"values are not escaped in {kind}, so a text may change what this says; "
                "send JSON, XML or a form, or set raw_variables = true where that is meant"
            )
        case "text" if payload[:1] in {"{", "["} and as_json(payload) is not None:
            yield f"is JSON, but in {kind} values are not escaped; set content_type to application/json"
        case "text" if re.match(r"<[?!A-Za-z]", payload):
            yield f"looks like XML or HTML, but in {kind} values are not escaped; set content_type to what it is"
        case "html" if any(has_variables(found[0]) for found in _IN_SCRIPT.finditer(payload)):
            yield "has a variable inside <script> or <style>, where no escape helps; put it into an attribute or element"
        case "html" if any(has_variables(found[0]) for found in _UNQUOTED.finditer(payload)):
            yield "has a variable as an attribute without quotes, which a blank in a text ends; put it into quotes"
        case "json5" if has_variables(JSON5_PIECE.sub("", payload)):
            yield "has a variable outside of a string, where it is not replaced; put it into quotes"


def _templates(target: Target) -> Iterator[tuple[str, str]]:
    yield "url", target.url.reveal()
    yield "description", target.description
    yield "payload", target.payload or ""
    yield "destination", target.destination or ""
    for name, secret in target.headers.items():
        if not secret.literal:
            yield f"headers.{name}", secret.reveal()
    for index, (key, value) in enumerate(target.parameters):
        yield f"parameters[{index}]", f"{key} {value}"
