package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/policy"
)

const example = `
rules:
  - name: no-system
    callers: ["*"]
    resources:
      - effect: deny
        verbs: ["*"]
        apiGroups: ["*"]
        kinds: ["*"]
        namespaces: [kube-*]
        clusterScoped: true
  - name: web-team
    callers: [platform, ci-*]
    projects: [web]
    resources:
      - verbs: [get, list, watch]
        apiGroups: ["", apps]
        kinds: ["*"]
        namespaces: [web-*]
      - verbs: [delete]
        apiGroups: [apps]
        kinds: [Deployment]
        namespaces: [web-live]
        names: [old-*]
        approval:
          approvers: [lead-*]
          reason: a deletion in production
      - verbs: [create, patch]
        apiGroups: [apps]
        kinds: [Deployment]
        namespaces: [web-*]
        when: object.spec.replicas <= 10 && !("frozen" in task.tags)
      - verbs: [create, patch]
        apiGroups: [""]
        kinds: [ConfigMap]
        namespaces: [web-*]
        force: true
    executions:
      - images: ["registry.example/agents/*"]
        maxTimeout: 1h
        limits: {memory: 2Gi}
        when: execution.mode == "direct" || task.priority < 5
  - name: careful
    callers: [careful]
    when: has(task.nothing.deeper)
    executions: [{}]
`

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	web        = policy.Task{Caller: "ci-7", Project: "web", Mode: "direct"}
	deployment = policy.Resource{APIGroup: "apps", Kind: "Deployment", Namespace: "web-live", Name: "shop"}
	configMap  = policy.Resource{Kind: "ConfigMap", Namespace: "web-live", Name: "shop"}
)

func replicas(n int64) map[string]any {
	return map[string]any{"spec": map[string]any{"replicas": n}}
}

func named(r policy.Resource, name string) policy.Resource {
	r.Name = name
	return r
}

func TestDecide(t *testing.T) {
	t.Parallel()
	p := parse(t, example)
	frozen := web
	frozen.Tags = []string{"frozen"}
	for name, c := range map[string]struct {
		action  policy.Action
		allowed bool
		rule    string
		reason  string
	}{
		"read":             {policy.Action{Task: web, Verb: "get", Resource: deployment}, true, "web-team/resources/0", "allows get"},
		"list":             {policy.Action{Task: web, Verb: "list", Resource: named(deployment, "")}, true, "web-team/resources/0", ""},
		"stranger":         {policy.Action{Task: policy.Task{Caller: "mallory", Project: "web"}, Verb: "get", Resource: deployment}, false, "", "no rule allows get Deployment.apps web-live/shop for caller mallory and project web"},
		"other project":    {policy.Action{Task: policy.Task{Caller: "platform"}, Verb: "get", Resource: deployment}, false, "", "for caller platform"},
		"other namespace":  {policy.Action{Task: web, Verb: "get", Resource: policy.Resource{Kind: "Pod", Namespace: "db"}}, false, "", ""},
		"denied":           {policy.Action{Task: web, Verb: "get", Resource: policy.Resource{Kind: "Pod", Namespace: "kube-system"}}, false, "no-system/resources/0", "denies get Pod kube-system/(all) (line 6"},
		"whole cluster":    {policy.Action{Task: web, Verb: "get", Resource: policy.Resource{Kind: "Node"}}, false, "no-system/resources/0", ""},
		"small enough":     {policy.Action{Task: web, Verb: "patch", Resource: deployment, Object: replicas(10)}, true, "web-team/resources/2", ""},
		"too large":        {policy.Action{Task: web, Verb: "patch", Resource: deployment, Object: replicas(11)}, false, "", "no rule allows patch"},
		"no replicas":      {policy.Action{Task: web, Verb: "patch", Resource: deployment, Object: map[string]any{}}, false, "", "the condition of web-team/resources/2 could not be evaluated: no such key: spec"},
		"no object":        {policy.Action{Task: web, Verb: "patch", Resource: deployment}, false, "", "could not be evaluated"},
		"frozen":           {policy.Action{Task: frozen, Verb: "patch", Resource: deployment, Object: replicas(1)}, false, "", ""},
		"force":            {policy.Action{Task: web, Verb: "patch", Resource: deployment, Object: replicas(1), Force: true}, false, "", "web-team/resources/2 does not allow force"},
		"forced":           {policy.Action{Task: web, Verb: "patch", Resource: configMap, Object: map[string]any{}, Force: true}, true, "web-team/resources/3", ""},
		"to be approved":   {policy.Action{Task: web, Verb: "delete", Resource: named(deployment, "old-shop")}, false, "web-team/resources/1", "once one of lead-* approves"},
		"not by that name": {policy.Action{Task: web, Verb: "delete", Resource: deployment}, false, "", ""},
		"all of some":      {policy.Action{Task: web, Verb: "delete", Resource: named(deployment, "")}, false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := p.Decide(c.action)
			if got.Allowed != c.allowed || got.Rule != c.rule || !strings.Contains(got.Reason, c.reason) || got.Version != p.Version {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestApproval(t *testing.T) {
	t.Parallel()
	got := parse(t, example).Decide(policy.Action{Task: web, Verb: "delete", Resource: named(deployment, "old-shop")})
	if got.Approval == nil || got.Approval.Reason != "a deletion in production" ||
		!got.Approval.By("lead-anna") || got.Approval.By("ci-7") {
		t.Errorf("got %+v", got)
	}
}

func TestExecute(t *testing.T) {
	t.Parallel()
	p := parse(t, example)
	const image = "registry.example/agents/codex:1"
	memory := map[string]string{"memory": "2048Mi"}
	argo := web
	argo.Mode, argo.Priority = "argo", 9
	for name, c := range map[string]struct {
		execution policy.Execution
		allowed   bool
		reason    string
	}{
		"as allowed":   {policy.Execution{Task: web, Image: image, TimeoutSeconds: 3600, Limits: memory}, true, "allows running image"},
		"other image":  {policy.Execution{Task: web, Image: "evil", Limits: memory}, false, `no rule allows running image "evil" in mode direct`},
		"too long":     {policy.Execution{Task: web, Image: image, TimeoutSeconds: 3601, Limits: memory}, false, "a timeout of at most 1h0m0s"},
		"too much":     {policy.Execution{Task: web, Image: image, Limits: map[string]string{"memory": "3Gi"}}, false, "at most 2Gi of memory"},
		"without end":  {policy.Execution{Task: web, Image: image}, false, "needs a limit of at most 2Gi for memory"},
		"condition":    {policy.Execution{Task: argo, Image: image, Limits: memory}, false, "no rule allows"},
		"cannot tell":  {policy.Execution{Task: policy.Task{Caller: "careful"}}, false, "the condition of rule careful (line 43 of the policy) could not be evaluated"},
		"nobody's own": {policy.Execution{Task: policy.Task{Caller: "mallory"}}, false, "no rule allows"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := p.Execute(c.execution); got.Allowed != c.allowed || !strings.Contains(got.Reason, c.reason) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestGrants(t *testing.T) {
	t.Parallel()
	targets := []grant.Target{
		{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "web-live", Name: "shop"},
		{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "web-live", Name: "old-shop"},
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: "web-live", LabelSelector: "app=shop"},
		{APIVersion: "v1", Kind: "Pod", Namespace: "kube-system"},
	}
	got := parse(t, example).Grants(web, targets)
	want := []grant.Grant{
		{Target: targets[0], Verbs: []string{"get", "list", "watch"}, Checked: []string{"create", "patch"}},
		{Target: targets[1], Verbs: []string{"get", "list", "watch"}, Checked: []string{"create", "patch", "delete"}},
		{Target: targets[2], Verbs: []string{"get", "list", "watch", "create", "patch"}},
		{Target: targets[3]},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// What is granted whatever the object is must be what Decide allows for any object, and what is not granted at all
// what it allows for none.
func TestGrantsAgreeWithDecide(t *testing.T) {
	t.Parallel()
	p := parse(t, example)
	resources := []policy.Resource{deployment, named(deployment, "old-shop"), configMap, {Kind: "Node"}}
	var targets []grant.Target
	for _, r := range resources {
		targets = append(targets, grant.Target{
			APIVersion: strings.TrimPrefix(r.APIGroup+"/v1", "/"), Kind: r.Kind, Namespace: r.Namespace, Name: r.Name,
		})
	}
	for i, grant := range p.Grants(web, targets) {
		for _, verb := range policy.Verbs() {
			granted := strings.Contains(strings.Join(grant.Verbs, " "), verb)
			checked := strings.Contains(strings.Join(grant.Checked, " "), verb)
			for _, object := range []map[string]any{nil, {}, replicas(1), replicas(100)} {
				d := p.Decide(policy.Action{Task: web, Verb: verb, Resource: resources[i], Object: object})
				if granted && !d.Allowed || !granted && !checked && (d.Allowed || d.Approval != nil) {
					t.Errorf("%s %s: granted %v, checked %v, but %+v", verb, resources[i], granted, checked, d)
				}
			}
		}
	}
}

// A condition that cannot be evaluated must not open what it was to close.
func TestDenyFailsClosed(t *testing.T) {
	t.Parallel()
	p := parse(t, `
rules:
  - name: all
    callers: ["*"]
    resources:
      - {effect: deny, verbs: ["*"], apiGroups: ["*"], kinds: ["*"], namespaces: ["*"], when: object.spec.privileged}
      - {verbs: ["*"], apiGroups: ["*"], kinds: ["*"], namespaces: ["*"]}
`)
	for _, object := range []map[string]any{nil, {}, {"spec": map[string]any{"privileged": "yes"}}} {
		if d := p.Decide(policy.Action{Verb: "patch", Resource: deployment, Object: object}); d.Allowed {
			t.Errorf("%v: %+v", object, d)
		}
	}
	plain := map[string]any{"spec": map[string]any{"privileged": false}}
	if d := p.Decide(policy.Action{Verb: "patch", Resource: deployment, Object: plain}); !d.Allowed {
		t.Errorf("got %+v", d)
	}
	if g := p.Grants(policy.Task{}, []grant.Target{{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "web-live"}}); len(g[0].Verbs) > 0 || len(g[0].Checked) != len(policy.Verbs()) {
		t.Errorf("got %+v", g)
	}
}

func TestNone(t *testing.T) {
	t.Parallel()
	for _, p := range []*policy.Policy{policy.None(), parse(t, ""), parse(t, "# nothing\n"), parse(t, "rules: []")} {
		if p.Decide(policy.Action{Task: web, Verb: "get", Resource: deployment}).Allowed || p.Execute(policy.Execution{Task: web}).Allowed {
			t.Error("allowed")
		}
	}
}

// head is a rule that lacks what it allows.
const head = "rules:\n  - name: a\n    callers: [x]\n"

// mistakes are policies with one each, and what is said of it.
var mistakes = map[string]struct{ text, want string }{
	"no YAML":          {"rules: [", "line 1: did not find expected node content"},
	"unknown field":    {head + "    resorces: []\n", "line 4: field resorces not found"},
	"wrong type":       {"rules: 3", "line 1: cannot unmarshal"},
	"no name":          {"rules:\n  - callers: [x]\n    executions: [{}]", "line 2, column 5: a rule needs a name"},
	"twice":            {head + "    executions: [{}]\n  - {name: a, callers: [x], executions: [{}]}", `line 5, column 12: an earlier rule is named "a"`},
	"nobody":           {"rules:\n  - {name: a, executions: [{}]}", `rule "a" is for nobody`},
	"nothing":          {head, "neither resources nor executions"},
	"expression":       {head + "    when: task.tags == \n    executions: [{}]", "line 4, column 23: Syntax error"},
	"unknown variable": {head + "    when: object.a\n    executions: [{}]", "line 4, column 11: undeclared reference to 'object'"},
	"in a block":       {head + "    when: |\n      true &&\n      nothing\n    executions: [{}]", "line 6: undeclared reference to 'nothing'"},
	"no condition":     {head + "    when: caller\n    executions: [{}]", "must be true or false, but is of type string"},
	"no verbs":         {head + "    resources: [{apiGroups: ['*'], kinds: ['*'], namespaces: ['*']}]", "verbs is missing"},
	"odd verb":         {head + "    resources: [{verbs: [look], apiGroups: ['*'], kinds: ['*'], namespaces: ['*']}]", `line 4, column 26: "look" is none of get,`},
	"no namespace":     {head + "    resources: [{verbs: [get], apiGroups: ['*'], kinds: ['*']}]", "clusterScoped: true"},
	"odd effect":       {head + "    executions: [{effect: permit}]", `"permit" is no effect`},
	"odd quantity":     {head + "    executions: [{limits: {cpu: much}}]", `"much" is no Kubernetes quantity`},
	"odd mode":         {head + "    executions: [{modes: [fast]}]", `"fast" is none of direct`},
	"no approvers":     {head + "    executions: [{approval: {reason: r}}]", "nobody can approve"},
	"denied approval":  {head + "    executions: [{effect: deny, approval: {approvers: [x]}}]", "what is denied cannot be approved"},
	"two documents":    {head + "    executions: [{}]\n---\nrules: []\n", "one YAML document"},
	"too long":         {strings.Repeat("#", policy.MaxBytes+1), "at most 1048576 are allowed"},
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, c := range mistakes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := policy.Parse([]byte(c.text))
			if _, ok := errors.AsType[*policy.SyntaxError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	p, err := policy.Parse([]byte(example))
	if err != nil {
		b.Fatal(err)
	}
	action := policy.Action{Task: web, Verb: "patch", Resource: deployment, Object: replicas(10)}
	for b.Loop() {
		if !p.Decide(action).Allowed {
			b.Fatal("refused")
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		if _, err := policy.Parse([]byte(example)); err != nil {
			b.Fatal(err)
		}
	}
}

// The seeds are short: go test makes each input that finds something new as short as it can, pair of bytes by pair of
// bytes and for up to a minute, and counts none of that before it is through. With the whole example for a seed that
// looked like three executions in 20 s.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		head + "    executions: [{images: ['a/*'], maxTimeout: 1h, limits: {cpu: 500m}}]\n",
		head + "    resources: [{verbs: [get], apiGroups: [''], kinds: ['*'], namespaces: [a-*], names: [b]}]\n",
		head + "    resources: [{effect: deny, verbs: ['*'], apiGroups: ['*'], kinds: ['*'], clusterScoped: true}]\n",
		head + "    resources: [{verbs: [patch], apiGroups: [apps], kinds: ['*'], namespaces: ['*'], when: object.a > 1}]\n",
		head + "    when: task.priority < 5\n    executions: [{approval: {approvers: [x], reason: r}}]\n",
	} {
		f.Add([]byte(text))
	}
	for _, m := range mistakes {
		if len(m.text) < 200 {
			f.Add([]byte(m.text))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := policy.Parse(text)
		if err != nil {
			if _, ok := errors.AsType[*policy.SyntaxError](err); !ok {
				t.Errorf("%v is no SyntaxError", err)
			}
			return
		}
		p.Decide(policy.Action{Task: web, Verb: "patch", Resource: deployment, Object: replicas(1)})
	})
}
