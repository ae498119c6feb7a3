FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1

WORKDIR /app
COPY requirements.txt ./
RUN python -m pip install -r requirements.txt \
    && python -m pip install --no-deps label-studio-ml==1.0.9

COPY model ./model
COPY backend ./backend
COPY _wsgi.py gunicorn.conf.py LICENSE NOTICE ./

RUN useradd --create-home backend && install --directory --owner=backend /data
USER backend
ENV HOST=0.0.0.0 PORT=9090 MODEL_DIR=/data/models CACHE_DIR=/data/embeddings
# Weights, embeddings, and the answers of the self-check.
VOLUME /data
EXPOSE 9090

HEALTHCHECK --interval=10s --timeout=3s --start-period=120s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health')"]
CMD ["gunicorn", "_wsgi:app"]
