// Package api is the market's HTTP interface, generated from openapi.yaml. Edit that file, then run go generate.
package api

//go:generate go tool -modfile=../../tools/go.mod oapi-codegen -config oapi-codegen.yaml openapi.yaml
