//go:build tools

// Package kwok pins the program that plays the kubelets of the sandbox. It is
// a module of its own because it needs an older set of k8s.io modules than the
// rest of the control plane.
package kwok

import _ "sigs.k8s.io/kwok/pkg/kwok/cmd"
