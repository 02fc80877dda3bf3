# hpc without a GPU, as the README installs it, with the versions of constraints.txt.
#   docker build -t hpc -f docker/cpu.Dockerfile .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" hpc fit photo.jpg
# The image holds x264 and x265 (GPL): read NOTICE before you distribute it.
FROM python:3.12-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 WARP_CACHE_PATH=/var/cache/warp HOME=/tmp
COPY constraints.txt pyproject.toml setup.py README.md LICENSE NOTICE /source/
COPY humanpose_cli /source/humanpose_cli
RUN PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
    pip install --constraint /source/constraints.txt "/source[heic,usd,c3d,slurm]" && rm -r /source
# Compiles the kernels into a folder that every user may read and nobody but root may write.
RUN hpc doctor && chmod -R a+rX /var/cache/warp

WORKDIR /data
ENTRYPOINT ["hpc"]
CMD ["--help"]
