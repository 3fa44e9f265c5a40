# External Secrets' own code, to compare with; see main.go beside this file.
# Included by the top-level Makefile; paths are relative to the root of the
# repository.

ORACLE_SOURCES := $(wildcard test/oracle/*.go) test/oracle/go.mod

bin/oracle: $(ORACLE_SOURCES)
	@echo "building External Secrets' own code to compare with, about 2 minutes the first time ..."
	@cd test/oracle && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o '$(CURDIR)/bin/oracle' .
	@touch $@
