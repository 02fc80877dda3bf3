#!/bin/sh
# Make the data of the garment labels, then train: sh training/garments/run.sh DATA RUN
# One thread of the lowest priority. The same command continues after an interruption.
set -e
export OMP_NUM_THREADS=1
nice -n 19 hpc preprocess synthetic --count 5000 --size 320 --seed 41 --set garments=true --shard-size 50 \
    --workers 1 --device cpu --out "$1"
nice -n 19 hpc train segmenter --preset garments --data "$1" --out "$2" --workers 0 --threads 1 --device cpu
