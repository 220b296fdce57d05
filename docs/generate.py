"""`make docs`: the pages of docs/ that are made from the code, so that they cannot say anything else than it does."""

import json
from pathlib import Path

from pydantic import SecretStr

from churn import settings
from churn.events import EventSchema
from churn.features import FEATURES
from churn.risk_card import FEATURES_SHOWN, FIELDS

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


CUSTOMER_SUCCESS = """\
# Risk of one customer, live

Redis holds the risk card of every customer: one hash `customer:<customer_id>`, made anew after every event, at least
once a day, and when another model goes live.

With docker compose, customer success is user `success`, who may read cards and ranking and nothing else; its password
is `REDIS_SUCCESS_PASSWORD` in `.env` (written by `make env`). The stack of `make up` asks nobody for a password: leave
out `--user`. [Access](access.md) tells of encrypted connections and of the other users.

```
export REDISCLI_AUTH=...                               # the password; redis-cli reads it from here
export REDIS_URL=redis://success:...@127.0.0.1:6379/0  # the same for the commands and for Python
```

## With redis-cli

Put `-h HOST -p PORT --user success` behind `redis-cli`, as far as it is not Redis on this machine without a password.

```
redis-cli HGETALL customer:42                          # everything; `state` is of the machines, not for reading
redis-cli HMGET customer:42 risk risk_band drivers action fresh_until
redis-cli ZREVRANGE risk:ranking 0 19 WITHSCORES       # the 20 customers with the highest risk
redis-cli ZSCORE risk:ranking 42                       # one risk; nothing for a customer without one
```

Redis cannot know how old a card has become: after `fresh_until` do not rely on it. What is not known is empty.

## With the command

```
python -m scorer card 42                               # for people, every value aged to this moment
python -m scorer card 42 --json                        # for programs
python -m scorer top 20 --segment "Can't Lose"         # the highest risks, of one segment where it is named
python -m scorer watch                                 # the same, live, until Ctrl-C
```

`REDIS_URL` says where Redis is, and as whom you come. A command that Redis does not let in ends with 77 and says why.

## With Python

Three calls. Each takes one round trip, and raises `StoreUnavailable` when Redis does not answer.

```python
import os
from datetime import UTC, datetime

from churn.feature_store import RedisFeatureStore

store = RedisFeatureStore(os.environ["REDIS_URL"])
now = datetime.now(UTC)

customer = store.read_customer("42")  # None for somebody of whom nothing is known
if customer is not None:
    customer.status(now)  # fresh, stale or insufficient_data at this moment
    customer.fields["risk"], customer.fields["action"]  # the fields below, as text
    customer.features(now)  # every feature, aged to this moment

several = store.read_customers(["42", "43"])  # by id, those who are known

for customer_id, risk in store.top(20):  # the highest risks first
    print(customer_id, risk)
```

## The fields

Times are ISO 8601 in UTC, money is in the shop's currency, risks are from 0 to 1.

| field | meaning |
| --- | --- |
"""


def customer_success() -> str:
    """How to read a card, and every field of it."""
    meanings = {feature.name: f"{feature.meaning} As of `as_of`." for feature in FEATURES}
    of_the_fold = "Of the stream processor; not for reading."
    fields = FIELDS | {name: meanings[name] for name in FEATURES_SHOWN}
    fields |= dict.fromkeys(("state", "applied", "rebuilt"), of_the_fold)
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in fields.items())
    return f"{NOTE}\n{CUSTOMER_SUCCESS}{rows}"


PAGES = {
    "event.schema.json": event_schema,
    "feature-table.md": feature_table,
    "settings.md": settings_table,
    "customer-success.md": customer_success,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()
