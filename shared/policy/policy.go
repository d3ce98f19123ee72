package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// MaxBytes bounds the text of a policy: a ConfigMap holds no more.
const MaxBytes = 1 << 20

// Effect is what an entry does with what it matches.
type Effect string

// The effects of an entry. Left out means Allow.
const (
	Allow Effect = "allow"
	Deny  Effect = "deny"
)

// document is a policy as it is written.
type document struct {
	Rules []rule `yaml:"rules"`
}

// rule is what some callers may do.
type rule struct {
	Name       string           `yaml:"name"`
	Callers    []string         `yaml:"callers"`
	Projects   []string         `yaml:"projects"`
	When       string           `yaml:"when"`
	Resources  []resourceEntry  `yaml:"resources"`
	Executions []executionEntry `yaml:"executions"`
}

// resourceEntry is about Kubernetes resources. Lists are of patterns, in which * stands for any text.
type resourceEntry struct {
	Effect     Effect    `yaml:"effect"`
	Verbs      []string  `yaml:"verbs"`
	APIGroups  []string  `yaml:"apiGroups"`
	Kinds      []string  `yaml:"kinds"`
	Namespaces []string  `yaml:"namespaces"`
	Cluster    bool      `yaml:"clusterScoped"`
	Names      []string  `yaml:"names"`
	Force      bool      `yaml:"force"`
	When       string    `yaml:"when"`
	Approval   *approval `yaml:"approval"`
}

// executionEntry is about what runs a task's agent.
type executionEntry struct {
	Effect Effect   `yaml:"effect"`
	Modes  []string `yaml:"modes"`
	Images []string `yaml:"images"`
	// Secrets are those of which the agent may be given keys; none if left out.
	Secrets    []string          `yaml:"secrets"`
	MaxTimeout time.Duration     `yaml:"maxTimeout"`
	Limits     map[string]string `yaml:"limits"`
	When       string            `yaml:"when"`
	Approval   *approval         `yaml:"approval"`
}

// approval says who lets go ahead what an entry allows.
type approval struct {
	Approvers []string `yaml:"approvers"`
	Reason    string   `yaml:"reason"`
}

// Policy is a policy that is in force. It is safe for concurrent use.
type Policy struct {
	// Version is "sha256:" and the hexadecimal SHA-256 of the text.
	Version string
	// Text is the policy as it was written.
	Text  string
	rules []compiledRule
}

// None is the policy that denies everything: the one in force where there is none.
func None() *Policy { return &Policy{Version: versionOf(nil)} }

func versionOf(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}
