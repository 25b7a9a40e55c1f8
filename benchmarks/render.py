"""What have the benchmarks found?

    python benchmarks/render.py RESULT.json [RESULT.json ...]

Prints the records of each result file as a Markdown table, under the question,
the command and the environment.
"""

import argparse
import os
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _results import Result
from _results import read


def report(result: Result) -> str:
    """Returns the heading and the table of all records."""
    return f"{heading(result)}\n\n{table(result.records)}"


def heading(result: Result) -> str:
    """Returns question, command and environment, as Markdown."""
    parts = [
        f"## {result.question}",
        f"```sh\n{result.command}\n```",
        environment_line(result.environment),
    ]
    return "\n\n".join(parts)


def environment_line(environment: Mapping[str, Any]) -> str:
    """Returns the environment in one line; what is unknown is left out."""
    backend = environment["backend"]
    versions = dict.fromkeys((backend, "keras", "numpy", "python"))
    return "; ".join(
        [
            ", ".join(f"{name} {environment[name]}" for name in versions),
            f"{environment['CPU']}, {environment['usable cores']} of "
            f"{environment['cores']} cores",
            *(
                f"{key}: {environment[key]}"
                for key in ("GPU", "OS", "date", "git commit")
                if environment.get(key) is not None
            ),
        ]
    )


def table(records: Iterable[Mapping[str, Any]]) -> str:
    """Returns a Markdown table.

    Columns are all keys in the order in which they first appear. Columns of
    numbers are aligned to the right. A missing value is left empty.
    """
    records = list(records)
    columns = list(dict.fromkeys(key for record in records for key in record))
    if not columns:
        return "No records."
    rules = [
        "---:" if all(_is_number(r.get(column)) for r in records) else "---"
        for column in columns
    ]
    rows = [
        columns,
        rules,
        *([cell(r.get(column)) for column in columns] for r in records),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(value: Any) -> str:
    """Writes a value; a float with three digits, or all before its point."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float() if 1000 <= abs(value) < 1e9:
            return f"{value:.0f}"
        case float():
            return f"{value:.3g}"
    return str(value).replace("\\", "\\\\").replace("|", "\\|")


def _is_number(value: Any) -> bool:
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the result files that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT.json")
    options = parser.parse_args(arguments)
    try:
        reports = [report(read(path)) for path in options.results]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print("\n\n".join(reports))


if __name__ == "__main__":
    main()
