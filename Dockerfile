# Redial as an image: nothing in it but the program, the C library it was linked with, and the usual CAs. It runs as nobody in
# particular (uid 65532), needs no capability and no writable file system, and reads /etc/redial/redial.toml, so mount that folder
# read-only:
#
#   docker build -t redial .                              (podman: --format docker, or the health check is left out)
#   docker run --read-only --cap-drop=ALL -v ./config:/etc/redial:ro -p 389:3890 -p 636:3636 redial
#
# Listeners inside take ports above 1024. The health check asks 127.0.0.1:9390, so that is what [admin] has to name.
FROM rust:1-bookworm AS build
# It writes into the program what that is made of; SECURITY.md says how to read it.
RUN cargo install --locked cargo-auditable@0.7.7
WORKDIR /src
COPY . .
RUN cargo auditable build --release --locked --bin redial \
 && config/container/collect target/release/redial /image

FROM scratch
COPY --from=build /image /
USER 65532:65532
EXPOSE 3890 3636 9390
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/bin/redial", "healthcheck"]
ENTRYPOINT ["/usr/bin/redial"]
CMD ["serve", "--config", "/etc/redial/redial.toml"]
