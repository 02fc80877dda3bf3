# hpc on NVIDIA GPUs: torch brings its CUDA libraries; the host needs driver R580 or newer and NVIDIA's container toolkit.
#   docker build -t hpc:cuda -f docker/cuda.Dockerfile .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/data" -v hpc-cache:/tmp/.cache hpc:cuda fit clip.mp4 --device cuda
# The image holds x264 and x265 (GPL) and NVIDIA's libraries: read NOTICE before you distribute it.
FROM python:3.12-slim-bookworm

# The kernels are compiled at the first start, into a folder below HOME; the volume at /tmp/.cache keeps them.
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

COPY constraints.txt pyproject.toml setup.py README.md LICENSE NOTICE /source/
COPY humanpose_cli /source/humanpose_cli
# onnxruntime-gpu takes the place of onnxruntime, in the version that constraints.txt has: both own the same Python
# module, the one installed last wins. Whoever runs the container may write into the cache: a new volume takes its mode.
RUN pip install --constraint /source/constraints.txt "/source[heic,usd,c3d,slurm]" \
    && version="$(python -c 'from importlib.metadata import version; print(version("onnxruntime"))')" \
    && pip uninstall --yes onnxruntime && pip install "onnxruntime-gpu[cuda,cudnn]==$version" \
    && rm -r /source && hpc --version && mkdir -p /tmp/.cache && chmod 1777 /tmp/.cache

WORKDIR /data
ENTRYPOINT ["hpc"]
CMD ["--help"]
