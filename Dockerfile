# The backend. By default it runs on a CPU, without torch, and holds the published weights:
#
#     docker build --tag mobile-sam-backend .
#     docker build --tag mobile-sam-backend:gpu --target gpu .
#
# To keep the weights out of the image, build with --build-arg WEIGHTS=mounted and run with the file
# mounted as /weights/mobile_sam.pt. The root filesystem may be read-only: --read-only --tmpfs /tmp.

ARG WEIGHTS=fetched

FROM python:3.11-slim AS python
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
WORKDIR /app

# The environments have no pip of their own: that of the image installs into them.
FROM python AS cpu-packages
RUN python -m venv --without-pip /venv
COPY requirements-cpu.txt ./
RUN python -m pip --python /venv install -r requirements-cpu.txt
RUN python -m pip --python /venv install --no-deps label-studio-ml==1.0.9
# OpenVINO's libraries for GPUs and NPUs and for files of other programs: 80 MB that nothing loads.
RUN cd /venv/lib/python*/site-packages/openvino/libs \
    && rm -f *_gpu_plugin.so *_npu_plugin.so cache.json \
    && find . -name "*_frontend.so*" ! -name "*_ir_frontend.so*" -delete

FROM cpu-packages AS gpu-packages
COPY requirements.txt ./
RUN python -m pip --python /venv install -r requirements.txt

FROM python AS fetched-weights
ADD --chmod=644 \
    --checksum=sha256:6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f \
    https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt \
    /weights/mobile_sam.pt

FROM python AS mounted-weights
RUN install --directory /weights

FROM ${WEIGHTS}-weights AS weights

FROM python AS server
COPY --from=weights /weights /weights
COPY model ./model
COPY backend ./backend
COPY examples ./examples
COPY _wsgi.py gunicorn.conf.py LICENSE NOTICE ./
# OpenShift runs the image as a user of its own choice, in the group 0.
RUN python -m compileall -q model backend && useradd --uid 1000 backend \
    && install --directory --owner=backend --group=0 --mode=0775 /data
ENV PATH=/venv/bin:$PATH HOST=0.0.0.0 PORT=9090
ENV MOBILESAM_CHECKPOINT=/weights/mobile_sam.pt MODEL_DIR=/data/models CACHE_DIR=/data/embeddings
# Embeddings, and answers of the self-check.
VOLUME /data
EXPOSE 9090
USER 1000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health')"]
CMD ["gunicorn", "_wsgi:app"]

FROM server AS gpu
COPY --from=gpu-packages /venv /venv
# The learner, which needs torch.
COPY training ./training

FROM server AS cpu
COPY --from=cpu-packages /venv /venv
