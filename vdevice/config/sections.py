"""What is wrong across the sections of a config: where its listeners, its outbox, its clients and its targets do not fit.

Pure but for a look at the files that it names; `tests/config/test_load.py` has a line for each.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from vdevice.config.certificates import certificates, is_file, mark_in, not_there, server_context
from vdevice.config.guard import gather, short
from vdevice.config.schema import Config, Delivery, Outbox, Permits, Target, Tls
from vdevice.errors import Problem


def check_config(config: Config) -> list[Problem]:
    """Return what is wrong across the sections."""
    problems: list[Problem] = []
    gather("outbox", problems, lambda: _outbox(config.outbox))
    if config.delivery.backoff_max < config.delivery.backoff:
        problems.append(Problem("delivery.backoff_max", "is below backoff; make it at least as long"))
    for target in config.targets.values():
        gather(f"targets.{target.number}", problems, lambda target=target: _egress(target, config.delivery))  # type: ignore[misc]
    for name, client in config.modbus.clients.items():
        gather(f"modbus.clients.{short(name)}", problems, lambda client=client: _permits(client, config))  # type: ignore[misc]
    tls = config.modbus.tls
    if tls is not None:
        gather("modbus.tls", problems, lambda: _listener(tls, config))
    return problems


def _listener(tls: Tls, config: Config) -> Iterator[tuple[str, str]]:
    if tls.listen.port and tls.listen == config.modbus.listen:
        yield "listen", "is modbus.listen, too; take 802 for TLS"
    missing = [key for key in ("cert", "key", "client_ca") if not is_file(getattr(tls, key))]
    for key in missing:
        yield key, f"{not_there(getattr(tls, key))}; `vdevice certs init` makes certificates to try with"
    try:
        if not missing:
            server_context(tls)
    except ValueError as error:
        key, _, words = str(error).partition(": ")
        yield key, words
    for name, permits in tls.roles.items():
        for key, words in _permits(permits, config):
            yield f"roles.{name}.{key}", words


def _permits(permits: Permits, config: Config) -> Iterator[tuple[str, str]]:
    for key in ("targets", "points"):
        if permits.read_only and getattr(permits, key) is not None:
            yield key, "cannot go with read_only, which writes nothing; remove one of them"
    known = {point.name for point in config.points}
    for name in permits.points or ():
        if name not in known:
            yield "points", f"names {name!r}, which is no point; {_known_points(known)}"


def _known_points(known: set[str]) -> str:
    return f"known are {', '.join(sorted(known))}" if known else "there are none"


def _egress(target: Target, delivery: Delivery) -> Iterator[tuple[str, str]]:
    """Yield why a target's host is none that requests may go to; what a name resolves to is looked at when it is sent."""
    try:
        host = (urlsplit(target.url.reveal()).hostname or "").lower().rstrip(".")
    except ValueError:
        # No URL at all; `check_target` says so.
        return
    if not is_allowed(host, delivery.allow_hosts):
        yield "url", f"leads to {host}, which is not in delivery.allow_hosts; add it there"
    if any(host in network for network in delivery.deny_networks):
        yield "url", f"leads to {host}, which delivery.deny_networks denies; take its network out there if it must be"


def is_allowed(host: str, patterns: Sequence[str]) -> bool:
    """Tell whether a host in lower case is one of `delivery.allow_hosts`, or a subdomain of a `*.example.com` there."""
    return not patterns or any(
        host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
        for pattern in map(str.lower, patterns)
    )


def _outbox(outbox: Outbox) -> Iterator[tuple[str, str]]:
    url = outbox.url
    if outbox.is_nats:
        yield from _servers(outbox.servers)
        yield from certificates(outbox)
        if outbox.credentials is not None:
            yield from _credentials(outbox.credentials)
        return
    if "\0" in url:
        yield "url", "holds a NUL character, which no file name can"
    if not url.startswith("sqlite:///") or not url.removeprefix("sqlite:///"):
        yield "url", f"{url!r} is no outbox; write sqlite:///vdevice.db, or nats://host:4222"
    for key in ("credentials", "tls_ca", "tls_cert", "tls_key"):
        if getattr(outbox, key):
            yield key, "is used by a nats:// outbox only; remove it"
    if outbox.replicas != 1:
        yield "replicas", "is used by a nats:// outbox only; remove it"


def _credentials(file: Path) -> Iterator[tuple[str, str]]:
    try:
        text = file.read_text("ascii")
    except OSError:
        yield "credentials", not_there(file)
        return
    except ValueError:
        mark = mark_in(file)
        yield "credentials", f"names {file.name!r}, which {mark or 'is no credentials file of NATS'}"
        return
    # The client would read for ever in a file without them.
    if not re.search(r"-BEGIN NATS USER JWT-+\s+\S+\s+-+END [^$]*-BEGIN USER NKEY SEED-+\s+SU[A-Z2-7]+\s+-+END ", text):
        yield (
            "credentials",
            f"names {file.name!r}, which is no credentials file of NATS; `nsc generate creds` makes one",
        )


def _servers(servers: list[str]) -> Iterator[tuple[str, str]]:
    for server in servers:
        if "@" in server:
            yield "url", "holds credentials; put them into a file of NATS, and name it as outbox.credentials"
            return
        try:
            parts = urlsplit(server)
            whole = parts.hostname and parts.port != 0 and not parts.path and not parts.query
        except ValueError:
            whole = False
        if not whole:
            yield "url", f"{server!r} is no NATS server; write nats://host:4222, several with a comma between them"
