"""What `vdevice check` doubts in a config that is right: names that look like variables, text that looks like JSON."""

from collections.abc import Iterator

from vdevice.config import Config, Target
from vdevice.config.converter import walk
from vdevice.config.schema import CHAT
from vdevice.errors import Problem
from vdevice.variables import unknown
from vdevice.webhooks.chat import as_object

UNKNOWN = "${name} is no variable and is sent as it stands; $$ is a dollar sign"


def find(config: Config) -> list[Problem]:
    """Return all doubts, each with its path."""
    doubts = []
    for target in config.targets.values():
        path = f"targets.{target.number}"
        for key, template in _templates(target):
            doubts += [Problem(f"{path}.{key}", UNKNOWN.format(name=name)) for name in unknown(template)]
        payload = (target.payload or "").lstrip()
        if target.method in CHAT and payload.startswith("{") and as_object(payload) is None:
            doubts.append(Problem(f"{path}.payload", "starts like JSON but is none, and is sent as text"))
        if target.url.reveal().startswith("http://") and (target.bearer_token or target.auth_password):
            doubts.append(Problem(f"{path}.url", "sends its credentials without encryption; use https"))
    for path, rule in walk({f"rules[{index}]": rule for index, rule in enumerate(config.rules)}):
        for key, template in (("template", rule.template or ""), ("description", rule.description)):
            doubts += [Problem(f"{path}.{key}", UNKNOWN.format(name=name)) for name in unknown(template)]
    return doubts


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
