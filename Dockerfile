# A model behind HTTP, on a CPU, for any user and on a read-only file system:
#   docker build -t topfive .
#   docker run --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 -v "$PWD/runs/pets:/model:ro" topfive
FROM python:3.11-slim
# torch's builds without CUDA, which are a tenth of the size
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY topfive topfive
RUN python3 -m venv /opt/topfive
RUN /opt/topfive/bin/pip install --disable-pip-version-check -q -c constraints.txt '.[serve]'
ENV PYTHONDONTWRITEBYTECODE=1
WORKDIR /
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=2m CMD ["/opt/topfive/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["/opt/topfive/bin/topfive", "serve", "--host", "0.0.0.0"]
CMD ["/model"]
