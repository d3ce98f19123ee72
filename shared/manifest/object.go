package manifest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v2"
)

// Ref names a resource.
type Ref struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

// String is for people: "Deployment graf/web".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Identity is what makes two resources the same one: a new version of its API does not make another resource.
func (r Ref) Identity() Ref {
	group, _, found := strings.Cut(r.APIVersion, "/")
	if !found {
		group = ""
	}
	return Ref{APIVersion: group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

// path names a resource in the header of a unified diff.
func (r Ref) path() string {
	parts := []string{r.APIVersion, r.Kind, r.Namespace, r.Name}
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "/")
}

// CompareRefs orders resources by namespace, kind, name and version.
func CompareRefs(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.APIVersion, b.APIVersion))
}

// Object is a resource in canonical form. Its zero value is of no use: [New] and [Parse] make objects.
type Object struct {
	Ref     Ref
	content map[string]any
	bytes   []byte
}

// New makes an object from decoded JSON or YAML, which it does not change. salt keeps the values of Secrets from
// being guessed by their digests; it must be the same for objects that are to be compared.
func New(content map[string]any, salt []byte) (Object, error) {
	canonical, err := canonicalize(content, salt)
	if err != nil {
		return Object{}, err
	}
	ref, err := refOf(canonical)
	if err != nil {
		return Object{}, err
	}
	encoded, err := encode(canonical)
	if err != nil {
		return Object{}, fmt.Errorf("%s: %w", ref, err)
	}
	return Object{Ref: ref, content: canonical, bytes: encoded}, nil
}

func refOf(content map[string]any) (Ref, error) {
	metadata, _ := content["metadata"].(map[string]any)
	var ref Ref
	for _, field := range []struct {
		in       map[string]any
		key      string
		to       *string
		optional bool
	}{
		{content, "apiVersion", &ref.APIVersion, false},
		{content, "kind", &ref.Kind, false},
		{metadata, "name", &ref.Name, false},
		{metadata, "namespace", &ref.Namespace, true},
	} {
		value, present := field.in[field.key]
		text, isText := value.(string)
		name := field.key
		if field.key == "name" || field.key == "namespace" {
			name = "metadata." + name
		}
		switch {
		case !present && field.optional:
		case !present:
			return Ref{}, fmt.Errorf("%s is missing", name)
		case !isText || text == "" && !field.optional:
			return Ref{}, fmt.Errorf("%s must be a string that is not empty", name)
		case len(text) > 253 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return Ref{}, fmt.Errorf("%s must have at most 253 bytes and no spaces or control characters", name)
		case field.key == "kind" && strings.ContainsAny(text, "/:"):
			return Ref{}, errors.New("kind must be a name, such as Deployment, without slashes and colons")
		}
		*field.to = text
	}
	return ref, nil
}

// encode writes JSON with sorted keys and characters as they are.
func encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

// JSON returns the canonical bytes, which the caller must not change.
func (o Object) JSON() []byte { return o.bytes }

// MarshalJSON writes the canonical bytes.
func (o Object) MarshalJSON() ([]byte, error) { return o.bytes, nil }

// hidden finds a digest among canonical bytes.
var hidden = regexp.MustCompile(`"sha256-salted:[0-9a-f]{64}"`)

// HidesValues reports whether a value was replaced by its digest, so that applying the object would set the digest.
func (o Object) HidesValues() bool { return hidden.Match(o.bytes) }

// YAML renders the object for people, keys in order.
func (o Object) YAML() string {
	text, err := yaml.Marshal(o.content)
	if err != nil {
		return string(o.bytes) // JSON is YAML too. Canonical content does convert, so this is not reached.
	}
	return string(text)
}

// Digest is "sha256:" and the hexadecimal SHA-256 of the canonical bytes.
func (o Object) Digest() string { return digest(o.bytes) }

// Digest is the digest of a set of objects, whatever their order.
func Digest(objects []Object) string {
	var all bytes.Buffer
	for _, object := range sorted(objects) {
		all.Write(object.bytes)
		all.WriteByte('\n')
	}
	return digest(all.Bytes())
}

// YAML renders objects as one text of several documents, in the order of their names.
func YAML(objects []Object) string {
	var all strings.Builder
	for i, object := range sorted(objects) {
		if i > 0 {
			all.WriteString("---\n")
		}
		all.WriteString(object.YAML())
	}
	return all.String()
}

func sorted(objects []Object) []Object {
	return slices.SortedStableFunc(slices.Values(objects), func(a, b Object) int { return CompareRefs(a.Ref, b.Ref) })
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
