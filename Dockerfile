# A CPU and GPU image without data or weights: mount them, and let results go to a mounted folder.
#
#   docker build -t unet-pipeline .
#   docker run --rm -v "$PWD/images:/images:ro" -v "$PWD/results:/results" unet-pipeline \
#       predict --bundle bundles/em_membrane_segmentation --checkpoint /results/models/model.pt /images -o /results/masks
#   docker run --rm -v "$PWD/results:/results" unet-pipeline \
#       train bundles/em_membrane_segmentation --overlay demo dataset_dir=/results/phantom_em -o /results
FROM python:3.12.11-slim-bookworm

RUN useradd --create-home --uid 1000 pipeline
WORKDIR /opt/unet-pipeline
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY pipeline pipeline
RUN pip install --no-cache-dir --constraint constraints.txt .
COPY data_manifests data_manifests
COPY bundles bundles

USER pipeline
ENTRYPOINT ["unet-pipeline"]
CMD ["--help"]
