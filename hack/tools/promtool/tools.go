//go:build tools

// Package tools pins promtool, whose module has directives that `go install` refuses.
package tools

import _ "github.com/prometheus/prometheus/cmd/promtool"
