// Package manifest brings Kubernetes resources into a canonical form and tells how two sets of them differ.
//
// Canonical means: without what the API server writes (so that a resource read back equals the one that was applied),
// with the values of Secrets, and those that stand beside a secret name such as DB_PASSWORD, replaced by salted digests
// (so that a change shows and the value does not), without nulls, and with keys in order. Lists are taken apart. Equal resources have equal bytes, and equal digests, on any machine.
package manifest

// Bounds on what is read and written, in bytes unless said otherwise.
const (
	// MaxBytes bounds the text that Parse takes.
	MaxBytes = 4 << 20
	// MaxDepth bounds nesting (levels).
	MaxDepth = 64
	// MaxObjects bounds the resources in one text.
	MaxObjects = 2000
	// maxNodes bounds maps, lists and scalars in one text, YAML aliases expanded.
	maxNodes = 500_000
	// MaxUnified bounds a unified diff.
	MaxUnified = 256 << 10
	// MaxSummary bounds a summary.
	MaxSummary = 2 << 10
	// maxValue bounds an old or new value in a field's change.
	maxValue = 1 << 10
	// maxFields bounds the fields listed for one resource; the unified diff has them all.
	maxFields = 200
)
