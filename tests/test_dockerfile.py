"""The Dockerfile: its steps run here in a shell, and what it starts is started as the user that it names."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_prediction import model as tiny

from topfive.engine.inference.models import save

ROOT = Path(__file__).parents[1]
LINES = re.sub(r"#.*\n", "\n", (ROOT / "Dockerfile").read_text()).replace("\\\n", " ").splitlines()
STEPS = [(word, rest) for word, _, rest in (line.partition(" ") for line in LINES if line.strip())]
INTO = "/opt/topfive"


def only(word: str) -> str:
    (rest,) = [rest for name, rest in STEPS if name == word]
    return rest


def test_it_runs_for_a_user_without_rights_and_says_whether_it_is_well() -> None:
    assert only("USER").split(":")[0].isdecimal() and only("USER") != "0"
    assert "/ready" in only("HEALTHCHECK") and only("EXPOSE") == "8000"
    start = json.loads(only("ENTRYPOINT"))
    assert start[1:] == ["serve", "--host", "0.0.0.0"] and json.loads(only("CMD")) == ["/model"]
    copied = [part for word, rest in STEPS if word == "COPY" for part in shlex.split(rest)[:-1]]
    kept = (ROOT / ".dockerignore").read_text().split()
    assert all((ROOT / part).exists() and f"!{part}" in kept for part in copied)


@pytest.mark.slow
def test_its_steps_lead_to_a_server(tmp_path: Path) -> None:
    """As in a container, but for the place: /opt/topfive is below the test's folder, torch from where pip has it."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("becoming the user of the Dockerfile takes root and setpriv")
    tmp_path = Path("/var/tmp") / f"topfive-{tmp_path.parent.name}-{os.getpid()}"  # which another user can enter
    tmp_path.mkdir(mode=0o755)
    try:
        built(tmp_path)
    finally:
        shutil.rmtree(tmp_path)


def built(place: Path) -> None:
    into, app = str(place / "venv"), place / "app"
    app.mkdir()
    for word, rest in STEPS:
        if word == "COPY":
            *what, where = shlex.split(rest)
            for part in map(ROOT.joinpath, what):
                if part.is_dir():
                    shutil.copytree(part, app / where, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(part, app / where)
        elif word == "RUN":
            subprocess.run(["sh", "-ec", rest.replace(INTO, into)], cwd=app, check=True, env=plain())
    save(tiny(0), place / "model")
    start = [*json.loads(only("ENTRYPOINT")), str(place / "model"), "--port", "8123"]
    become = ["setpriv", f"--reuid={only('USER').split(':')[0]}", "--regid=10001", "--clear-groups", "--no-new-privs"]
    process = subprocess.Popen([*become, start[0].replace(INTO, into), *start[1:]], cwd="/", env=plain(), stderr=-1)
    check = json.loads(only("HEALTHCHECK").partition(" CMD ")[2].replace(INTO, into).replace("8000", "8123"))
    try:
        end = time.monotonic() + 120
        while subprocess.run(check, capture_output=True, env=plain()).returncode:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.5)
        assert (place / "venv" / "bin" / "topfive").stat().st_uid == 0
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0 and b"warning: 0.0.0.0 opens the server" in said


def plain() -> dict[str, str]:
    """An environment such as a container's: nothing of this checkout's, and no home."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "OMP_NUM_THREADS"}
    return {**kept, "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
