# The base images that the project's Dockerfiles name, as Debian 12 has them, whose Python is 3.11.
FROM debian:bookworm-slim AS slim
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-pip >/dev/null \
 && rm -rf /var/lib/apt/lists/* \
 && ln -s /usr/bin/python3 /usr/local/bin/python

FROM slim AS full
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends ccache gcc libc6-dev python3-dev >/dev/null \
 && rm -rf /var/lib/apt/lists/*
# What `make compiled` has compiled is not compiled again.
ENV CC="ccache gcc" CCACHE_DIR=/ccache CCACHE_SLOPPINESS=locale
