"""The core library: plain Python that never imports Streamlit."""
