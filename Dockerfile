# The operator's image: the program that `make build` compiled, and the
# certificate authorities that it needs to reach Git servers over https.
# No image is published yet; docs/install.md says how to build and use one.
FROM alpine:3 AS certificates
RUN test -s /etc/ssl/certs/ca-certificates.crt

FROM scratch
COPY --from=certificates /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY bin/gitseal-controller /gitseal-controller
USER 65532:65532
ENTRYPOINT ["/gitseal-controller"]
