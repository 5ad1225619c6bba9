//go:build tools

// Package tools pins helm-unittest, whose module has a replace directive, which `go install` refuses.
package tools

import _ "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"
