"""`vdevice passwd`: who may use the page."""

import getpass
import sys
from typing import Annotated

from cyclopts import Parameter

from vdevice.cli.options import DEFAULT_CONFIG, ConfigPath, console
from vdevice.errors import VdeviceError
from vdevice.web.auth import FILE, Access, Role


def passwd(
    user: Annotated[str, Parameter(help="Whose password.")] = "admin",
    *,
    role: Annotated[Role, Parameter(help="A viewer sees everything and changes nothing.")] = "admin",
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Set the password of the page, asked for twice, or read as one line from a pipe; a running device takes it at once."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            raise VdeviceError("the two are not the same; try again")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    Access(config.resolve().parent).set_password(user, password, role)
    console.print(f"{user} may sign in as {role}; it is in {FILE} beside the config")
