module github.com/graf-run/graf/runner

go 1.26.0

require (
	github.com/google/uuid v1.6.0
	github.com/graf-run/graf/shared v0.0.0
	github.com/spf13/cobra v1.10.2
	go.yaml.in/yaml/v3 v3.0.6
	golang.org/x/sys v0.49.0
)

require github.com/bmatcuk/doublestar/v4 v4.10.4

require (
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // indirect
	golang.org/x/text v0.43.0 // indirect
)

require (
	github.com/aymanbagabas/go-udiff v0.4.1 // indirect
	go.yaml.in/yaml/v2 v2.4.2 // indirect
	sigs.k8s.io/yaml v1.6.0 // indirect
)

require (
	github.com/graf-run/graf/sdk/go v0.0.0
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/pflag v1.0.10
)

replace github.com/graf-run/graf/shared => ../shared

replace github.com/graf-run/graf/sdk/go => ../sdk/go
