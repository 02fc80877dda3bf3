# hpc on NVIDIA GPUs: torch brings its CUDA libraries; the host needs driver R580 or newer and NVIDIA's container toolkit.
#   docker build -t hpc:cuda -f docker/cuda.Dockerfile .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/data" hpc:cuda fit clip.mp4 --device cuda
FROM python:3.12-slim-bookworm

# The kernels are compiled at the first start, into a folder below HOME; a volume at /tmp/.cache keeps them.
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

COPY constraints.txt pyproject.toml README.md LICENSE NOTICE /source/
COPY humanpose_cli /source/humanpose_cli
# onnxruntime-gpu takes the place of onnxruntime: both own the same Python module, the one installed last wins.
RUN pip install --constraint /source/constraints.txt "/source[usd]" \
    && pip uninstall --yes onnxruntime && pip install "onnxruntime-gpu[cuda,cudnn]" && rm -r /source && hpc --version

WORKDIR /data
ENTRYPOINT ["hpc"]
CMD ["--help"]
