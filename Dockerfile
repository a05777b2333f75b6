# An image with `verydeep serve` on the native engine, without PyTorch. It answers on port 8000.
#   docker build -t verydeep .
#   docker run -p 8000:8000 -e VERYDEEP_TOKEN verydeep
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[serve]" && rm -rf /wheels && useradd --create-home served
USER served
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["verydeep"]
CMD ["serve", "cifar10", "--host", "0.0.0.0"]
