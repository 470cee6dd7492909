# The server alone: agents run in the machines that they serve. Build it with `docker compose build`.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release --package keyferry-server \
    && install -D target/release/keyferry-server /out/keyferry-server

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 keyferry \
    && useradd --uid 10001 --gid keyferry --no-create-home --home-dir /var/lib/keyferry \
        --shell /usr/sbin/nologin keyferry \
    && install -d -o keyferry -g keyferry -m 0700 /var/lib/keyferry
COPY --from=build /out/keyferry-server /usr/local/bin/keyferry-server
USER keyferry
WORKDIR /var/lib/keyferry
VOLUME /var/lib/keyferry
ENV KEYFERRY_DATA_DIR=/var/lib/keyferry \
    KEYFERRY_LISTEN=0.0.0.0:8443
EXPOSE 8443
# The program asks itself, over its own TLS: the image needs no other client.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["keyferry-server", "health"]
ENTRYPOINT ["keyferry-server"]
CMD ["serve"]
