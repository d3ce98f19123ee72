package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every document of a file is a manifest, however it begins and ends, with the values
// that Kubernetes reads.
func TestReadManifests(t *testing.T) {
	t.Parallel()
	const both = `{"a":1} {"b":2}`
	for name, test := range map[string]struct{ text, want string }{
		"one":                        {"a: 1\n", `{"a":1}`},
		"JSON":                       {`{"a": 1}`, `{"a":1}`},
		"two":                        {"---\na: 1\n---\nb: 2\n", both},
		"comments":                   {"# first\n--- # one\na: 1\n---\t# another\nb: 2\n", both},
		"on the line of the hyphens": {"--- {a: 1}\n---\t{b: 2}\n", both},
		"after dots":                 {"a: 1\n...\n# and\n---\nb: 2\n...\n", both},
		"directives":                 {"%YAML 1.1\n---\na: 1\n...\n%YAML 1.1\n---\nb: 2\n", both},
		"lines end by CR LF":         {"a: 1\r\n---\r\nb: 2\r\n", both},
		"empty ones":                 {"---\n---\na: 1\n---\n# nothing\n---\nb: 2\n---\n", both},
		"hyphens in a text":          {"a: |\n  x\n  ---\n  y\n", `{"a":"x\n---\ny\n"}`},
		"words of YAML 1.1":          {"a: yes\nb: 'yes'\nc: 0644\nd: 2026-01-05\ne: 1.0\n", `{"a":true,"b":"yes","c":420,"d":"2026-01-05","e":1}`},
		"anchors":                    {"a: &x {c: 1}\nb: *x\n", `{"a":{"c":1},"b":{"c":1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "manifests.yaml")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			manifests, err := readManifests(file)
			var got []string
			for _, manifest := range manifests {
				got = append(got, string(manifest))
			}
			if err != nil || strings.Join(got, " ") != test.want {
				t.Errorf("read %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

// What cannot be read as a whole is not read in part.
func TestReadManifestsRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing": "", "no resource": "---\n# nothing\n", "a bad second": "a: 1\n---\n{b: 2\n", "two of JSON": `{"a": 1} {"b": 2}`,
	} {
		file := filepath.Join(t.TempDir(), "manifests.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if manifests, err := readManifests(file); err == nil {
			t.Errorf("%s: read %s", name, manifests)
		}
	}
}
