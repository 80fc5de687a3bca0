# Rokuga in an environment of its own. Its hot path is compiled here (setup.py), by an image that has gcc; all else
# comes as wheels, and the image that is shipped has neither compiler nor installer.
FROM python:3.11-bookworm AS build
COPY . /src
RUN python -m venv --without-pip /opt/build \
 && python -m pip --python /opt/build install --only-binary=:all: --constraint /src/constraints.txt '/src[compile]' \
 && ROKUGA_COMPILED=1 python -m pip --python /opt/build wheel --no-deps --no-build-isolation --wheel-dir /wheel /src
RUN python -m venv --without-pip /opt/rokuga \
 && python -m pip --python /opt/rokuga install --only-binary=:all: --constraint /src/constraints.txt /wheel/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/rokuga --shell /usr/sbin/nologin rokuga \
 && install --directory --owner=rokuga --group=root --mode=0770 \
    /var/lib/rokuga /var/lib/rokuga/archive /var/lib/rokuga/data
COPY --from=build /opt/rokuga /opt/rokuga

# What a container publishes is the decision of who starts it; inside, both ports listen on all addresses.
ENV PATH=/opt/rokuga/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ROKUGA_ARCHIVE_DIR=/var/lib/rokuga/archive \
    ROKUGA_DATA_DIR=/var/lib/rokuga/data \
    ROKUGA_API_LOOPBACK_ADDRESS_ONLY=false \
    ROKUGA_SIGNALING_HOST=0.0.0.0 \
    ROKUGA_LOG_FORMAT=json
# By number, so that runAsNonRoot can be checked. Any other uid works as well if it is in group 0, whose the folders are.
USER 10001:10001
WORKDIR /var/lib/rokuga
VOLUME ["/var/lib/rokuga/archive", "/var/lib/rokuga/data"]
EXPOSE 3000/tcp 5000/tcp 5004/udp 5004/tcp
HEALTHCHECK --interval=15s --timeout=10s --start-period=20s CMD ["python", "-m", "rokuga.cli.healthcheck"]
ENTRYPOINT ["rokuga"]
CMD ["run"]
