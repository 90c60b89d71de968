"""How a process that was forked for a job ends: as Python itself would end, but without unloading modules."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn


def run_to_end(action: Callable[[], None]) -> NoReturn:
    """Run an action, and end this process with 0, or with the code of the failure."""
    code: int | str | None = 1
    try:
        action()
        code = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:  # noqa: BLE001  (as Python itself would end)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))
