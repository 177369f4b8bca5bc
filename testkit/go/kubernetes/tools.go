//go:build tools

// Package kubernetes pins what a control plane and a node for tests are built from: the module's own replacements keep
// `go install` from building them by name.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
