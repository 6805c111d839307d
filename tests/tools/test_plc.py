"""The simulated factory against a real device: every kind of PLC gets its strings through."""

import asyncio
import json
import re
import sys
from pathlib import Path

from tests.support import Recorder, device

CYCLES = 6
PLC = Path(__file__).parents[2] / "tools" / "plc"


async def play(scenario: Path, port: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PLC / "plc.py"), str(scenario), "--json", "--port", port,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 400)
    return process.returncode or 0, out.decode(), err.decode()


async def test_every_plc_of_the_factory_gets_through(recorder: Recorder, tmp_path: Path) -> None:
    scenario = tmp_path / "factory.toml"
    # Each PLC ends after so many cycles; how long they take is not what is looked at.
    factory = (PLC / "factory.toml").read_text().replace("seconds = 30", "seconds = 300")
    scenario.write_text(re.sub(r"(?m)^every = .*$", f"every = 0.2\ncount = {CYCLES}", factory))
    toml = (PLC / "device.toml").read_text().replace("http://127.0.0.1:9000", recorder.url)
    async with device(toml, tmp_path) as app:
        code, out, err = await play(scenario, app.address.rpartition(":")[2])
    assert code == 0, err
    seen = json.loads(out)
    assert len(seen) == 8
    for name, plc in seen.items():
        assert plc["written"] == (2000 if name == "burst" else CYCLES), name
        assert plc["refused"] == 0, (name, plc)
        assert plc["status"]["queued"] == 0, (name, plc)
        assert plc["status"]["delivered"] == plc["status"]["accepted"], (name, plc)
    assert seen["scanner"]["status"]["delivered"] == 1
    assert seen["burst"]["status"]["delivered"] >= 2000
    assert seen["gateway"]["connections"] >= CYCLES
    assert seen["old logger"]["requests"] > 10
    bodies = b"\n".join(recorder.bodies()).decode()
    for words in (
        "heating stopped, doors locked",
        "pump station: level report 1, flow within limits",
        "line 1 by FC06",
        "burner fault at 20",
        "zone 3 above 840 °C",
    ):
        assert words in bodies


async def test_a_wrong_scenario_is_one_sentence(tmp_path: Path) -> None:
    scenario = tmp_path / "wrong.toml"
    scenario.write_text('[[plcs]]\nname = "x"\nbehaviour = "dance"\n')
    code, _out, err = await play(scenario, "1")
    assert code == 2
    assert "plcs" in err
    assert len(err.strip().splitlines()) == 1
