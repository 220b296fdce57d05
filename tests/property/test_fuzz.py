"""Over 10,000 damaged inputs through everything that reads from outside: refused by a documented error, or accepted and
then as good as any other. Nothing else may come of them. Always the same inputs: no run finds what another one missed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, suppress
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from churn import dead_letters, risk_card
from churn import model as models
from churn import settings as churn_settings
from churn.dead_letters import DeadLetter
from churn.events import Event, EventSchema, InvalidEvent, decode, encode
from churn.feature_store import _as_customer
from churn.features import MODEL_FEATURES, feature_row, replay
from churn.model import About, ModelError, Population, RiskModel
from churn.risk_card import BandChange, Driver, RiskCard, Status
from churn.segments import CutPoints
from churn.state import STATE_VERSION, InvalidState, opened, pack, thaw, unpack
from producer.adapters import FORMATS, Adapter, Table
from producer.rows import Row
from training.dataset import Samples
from training.fit import fit
from training.recipes import Kind, Recipe

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
# As late as there is time, less the five minutes that a clock may be ahead.
FAR_FUTURE = datetime(9999, 12, 31, 23, 54, 59, 999_999, tzinfo=UTC)
TOGETHER = 10
# Examples of each test; every example is `TOGETHER` inputs.
EXAMPLES = {"events": 600, "rows": 120, "settings": 40, "models": 25, "cards": 120, "states": 120, "letters": 60}

GOOD: dict[str, Any] = {
    "event_id": "e1",
    "event_type": "purchase",
    "occurred_at": "2026-03-01T10:00:00Z",
    "customer_id": "c1",
    "product_id": "p1",
    "price": 12.5,
    "quantity": 2,
    "order_id": "o1",
    "currency": "EUR",
    "rating": 4,
    "signup_date": "2025-01-31",
}
ODD: list[Any] = [None, True, 0, -1, 1, 6, 2.5, -0.5, 1e308, 10**19, 10**30, "", " ", "x", "view", "refund", "nan"]
ODD += ["inf", "-0", "1e999", "Ä" * 129, "x" * 300, "\x00", "\u2028", "🙂", "2026-13-01", "0001-01-01", "19970101"]
ODD += ["9999-12-31T23:59:59Z", "2026-03-01 10:00:00 UTC", "12/1/2010 8:26", "1433221332117", "-9" * 20, "1,5", "EURO"]
ODD += [[], {}, [[]]]
CELL = [*ODD, *GOOD.values(), "cart", "transaction", "1", "12.50", "C536365", float("nan"), float("inf")]


def fuzzed(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same examples every time, as many as the table says, each of them as slow as it must be."""
    return settings(
        max_examples=EXAMPLES[name],
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


def some(inputs: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(inputs, min_size=TOGETHER, max_size=TOGETHER)


def test_more_than_ten_thousand_inputs_are_tried() -> None:
    tables = len(TABLES)
    assert TOGETHER * (sum(EXAMPLES.values()) + EXAMPLES["rows"] * (tables - 1)) > 10_000


# --- bytes, and what may happen to them -------------------------------------------------------------------------------

_DAMAGES = st.tuples(
    st.sampled_from(["cut", "flip", "insert", "double", "none"]), st.integers(0, 10_000), st.binary(max_size=8)
)


def damaged(payload: bytes, damage: tuple[str, int, bytes]) -> bytes:
    kind, place, more = damage
    place %= len(payload) + 1
    if kind == "cut":
        return payload[:place]
    if kind == "flip":
        return (
            payload[:place]
            + bytes([(each ^ 0x55) & 0xFF for each in payload[place : place + 1]])
            + payload[place + 1 :]
        )
    if kind == "insert":
        return payload[:place] + more + payload[place:]
    return payload[:place] + payload if kind == "double" else payload


def changed(fields: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    """JSON of these fields, some of them odd, then damaged."""
    changes = st.dictionaries(st.sampled_from([*fields, "more"]), st.sampled_from(ODD), max_size=3)
    whole = changes.map(lambda found: json.dumps({**fields, **found}).encode())
    return st.one_of(st.builds(damaged, whole, _DAMAGES), whole, st.binary(max_size=60))


# --- events -----------------------------------------------------------------------------------------------------------


def require_good(event: Event) -> None:
    """What was accepted survives its own bytes, and satisfies the schema."""
    assert decode(encode(event), now=FAR_FUTURE, currency="EUR") == event
    EventSchema.model_validate(msgspec.structs.asdict(event))  # type: ignore[arg-type] # at run time a struct


@fuzzed("events")
@given(some(changed(GOOD)))
def test_a_payload_is_an_event_or_refused_with_a_reason(payloads: list[bytes]) -> None:
    for payload in payloads:
        try:
            event = decode(payload, now=NOW, currency="EUR")
        except InvalidEvent as error:
            assert error.reason
            continue
        require_good(event)
        assert replay([event]) == unpack(pack(replay([event])))


# --- rows of files ----------------------------------------------------------------------------------------------------

TABLES = [(name, table) for name, tables in FORMATS.items() for table in tables]
CELLS = st.one_of(
    st.sampled_from(
        [*ODD, *GOOD.values(), "cart", "transaction", "1", "12.50", "C536365", float("nan"), float("inf"), NOW]
    ),
    st.text(max_size=12),
    st.integers(),
    st.floats(),
)


class Named:
    """A file as far as an adapter asks: its columns."""

    def __init__(self, columns: tuple[str, ...], *, is_json: bool = False) -> None:
        self.name, self.columns, self.is_json = "fuzz", columns, is_json


@pytest.mark.parametrize(("format_name", "table"), TABLES, ids=[f"{name}-{table.time}" for name, table in TABLES])
def test_a_row_of_a_file_is_events_or_refused_with_a_reason(format_name: str, table: Table) -> None:
    of_cells = Adapter(format_name, Named(table.names), "EUR")  # type: ignore[arg-type] # no more is asked for
    of_json = Adapter(format_name, Named(table.names, is_json=True), "EUR")  # type: ignore[arg-type]
    cells = st.fixed_dictionaries(dict.fromkeys(table.names, CELLS))

    @fuzzed("rows")
    @given(some(st.one_of(cells, changed(dict.fromkeys(table.names, "1")))))
    def read(rows: list[Any]) -> None:
        for each in rows:
            is_text = isinstance(each, bytes)
            row = Row("fuzz", 2, {}, each) if is_text else Row("fuzz", 2, each)
            adapter = of_json if is_text else of_cells
            adapter.read_time(row)
            try:
                arrivals = adapter.read(row)
            except InvalidEvent as error:
                assert error.reason
                assert row.raw() is not None
                continue
            for event, _ in arrivals:
                require_good(event)

    read()


# --- settings ---------------------------------------------------------------------------------------------------------

VARIABLES = [name.upper() for each in churn_settings.ALL for name in each.model_fields]
VALUES = st.one_of(
    st.sampled_from([str(each).replace("\x00", "") for each in ODD]),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20),
    st.integers().map(str),
    st.floats().map(str),
)


@fuzzed("settings")
@given(some(st.dictionaries(st.sampled_from(VARIABLES), VALUES, max_size=5)))
def test_an_environment_is_read_or_its_wrong_variable_is_named(environments: list[dict[str, str]]) -> None:
    for variables in environments:
        for kind in churn_settings.ALL:
            said = StringIO()
            try:
                with patch.dict(os.environ, variables, clear=True), redirect_stderr(said):
                    read = churn_settings.read(kind)
            except SystemExit as stop:
                assert stop.code == 78
                assert any(name in said.getvalue() for name in variables)
                continue
            assert kind.model_validate(read.model_dump()) == read


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A directory with one model of trees, and its version."""
    chance = np.random.default_rng(1)
    matrix = chance.lognormal(2, 1.5, (200, len(MODEL_FEATURES)))
    labels = (matrix[:, 0] > np.e**2).astype(np.int8)
    samples = Samples(np.array([f"c{each}" for each in range(200)]), np.zeros(200, dtype=np.int64), matrix, labels)
    fitted = fit(samples, samples, Recipe(Kind.TREES, 3))
    about = About(
        feature_names=MODEL_FEATURES,
        fold_version=STATE_VERSION,
        horizon_days=90,
        slope=fitted.slope,
        intercept=fitted.intercept,
        cut_offs={"train": [NOW], "calibrate": [], "test": []},
        data_sha256="0" * 64,
        libraries={},
        metrics={},
        rfm=CutPoints("v", (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0)),
        population=Population(1000, 300.0),
    )
    directory = tmp_path_factory.mktemp("models")
    place = models.save(RiskModel(fitted.pipeline, about, fitted.learned.trees), directory)
    return directory, place.name


@fuzzed("models")
@given(some(st.tuples(st.integers(0, 2), _DAMAGES, st.booleans())))
def test_a_damaged_model_is_refused_or_the_model_that_was_saved(
    kept: tuple[Path, str], damages: list[tuple[int, tuple[str, int, bytes], bool]]
) -> None:
    directory, version = kept
    place, aside = directory / version, directory / ".aside"
    shutil.copytree(place, aside)
    try:
        files = sorted(aside.iterdir())
        for number, damage, is_signed in damages:
            name = files[number % len(files)].name
            (place / name).write_bytes(damaged((aside / name).read_bytes(), damage))
            if is_signed:
                _sign(place)
            try:
                loaded = models.load(directory, version)
            except ModelError as error:
                assert str(error)
            else:
                assert loaded.model_version == version
            for each in files:
                shutil.copyfile(each, place / each.name)
    finally:
        shutil.rmtree(aside)


def _sign(place: Path) -> None:
    """As somebody would who damages on purpose: the sums of the files are those of the damaged ones."""
    about = next(path for path in place.iterdir() if path.suffix == ".json")
    try:
        said = json.loads(about.read_bytes())
    except ValueError:
        return
    for path in place.iterdir():
        for key in [key for key in said if key.endswith("_sha256") and path.name.startswith(key.split("_")[0])]:
            said[key] = _sha256(path)
    about.write_text(json.dumps(said))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- cards, states and letters ----------------------------------------------------------------------------------------

PURCHASE = Event(event_id="e", event_type="purchase", occurred_at=NOW, customer_id="c", price=1.0)
STATE = replay([PURCHASE])
CARD = RiskCard(
    customer_id="c1",
    as_of=NOW,
    scored_at=NOW,
    status=Status.FRESH,
    risk=0.5,
    risk_band="medium",
    base=-0.1,
    drivers=[Driver("recency_days", 3.0, 0.2, "a reason")],
    segment="Loyal",
    action="none",
    model_version="v",
    features=feature_row(STATE, NOW),
    band_change=BandChange("low", "medium", NOW, ["why"], 3.0),
)
CARD_FIELDS = json.loads(risk_card.encode(CARD))


@fuzzed("cards")
@given(some(changed(CARD_FIELDS)))
def test_the_bytes_of_a_card_are_a_card_or_refused(payloads: list[bytes]) -> None:
    for payload in payloads:
        try:
            card = risk_card.decode(payload)
        except msgspec.DecodeError:
            pass
        else:
            assert risk_card.decode(risk_card.encode(card)) == card
        try:
            change = risk_card.decode_change(payload.decode(errors="replace"))
        except msgspec.DecodeError:
            continue
        assert change.before is not None


def of_redis(state: bytes, applied: bytes, until: bytes) -> dict[bytes, bytes]:
    return {b"state": state, b"applied": applied, b"fresh_until": until, b"risk": b"\xff", b"status": b"fresh"}


@fuzzed("states")
@given(
    some(
        st.builds(
            of_redis,
            st.builds(damaged, st.sampled_from([pack(STATE), pack(replay([]))]), _DAMAGES),
            st.sampled_from([b"0:1", b"7:99"]) | st.binary(max_size=6),
            st.sampled_from([b"2026-03-01T12:00:00+00:00", b""]) | st.binary(max_size=6),
        )
    )
)
def test_what_lies_under_a_customer_is_read_or_named_as_damaged(hashes: list[dict[bytes, bytes]]) -> None:
    for each in hashes:
        try:
            customer = _as_customer(each)
        except InvalidState as error:
            assert str(error)
            continue
        assert customer is not None
        if customer.kept is not None:
            assert unpack(pack(customer.kept.state)) == customer.kept.state
            with suppress(InvalidState):
                thaw(customer.kept.state.summary)
            for sealed in customer.kept.state.recent:
                with suppress(InvalidState):
                    opened(sealed)
        assert customer.status(NOW) in Status


LETTER = DeadLetter("events-1-2", "broken_json", "d", NOW, "stream_processor", "e30=", 2, "events", 1, 2)


@fuzzed("letters")
@given(some(changed(json.loads(dead_letters.encode(LETTER)))))
def test_the_bytes_of_a_dead_letter_are_one_or_refused(payloads: list[bytes]) -> None:
    for payload in payloads:
        try:
            letter = dead_letters.decode(payload)
        except msgspec.DecodeError:
            continue
        assert dead_letters.decode(dead_letters.encode(letter)) == letter
        assert all(isinstance(name, str) for name in dead_letters.customers_in(letter))
