"""The boards, one file each; a new one is declared in its own file and named here. The first is where Kibana opens."""

from typing import Final

from kibana.boards.churn_risk import CHURN_RISK
from kibana.boards.funnel import FUNNEL
from kibana.boards.model import MODEL
from kibana.boards.pipeline import PIPELINE_HEALTH
from kibana.boards.products import PRODUCTS
from kibana.boards.retention import RETENTION
from kibana.boards.revenue import REVENUE
from kibana.boards.segments import SEGMENTS

ALL: Final = (CHURN_RISK, REVENUE, SEGMENTS, FUNNEL, PRODUCTS, RETENTION, MODEL, PIPELINE_HEALTH)
LANDING: Final = CHURN_RISK
