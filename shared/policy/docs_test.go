package policy_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/policy"
)

// documented finds the policies of docs/kubernetes.md, each with the table that follows it.
var documented = regexp.MustCompile("(?s)```yaml policy\n(.*?)```\n\n((?:[^`|][^\n]*\n|\n)*)(\\| caller \\|[^\n]*\n(?:\\|[^\n]*\n)+)")

// The policies of the documentation are valid, and answer as it says.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	found := documented.FindAllStringSubmatch(string(text), -1)
	if n := strings.Count(string(text), "```yaml policy\n"); n == 0 || len(found) != n {
		t.Fatalf("%d of %d policies are followed by their questions", len(found), n)
	}
	for _, example := range found {
		p := parse(t, example[1])
		rows := strings.Split(strings.TrimSpace(example[3]), "\n")
		for _, row := range rows[2:] { // past the head
			t.Run(row, func(t *testing.T) {
				t.Parallel()
				askDocumented(t, p, cells(row))
			})
		}
	}
}

func cells(row string) []string {
	columns := strings.Split(strings.Trim(row, "|"), "|")
	for i := range columns {
		columns[i] = strings.Trim(strings.TrimSpace(columns[i]), "`")
	}
	return columns
}

func askDocumented(t *testing.T, p *policy.Policy, c []string) {
	t.Helper()
	if len(c) != 7 {
		t.Fatalf("%d columns, want 7", len(c))
	}
	task := policy.Task{Caller: c[0], Project: c[1], Mode: "direct", Priority: 5}
	var got policy.Decision
	if c[2] == "run" {
		got = p.Execute(execution(t, task, c[3]))
	} else {
		got = p.Decide(action(t, task, c[2], c[3], c[4]))
		checkGrants(t, p, task, c[2], c[3], got)
	}
	answer := map[bool]string{true: "allowed", false: "denied"}[got.Allowed]
	if got.Approval != nil {
		answer = "approval"
	}
	if answer != c[5] || got.Rule != c[6] {
		t.Errorf("%s by %q: %s", answer, got.Rule, got.Reason)
	}
}

// execution reads "direct IMAGE [TIMEOUT] [NAME=LIMIT…] [secret:NAME…]".
func execution(t *testing.T, task policy.Task, text string) policy.Execution {
	t.Helper()
	words := strings.Fields(text)
	task.Mode = words[0]
	x := policy.Execution{Task: task, Image: words[1], TimeoutSeconds: 60, Limits: map[string]string{}}
	for _, word := range words[2:] {
		if name, secret := strings.CutPrefix(word, "secret:"); secret {
			x.Secrets = append(x.Secrets, name)
			continue
		}
		if name, limit, found := strings.Cut(word, "="); found {
			x.Limits[name] = limit
			continue
		}
		timeout, err := time.ParseDuration(word)
		if err != nil {
			t.Fatal(err)
		}
		x.TimeoutSeconds = int(timeout.Seconds())
	}
	return x
}

// target reads "apps/v1 Deployment NAMESPACE/NAME"; only what is listed has no name, and a Node no namespace.
func target(verb, text string) grant.Target {
	words := strings.Fields(text)
	at := grant.Target{APIVersion: words[0], Kind: words[1]}
	namespace, name, both := strings.Cut(words[2], "/")
	switch {
	case both:
		at.Namespace, at.Name = namespace, name
	case verb == policy.VerbList:
		at.Namespace = namespace
	default:
		at.Name = namespace
	}
	return at
}

func action(t *testing.T, task policy.Task, verb, text, object string) policy.Action {
	t.Helper()
	verb, force := strings.CutPrefix(verb, "force ")
	at := target(verb, text)
	group, _, found := strings.Cut(at.APIVersion, "/")
	if !found {
		group = ""
	}
	a := policy.Action{Task: task, Verb: verb, Force: force, Resource: policy.Resource{
		APIGroup: group, Kind: at.Kind, Namespace: at.Namespace, Name: at.Name,
	}}
	if object == "" {
		return a
	}
	if err := json.Unmarshal([]byte(object), &a.Object); err != nil {
		t.Fatal(err)
	}
	return a
}

// checkGrants holds what is granted against a decision: what is allowed in some way is granted in some way, and what
// the container has may be done with every object.
func checkGrants(t *testing.T, p *policy.Policy, task policy.Task, verb, text string, d policy.Decision) {
	t.Helper()
	verb, force := strings.CutPrefix(verb, "force ")
	granted := p.Grants(task, []grant.Target{target(verb, text)})[0]
	if possible := d.Allowed || d.Approval != nil; possible && !slices.Contains(granted.All(), verb) {
		t.Errorf("%s is allowed, but not granted: %+v", verb, granted)
	}
	if slices.Contains(granted.Verbs, verb) && !force && !d.Allowed {
		t.Errorf("%s is granted to the container, but not allowed", verb)
	}
}
