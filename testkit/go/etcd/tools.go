//go:build tools

// Package etcd pins what the store of a control plane for tests is built from: the module's own replacements keep
// `go install` from building it by name.
package etcd

import _ "go.etcd.io/etcd/server/v3"
