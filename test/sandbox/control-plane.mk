# The programs of the sandbox: a Kubernetes control plane compiled from its Go
# modules, and the program that runs it. Included by the top-level Makefile;
# paths are relative to the root of the repository.

CONTROL_PLANE_DIR     := bin/control-plane
CONTROL_PLANE_VERSION := v1.37.2
CONTROL_PLANE_MOD     := test/sandbox/controlplane/go.mod
KWOK_MOD              := test/sandbox/kwok/go.mod

# The version is set by hand because a build from the module cache has no tag to
# read it from, and clients (kubectl, Helm's capabilities) look at it.
KUBE_VERSION_PKG := k8s.io/component-base/version
KUBE_LDFLAGS := -s -w \
	-X $(KUBE_VERSION_PKG).gitVersion=$(CONTROL_PLANE_VERSION) \
	-X $(KUBE_VERSION_PKG).gitMajor=1 \
	-X $(KUBE_VERSION_PKG).gitMinor=37 \
	-X $(KUBE_VERSION_PKG).gitTreeState=clean

# $(call control-plane-build,MODULE_DIR,PACKAGE,LDFLAGS)
define control-plane-build
	@mkdir -p $(@D)
	@cd $(1) && CGO_ENABLED=0 go build -trimpath -ldflags '$(3)' -o '$(CURDIR)/$@' $(2)
	@touch $@
endef

CONTROL_PLANE_PROGRAMS := etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kwok

.PHONY: control-plane
control-plane: $(addprefix $(CONTROL_PLANE_DIR)/,$(CONTROL_PLANE_PROGRAMS)) ## Compile the sandbox's control plane into bin/control-plane.
	@echo "control plane $(CONTROL_PLANE_VERSION) is in $(CONTROL_PLANE_DIR)"

# The order-only prerequisites chain the builds: each of them fills the machine
# on its own, so that they must not overlap even under make -j.

$(CONTROL_PLANE_DIR)/etcd: $(CONTROL_PLANE_MOD)
	@echo "building etcd, under a minute ..."
	$(call control-plane-build,$(<D),go.etcd.io/etcd/server/v3,-s -w)

$(CONTROL_PLANE_DIR)/kube-apiserver: $(CONTROL_PLANE_MOD) | $(CONTROL_PLANE_DIR)/etcd
	@echo "building kube-apiserver, about 7 minutes the first time ..."
	$(call control-plane-build,$(<D),k8s.io/kubernetes/cmd/kube-apiserver,$(KUBE_LDFLAGS))

$(CONTROL_PLANE_DIR)/kube-controller-manager: $(CONTROL_PLANE_MOD) | $(CONTROL_PLANE_DIR)/kube-apiserver
	@echo "building kube-controller-manager, about 3 minutes the first time ..."
	$(call control-plane-build,$(<D),k8s.io/kubernetes/cmd/kube-controller-manager,$(KUBE_LDFLAGS))

$(CONTROL_PLANE_DIR)/kube-scheduler: $(CONTROL_PLANE_MOD) | $(CONTROL_PLANE_DIR)/kube-controller-manager
	@echo "building kube-scheduler, about a minute ..."
	$(call control-plane-build,$(<D),k8s.io/kubernetes/cmd/kube-scheduler,$(KUBE_LDFLAGS))

$(CONTROL_PLANE_DIR)/kubectl: $(CONTROL_PLANE_MOD) | $(CONTROL_PLANE_DIR)/kube-scheduler
	@echo "building kubectl, about a minute ..."
	$(call control-plane-build,$(<D),k8s.io/kubernetes/cmd/kubectl,$(KUBE_LDFLAGS))

$(CONTROL_PLANE_DIR)/kwok: $(KWOK_MOD) | $(CONTROL_PLANE_DIR)/kubectl
	@echo "building kwok, about a minute ..."
	$(call control-plane-build,$(<D),sigs.k8s.io/kwok/cmd/kwok,-s -w)

SANDBOX_SOURCES := $(shell find test/sandbox -path test/sandbox/controlplane -prune -o -path test/sandbox/kwok -prune -o \
	-type f \( -name '*.go' -o -name '*.yaml' -o -name go.mod \) ! -name '*_test.go' -print)

bin/sandbox: $(SANDBOX_SOURCES)
	@rm -f $@ # one that runs goes on with its own
	@cd test/sandbox && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o '$(CURDIR)/bin/sandbox' .
