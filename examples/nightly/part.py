"""One part of a day's work: adds up numbers that depend on the day and on the part, and on nothing else."""

import json
import os
import random
import sys
from pathlib import Path

day, index = sys.argv[1], int(os.environ["MILLPOND_TASK_INDEX"])
numbers = random.Random(f"{day}/{index}")  # noqa: S311  repeatable on purpose
total = sum(numbers.randint(0, 100) for _ in range(100_000))
Path("part.json").write_text(json.dumps({"day": day, "part": index, "total": total}), encoding="utf-8")
