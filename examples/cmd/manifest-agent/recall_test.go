package main

import (
	"os"
	"slices"
	"testing"
)

func TestParsePrompt(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/prompt.md")
	if err != nil {
		t.Fatal(err)
	}
	p := parsePrompt(string(text))
	want := tooSmall{container: "web", resource: "memory", limit: "32Mi", request: "100Mi"}
	if failed := p.tooSmall(); p.failedAttempt != "1 of 2" || failed == nil || *failed != want {
		t.Errorf("attempt %q failed by %+v, want 1 of 2 by %+v", p.failedAttempt, failed, want)
	}
	if len(p.memories) != 2 {
		t.Fatalf("memories = %+v, want 2", p.memories)
	}
	field := memoryLimit(t)
	for i, want := range []struct {
		id, kind, value string
		score           float64
	}{
		{"01985c1e-0000-7000-8000-00000000000a", "outcome", "512Mi", 0.91},
		{"01985c1e-0000-7000-8000-00000000000b", "diff", "64Mi", 0.40},
	} {
		m := p.memories[i]
		if m.id != want.id || m.kind != want.kind || m.score != want.score {
			t.Errorf("memory %d = %+v, want %+v", i, m, want)
		}
		if values := taughtValues(m, field); !slices.Equal(values, []string{want.value}) {
			t.Errorf("memory %d teaches %q, want %q", i, values, want.value)
		}
	}
}

func TestParsePromptWithoutAdditions(t *testing.T) {
	t.Parallel()
	p := parsePrompt("Do it.\n> a quotation\n")
	if p.failedAttempt != "" || p.failure != "" || len(p.memories) != 0 || p.tooSmall() != nil {
		t.Errorf("found %+v in a prompt without additions", p)
	}
}

func TestTaughtValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, kind, text string
		want             []string
	}{
		{"own summary", "outcome", "Set spec.template.spec.containers[name=a].resources.limits.memory of Deployment x/a to 512Mi. Because.", []string{"512Mi"}},
		{"assignment", "outcome", "resources.limits.memory=1Gi", []string{"1Gi"}},
		{"a changed limit", "outcome", "Changed: Deployment x/a: container a memory limit 128Mi → 256Mi; replicas 1 → 2", []string{"256Mi"}},
		{"an added limit", "diff", "container a memory limit added: 256Mi", []string{"256Mi"}},
		{"added limits", "outcome", `container a resources limits added: {"cpu":"1","memory":"512Mi"}`, []string{"512Mi"}},
		{"yaml", "diff", "+          limits:\n+            cpu: 1\n+            memory: 2Gi\n           requests:\n             memory: 1Gi\n", []string{"2Gi"}},
		{"removed yaml", "diff", "-          limits:\n-            memory: 2Gi\n", nil},
		{"another field", "outcome", "container a memory request 1Mi → 2Mi; cpu limit 1 → 2", nil},
		{"what was asked", "outcome", "Asked: set resources.limits.memory=1Gi\nResult: succeeded.", nil},
		{"what failed before", "outcome", "Attempt 1 had failed: resources.limits.memory=1Mi\nResult: succeeded.", nil},
		{"a failed task", "outcome", "Result: failed (attempt 1 of 1).\nSet resources.limits.memory=1Gi", nil},
		{"a prompt", "prompt", "resources.limits.memory=1Gi", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := taughtValues(recalled{kind: test.kind, text: test.text}, memoryLimit(t)); !slices.Equal(got, test.want) {
				t.Errorf("values = %q, want %q", got, test.want)
			}
		})
	}
}

func TestFromMemoryPassesOverWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	memories := []recalled{
		{id: "small", kind: "outcome", text: "resources.limits.memory=50Mi"},
		{id: "silent", kind: "outcome", text: "replicas 1 → 2"},
		{id: "good", kind: "outcome", text: "resources.limits.memory=512Mi"},
	}
	value, m, err := fromMemory(memories, web1(t), memoryLimit(t))
	if err != nil || value != "512Mi" || m.id != "good" {
		t.Errorf("value %q of memory %q, %v; want 512Mi of good", value, m.id, err)
	}
	if _, _, err := fromMemory(memories[:2], web1(t), memoryLimit(t)); err == nil {
		t.Error("a value below the request was taken")
	}
	if _, _, err := fromMemory(nil, web1(t), memoryLimit(t)); err == nil {
		t.Error("a value came from no memory")
	}
}

func memoryLimit(t *testing.T) path {
	t.Helper()
	p, err := parsePath("spec.template.spec.containers[name=web].resources.limits.memory")
	if err != nil {
		t.Fatal(err)
	}
	return p
}
