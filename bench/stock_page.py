"""Our page of enrollments as somebody writes it with Streamlit and nothing else: a peer for bench.clicks.

The same figures, charts, filters and rows by SQL written by hand, without sign-in, guards or audit; served by ``streamlit run`` with
its own settings in a folder without ours. BENCH_DSN is the address of the records.
"""

import os

import plotly.express as px
import streamlit as st
from sqlalchemy import Engine, create_engine, text

from bench.reads import ENROLLMENT

MONTHS = """select date_trunc('month', e.enrolled_at)::date as month, p.title as program, count(*) as enrollments from platform.enrollment e
    join platform.program p on p.id = e.program_id where e.enrolled_at > now() - interval '1 year' group by 1, 2 order by 1"""
FUNNEL = """select count(*) as registered, count(*) filter (where status = 'active') as active, count(*) filter (where status = 'ended') as ended,
    count(*) filter (where status = 'withdrawn') as withdrawn from platform.enrollment where enrolled_at > now() - interval '1 year'"""


@st.cache_resource
def engine() -> Engine:
    """One pool for all sessions."""
    return create_engine(os.environ["BENCH_DSN"])


st.set_page_config(layout="wide")
st.title("Enrollments")
with engine().connect() as connection:
    programs = connection.execute(text("select title from platform.program order by 1")).scalars().all()
    columns = st.columns(4)
    columns[0].selectbox("Program", ["All programs", *programs])
    columns[1].segmented_control("Period", ["30 days", "12 weeks", "1 year", "All time"], default="1 year")
    columns[2].selectbox("Experience", ["All levels", "beginner", "intermediate", "advanced"])
    columns[3].text_input("Search")
    funnel = connection.execute(text(FUNNEL)).one()
    left, right = st.columns(2)
    left.plotly_chart(px.bar(x=list(funnel), y=["registered", "active", "ended", "withdrawn"], orientation="h"))
    months = connection.execute(text(MONTHS)).mappings().all()
    right.plotly_chart(px.bar([dict(row) for row in months], x="month", y="enrollments", color="program"))
    st.subheader(f"{funnel.registered:,} enrollments")
    rows = connection.execute(text(ENROLLMENT.format(where="where e.enrolled_at > now() - interval '1 year'"))).all()
    st.dataframe([{"Student": r[2], "Contact": r[3], "Experience": r[4], "Status": r[5], "Enrolled": r[6], "Program": r[7], "Cohort": r[8],
                   "Cohort starts": r[9]} for r in rows[:50]])  # fmt: skip
    left, right = st.columns(2)
    left.button("Previous")
    right.button("Next")
