"""The `vdevice` command and its subcommands.

Rules of this room: a command reads its arguments, calls one thing below, and prints; exit 0 done, 1 the thing asked
for failed, 2 usage or config error. A user's mistake is one sentence, never a traceback.
"""

import io
import os
import sys

from cyclopts import App

from vdevice import __version__, logs, streams
from vdevice.clean import clean
from vdevice.cli import access, backup, certs, decode, device, doctor, letters, rules, settings, targets
from vdevice.errors import ConfigError, VdeviceError
from vdevice.terminal import Screen

NO_MEMORY = "there is not enough memory; see the limits of this process and of its container"

app = App(
    name="vdevice",
    help="A virtual Modbus/TCP device: a string written to registers becomes a webhook.",
    version=__version__,
    default_parameter=None,
)
app.command(settings.init)
app.command(settings.check)
app.command(doctor.doctor)
app.command(settings.render)
app.command(settings.map_, name="map")
app.command(device.run)
app.command(device.demo)
app.command(device.send)
app.command(device.status)
app.command(device.receive)
app.command(decode.decode)
app.command(letters.app)
app.command(rules.app)
app.command(targets.app)
app.command(certs.app)
app.command(access.passwd)
app.command(settings.schema)
app.command(backup.backup)
app.command(backup.restore)


def main() -> None:
    """Run the command line and exit with its code."""
    streams.open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal of another charset, or a file name that is no text, must not end a command in a traceback.
            stream.reconfigure(errors="backslashreplace")
    # What a command's libraries and checks log belongs to standard error; `run` sets it up anew.
    logs.configure(quiet=True)
    console = Screen(stderr=True, soft_wrap=True)
    try:
        result = app(sys.argv[1:], result_action="return_value")
        sys.exit(result if isinstance(result, int) else 0)
    except ConfigError as error:
        for problem in error.problems:
            console.print(f"vdevice: {problem}")
        sys.exit(2)
    except (VdeviceError, MemoryError) as error:
        # Python's own MemoryError has no words.
        console.print(f"vdevice: {str(error) or NO_MEMORY}")
        sys.exit(1)
    except UnicodeError:
        # Bytes of an argument that are no text name a file well, and nothing else: whoever takes one as text raises this.
        wrong = [one for one in sys.argv[1:] if one != clean(one)]
        if not wrong:
            raise
        console.print(f"vdevice: the argument {wrong[0]!r} is not UTF-8 text; write it in UTF-8")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe left; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
