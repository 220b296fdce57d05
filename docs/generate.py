"""`make docs`: the pages of docs/ that are made from the code, so that they cannot say anything else than it does."""

import json
from pathlib import Path

from pydantic import SecretStr

from churn import settings
from churn.events import EventSchema
from churn.features import FEATURES

DOCS = Path(__file__).parent
NOTE = "<!-- made by `make docs`; change the code instead -->"


def event_schema() -> str:
    """The JSON Schema of an event on topic `events`."""
    return json.dumps(EventSchema.model_json_schema(), indent=2) + "\n"


def feature_table() -> str:
    """Every feature with its meaning and unit."""
    rows = [
        f"| `{each.name}` | {each.meaning} | {each.unit} | {each.window_days or ''} | {'x' if each.in_model else ''} |"
        for each in FEATURES
    ]
    head = ["| feature | meaning | unit | window, days | in the model |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([NOTE, "# Features", "", *head, *rows, ""])


def settings_table() -> str:
    """Every environment variable with its default and meaning."""
    rows = [
        f"| `{name.upper()}` | {_shown(field.default)} | {field.description} |"
        for each in settings.ALL
        for name, field in each.model_fields.items()
    ]
    head = ["| variable | default | meaning |", "| --- | --- | --- |"]
    return "\n".join([NOTE, "# Settings", "", *head, *rows, ""])


def _shown(default: object) -> str:
    if default is None:
        return ""
    return f"`{default.get_secret_value() if isinstance(default, SecretStr) else default}`"


PAGES = {"event.schema.json": event_schema, "feature-table.md": feature_table, "settings.md": settings_table}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()
