"""`vdevice certs init`: certificates to try Modbus/TCP Security with, or to run a small plant on."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from vdevice.cli.options import console
from vdevice.errors import VdeviceError

app = App(name="certs", help="Certificates for Modbus/TCP Security.")


@app.command
def init(
    folder: Annotated[Path, Parameter(help="Where they are written.")] = Path("certs"),
    *,
    host: Annotated[list[str] | None, Parameter(help="Names and addresses that clients reach the device by.")] = None,
    role: Annotated[list[str] | None, Parameter(help="A client certificate for each of these roles.")] = None,
) -> None:
    """Make a certificate authority, a certificate for the device, and one for a client of each role."""
    from vdevice.cli import authority  # noqa: PLC0415 (costs memory, and no other command needs it)

    hosts, roles = host or ["localhost", "127.0.0.1"], role or ["operator"]
    for name in roles:
        if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
            raise VdeviceError(f"the role {name!r} cannot be a file's name; take letters, digits, - and _, up to 64")
    try:
        authority.write_all(folder, hosts, roles)
    except FileExistsError as error:
        raise VdeviceError(f"{error.filename} is there already; name another folder, or remove it") from None
    except OSError as error:
        raise VdeviceError(f"{folder} cannot be written ({error.strerror}); check its permissions") from None
    console.print(_next(folder, roles))


def _next(folder: Path, roles: list[str]) -> str:
    lines = [
        f"{folder} has ca, server and {', '.join(f'client-{role}' for role in roles)}, each as .pem and .key.",
        "In vdevice.toml, paths from its folder on:",
        "",
        "[modbus.tls]",
        'listen = "0.0.0.0:802"',
        f'cert = "{folder}/server.pem"',
        f'key = "{folder}/server.key"',
        f'client_ca = "{folder}/ca.pem"',
        "",
        *(f"[modbus.tls.roles.{role}]" for role in roles),
        "",
        "A client gets its .pem and .key, and ca.pem. Keep ca.key elsewhere: it makes further clients.",
        "They hold for ten years.",
    ]
    return "\n".join(lines)
