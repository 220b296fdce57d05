"""`make docs`: the pages of docs/ that are made from the code, so that they cannot say anything else than it does."""

import json
from pathlib import Path

from pydantic import SecretStr

from analytics.views import CARTS, VIEWS
from churn import analysis_tables, settings
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
redis-cli HGETALL customer:customer-000042             # everything; `state` is of the machines, not for reading
redis-cli HMGET customer:customer-000042 risk risk_band drivers action fresh_until
redis-cli ZREVRANGE risk:ranking 0 19 WITHSCORES       # the 20 customers with the highest risk
redis-cli ZSCORE risk:ranking customer-000042          # one risk; nothing for a customer without one
```

Redis cannot know how old a card has become: after `fresh_until` do not rely on it. What is not known is empty.

## With the command

```
python -m scorer card customer-000042                  # for people, every value aged to this moment
python -m scorer card customer-000042 --json           # for programs
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

customer = store.read_customer("customer-000042")  # None for somebody of whom nothing is known
if customer is not None:
    customer.status(now)  # fresh, stale or insufficient_data at this moment
    customer.fields["risk"], customer.fields["action"]  # the fields below, as text
    customer.features(now)  # every feature, aged to this moment

several = store.read_customers(["customer-000042", "customer-000043"])  # by id, those who are known

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


SQL = """\
# The history in SQL

`python -m analytics --history DIR --sql QUERY` answers a question about a history. The same tables are there in Python
(`analytics.views.connect`) and in the notebooks. The engine is DuckDB, in memory on the Parquet files.

Times are UTC, without a zone. Money in columns `*_minor` is in cents, exact; divide by 100. A history is seen as known
at `--as-of` (its end by default): what happened or arrived later is not there, and a repeated `event_id` counts once.
Sessions, carts and orders follow the rules of the live features, and tests hold the two against each other.

| table | what it holds |
| --- | --- |
"""

SQL_EXAMPLES = """
## Examples

Net revenue, orders and average order value by month:

```sql
SELECT date_trunc('month', ordered_at) AS month, count(*) AS orders, sum(net_minor) / 100 AS revenue,
    sum(net_minor) / count(*) / 100 AS average_order_value
FROM orders WHERE is_net GROUP BY month ORDER BY month
```

Customers who have left a cart behind and not bought it, with what lies in it:

```sql
SELECT customer_id, last_act_at, value_minor / 100 AS value, category
FROM carts WHERE is_abandoned AND became = 'open' ORDER BY value DESC LIMIT 20
```

How many who look at a product put it into the cart and buy it, by category:

```sql
SELECT category, count(first_view_at) AS viewed, count(cart_at) / count(first_view_at) AS to_cart,
    count(purchase_at) / nullif(count(cart_at), 0) AS to_purchase
FROM journeys WHERE first_view_at IS NOT NULL GROUP BY category ORDER BY viewed DESC
```

Visits, their length and how many end with a purchase, by device:

```sql
SELECT device, count(*) AS visits, median(duration_s) AS seconds, avg((purchases > 0)::INT) AS conversion
FROM sessions WHERE is_visit GROUP BY device ORDER BY visits DESC
```

The best customers who have been silent for 60 days (before the last event of the history):

```sql
SELECT customer_id, country, orders, net_minor / 100 AS revenue, last_order_at
FROM customers WHERE last_order_at < (SELECT max(occurred_at) FROM events) - INTERVAL 60 DAY
ORDER BY net_minor DESC LIMIT 20
```

Orders as they stood at a moment of the past, refunds that came later left out:

```sql
SELECT count(*) AS orders, sum(net_minor) / 100 AS revenue FROM orders_at(TIMESTAMP '2025-07-01') WHERE is_net
```
"""


def sql_page() -> str:
    """The tables of the SQL layer with examples, which a test runs."""
    rows = "\n".join(f"| `{view.name}` | {view.what} |" for view in (*VIEWS, CARTS))
    return f"{NOTE}\n{SQL}{rows}\n{SQL_EXAMPLES}"


ANALYSES = """\
# Tables of the analyses

`python -m analytics` writes them as `tables/<name>.parquet`, with `--index` also into the index `analytics-<name>`;
`python -m training` writes those of models. Every row has an `@timestamp`; a run replaces the rows of the one before.
"""


def analyses_page() -> str:
    """Every table of the analyses with its columns."""
    parts = [NOTE, ANALYSES]
    for table in analysis_tables.ALL:
        key = ", ".join(f"`{name}`" for name in table.key)
        parts += [f"## {table.name}", "", f"{table.what} One row per {key}.", "", "| column | kind | meaning |"]
        parts += ["| --- | --- | --- |", f"| `@timestamp` | time | {table.at} |"]
        parts += [f"| `{column.name}` | {column.kind} | {column.meaning} |" for column in table.columns]
        parts.append("")
    return "\n".join(parts)


PAGES = {
    "event.schema.json": event_schema,
    "feature-table.md": feature_table,
    "settings.md": settings_table,
    "customer-success.md": customer_success,
    "sql.md": sql_page,
    "analyses.md": analyses_page,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()
