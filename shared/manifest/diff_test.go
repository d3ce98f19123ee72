package manifest

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// deployments makes n resources of a usual size.
func deployments(tb testing.TB, n int, memory string) []Object {
	tb.Helper()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-%d, namespace: graf, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      containers:
      - name: app
        image: registry.example/web:1.4
        env: [{name: A, value: "1"}, {name: B, value: "2"}, {name: C, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        ports: [{containerPort: 8080, name: http}, {containerPort: 9090, name: metrics}]
        resources: {limits: {cpu: 500m, memory: %s}, requests: {cpu: 100m, memory: 64Mi}}
        livenessProbe: {httpGet: {path: /live, port: 8080}, initialDelaySeconds: 3}
        readinessProbe: {httpGet: {path: /ready, port: 8080}}
        volumeMounts: [{name: config, mountPath: /etc/web}]
      volumes: [{name: config, configMap: {name: web}}]
`, i, memory)
	}
	objects, err := Parse([]byte(text.String()), salt)
	if err != nil {
		tb.Fatal(err)
	}
	return objects
}

func TestDigestNamesTheChange(t *testing.T) {
	t.Parallel()
	before, after := deployments(t, 6, "128Mi"), deployments(t, 6, "256Mi")
	diff := Compare(before, after)
	shuffle := func(objects []Object) []Object {
		shuffled := slices.Clone(objects)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		return shuffled
	}
	bystander := parse(t, configMap)
	again := Compare(append(shuffle(before), bystander...), append(bystander, shuffle(after)...))
	if again.Digest != diff.Digest || again.Unified != diff.Unified || again.Summary != diff.Summary {
		t.Error("order, or a resource that did not change, makes another diff")
	}
	for name, other := range map[string]Diff{
		"the reverse": Compare(after, before), "a part": Compare(before, after[:5]), "nothing": Compare(before, before),
	} {
		if other.Digest == diff.Digest {
			t.Errorf("%s has the same digest", name)
		}
	}
}

func TestNothingDiffers(t *testing.T) {
	t.Parallel()
	diff := Compare(parse(t, configMap), parse(t, configMap))
	if !diff.Empty() || diff.Summary != "" || diff.Changes == nil || diff.Digest != digest(nil) {
		t.Errorf("%+v", diff)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	diff := Compare(nil, deployments(t, 400, "1Gi"))
	if len(diff.Unified) > MaxUnified || !regexp.MustCompile(`# cut here: \d+ resources are not shown, or not in full\n$`).MatchString(diff.Unified) {
		t.Errorf("unified diff of %d bytes ends in %q", len(diff.Unified), diff.Unified[len(diff.Unified)-80:])
	}
	if len(diff.Summary) > MaxSummary || !strings.Contains(diff.Summary, "\nand ") {
		t.Errorf("summary of %d bytes: %s", len(diff.Summary), diff.Summary)
	}
	long := func(fill string) []Object {
		return parse(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"`+strings.Repeat(fill, 100_000)+`"}}`)
	}
	diff = Compare(long("é"), long("ü"))
	field := diff.Changes[0].Fields[0]
	if text := field.New.(string); len(text) > maxValue || !utf8.ValidString(text) || !strings.HasSuffix(text, "…") {
		t.Errorf("a value of %d bytes", len(text))
	}
	if len(diff.Unified) > MaxUnified || len(diff.Summary) > MaxSummary || !utf8.ValidString(diff.Summary) {
		t.Errorf("unified %d, summary %q", len(diff.Unified), diff.Summary)
	}
}

var hunkHeader = regexp.MustCompile(`^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@$`)

// Each hunk stands where its header says, in both texts.
func TestHunksAreNumberedRight(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		texts := [2][]Object{}
		for side := range texts {
			text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n"
			for line := range 80 {
				if random.IntN(12) > 0 {
					text += fmt.Sprintf("  k%02d: v%d\n", line, random.IntN(15)/14)
				}
			}
			texts[side] = parse(t, text)
		}
		diff := Compare(texts[0], texts[1])
		checkHunks(t, diff.Unified, strings.Split(texts[0][0].YAML(), "\n"), strings.Split(texts[1][0].YAML(), "\n"))
	}
}

func checkHunks(t *testing.T, unified string, before, after []string) {
	t.Helper()
	var oldLine, newLine int
	for _, line := range strings.Split(strings.TrimSuffix(unified, "\n"), "\n")[2:] {
		if header := hunkHeader.FindStringSubmatch(line); header != nil {
			oldLine, _ = strconv.Atoi(header[1])
			newLine, _ = strconv.Atoi(header[2])
			continue
		}
		if line[0] != '+' {
			if before[oldLine-1] != line[1:] {
				t.Fatalf("%q is not line %d of the old text:\n%s", line, oldLine, unified)
			}
			oldLine++
		}
		if line[0] != '-' {
			if after[newLine-1] != line[1:] {
				t.Fatalf("%q is not line %d of the new text:\n%s", line, newLine, unified)
			}
			newLine++
		}
	}
}

func TestFromText(t *testing.T) {
	t.Parallel()
	const text = "--- a/deploy/web.yaml\t2026-01-02\n+++ b/deploy/web.yaml\n@@ -1 +1,2 @@\n-a: 1\n+a: 2\n+b: 3\n"
	diff, err := FromText(text)
	if err != nil || diff.Unified != text || diff.Digest != digest([]byte(text)) || diff.Changes == nil {
		t.Errorf("FromText() = %+v, %v", diff, err)
	}
	if want := "diff of 2 lines added and 1 removed in web.yaml"; diff.Summary != want {
		t.Errorf("summary %q, want %q", diff.Summary, want)
	}
	for _, bad := range []string{"", " \n", "\xff", "a\x00", strings.Repeat("x", MaxUnified+1)} {
		if _, err := FromText(bad); err == nil {
			t.Errorf("%s is taken", shortened(bad, 20))
		}
	}
}

// BenchmarkCompare compares 1,000 resources of which every tenth, or every one, differs.
func BenchmarkCompare(b *testing.B) {
	before, after := deployments(b, 1000, "128Mi"), deployments(b, 1000, "256Mi")
	tenth := slices.Clone(before)
	for i := 0; i < len(tenth); i += 10 {
		tenth[i] = after[i]
	}
	for name, changed := range map[string][]Object{"tenth": tenth, "all": after} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if len(Compare(before, changed).Changes) == 0 {
					b.Fatal("no change")
				}
			}
		})
	}
}

// BenchmarkParse reads 1,000 resources from YAML.
func BenchmarkParse(b *testing.B) {
	text := []byte(YAML(deployments(b, 1000, "128Mi")))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(text, salt); err != nil {
			b.Fatal(err)
		}
	}
}
