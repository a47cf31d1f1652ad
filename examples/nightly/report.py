"""The day's report: the sum of all parts that there are, and how many are missing."""

import json
import os
import sys
from pathlib import Path

day = sys.argv[1]
parts = [json.loads(path.read_text(encoding="utf-8")) for path in Path("part").glob("*/part.json")]
if any(part["day"] != day for part in parts):
    raise SystemExit(f"parts of another day than {day}")
missing = len(Path("part/missing.txt").read_text(encoding="utf-8").split())
made_for = os.environ.get("MILLPOND_SCHEDULE_TIME", "by hand")
text = f"{day}: {sum(part['total'] for part in parts)} of {len(parts)} parts, {missing} missing ({made_for})\n"
Path("report.txt").write_text(text, encoding="utf-8")
print(text, end="")
