// Package policy decides what a task may do: which Kubernetes resources it may read and change, how it may be
// executed, and what needs a human's approval first.
//
// A policy is YAML with CEL expressions (https://cel.dev). It is a list of rules, each for some callers and projects;
// a rule has entries for resources and for executions. Entries are tried in the order of the text, and the first that
// matches decides. What no entry matches is denied.
package policy
