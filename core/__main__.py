"""``python -m core``.

Most of a start is Python reading libraries. For a dashboard the embedded database starts meanwhile; and nothing of what is read
is garbage, so the collector need not look at it, now or later.
"""

import gc
import sys
from contextlib import suppress

from core.embedded import attach_ahead
from core.errors import SettingsError
from core.settings import settings

if sys.argv[1:2] == ["serve"] and "--help" not in sys.argv:
    with suppress(SettingsError):  # `serve` says it in its sentence
        if settings().embedded:
            attach_ahead(settings().home)

gc.disable()
from core.cli import main  # noqa: E402

gc.freeze()
gc.enable()

main()
