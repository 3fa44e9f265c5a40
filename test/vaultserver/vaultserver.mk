# A real Vault for the tests, compiled from its Go modules; see main.go beside
# this file. Included by the top-level Makefile; paths are relative to the root
# of the repository.

VAULTSERVER_SOURCES := $(wildcard test/vaultserver/*.go) test/vaultserver/go.mod

bin/vaultserver: $(VAULTSERVER_SOURCES)
	@echo "building a real Vault for the tests, about 4 minutes the first time ..."
	@cd test/vaultserver && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o '$(CURDIR)/bin/vaultserver' .
	@touch $@
