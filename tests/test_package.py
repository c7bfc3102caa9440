"""What `import maquette` does by itself."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("own", "told"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
    ids=["nothing set", "looks set", "policy set"],
)
def test_threads_that_wait_give_their_core_away_soon_unless_the_user_says_how_they_wait(own, told):
    known = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import maquette, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    shown = subprocess.run(
        [sys.executable, "-c", code], env=known | own, capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == told
