package callback_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/problem"
)

// rules are what the tests' tasks may do, by the names of resources.
func rules(namespace string) string {
	return strings.ReplaceAll(`
rules:
  - name: team
    callers: [ci]
    resources:
      - {effect: deny, verbs: ["*"], apiGroups: ["*"], kinds: ["*"], namespaces: ["*"], names: [frozen-*]}
      - {verbs: [get, list, watch], apiGroups: ["*"], kinds: ["*"], namespaces: [NAMESPACE, gone-*], clusterScoped: true}
      - {verbs: [create, patch, delete], apiGroups: ["", apps], kinds: [ConfigMap, Secret, Deployment], namespaces: [NAMESPACE, gone-*], names: [open-*]}
      - {verbs: [create, patch], apiGroups: [""], kinds: [ConfigMap], namespaces: [NAMESPACE], names: [forced-*], force: true}
      - {verbs: [create, patch], apiGroups: [""], kinds: [ConfigMap], namespaces: [NAMESPACE], names: [small-*], when: size(object.data.key) < 5}
      - verbs: [create, patch, delete]
        apiGroups: [""]
        kinds: [ConfigMap]
        namespaces: [NAMESPACE]
        names: [careful-*]
        approval: {approvers: [lead-*], reason: it is careful}
      - {verbs: [create, patch, delete], apiGroups: [example.test, ""], kinds: [Thing, Namespace], namespaces: [NAMESPACE], clusterScoped: true}
      - {verbs: [create, patch, delete], apiGroups: [apiextensions.k8s.io], kinds: ["*"], clusterScoped: true}
`, "NAMESPACE", namespace)
}

// arena is a function that carries out actions in a namespace of a real API server.
type arena struct {
	*world
	cluster *cluster
	policy  *policy.Policy
}

func setupArena(t *testing.T, settings ...string) *arena {
	t.Helper()
	return setupArenaOn(t, newCluster(t), settings...)
}

// setupArenaOn is for a test that readies the cluster first.
func setupArenaOn(t *testing.T, c *cluster, settings ...string) *arena {
	t.Helper()
	text := rules(c.namespace)
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &arena{world: setup(t, append(c.settings(writePolicy(t, text)), settings...)...), cluster: c, policy: p}
}

func TestActions(t *testing.T) {
	t.Parallel()
	a := setupArena(t)
	c := a.cluster
	text, ref := c.configMapText, func(name string) string { return reference(c.configMap(name)) }
	for name, test := range map[string]struct {
		before  []string // manifests that somebody else applied
		targets []string // ConfigMaps that the task has rights on
		body    string
		outcome api.ActionOutcome
		says    string // in the error, the difference or the decision
		audit   []string
		after   string // in the first target
	}{
		"apply creates": {
			targets: []string{"open-new"}, body: actionBody("apply", "", text("open-new", "1")), outcome: api.ActionOutcomeDone,
			says: "+  key: \"1\"", audit: []string{"apply open-new done (dry run)", "apply open-new done"}, after: `"key":"1"`,
		},
		"apply changes": {
			before:  []string{`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "` + c.namespace + `", "name": "open-old"}, "data": {"other": "1"}}`},
			targets: []string{"open-old"}, body: actionBody("apply", "", text("open-old", "2")), outcome: api.ActionOutcomeDone,
			says: "allows patch ConfigMap", audit: []string{"apply open-old done (dry run)", "apply open-old done"}, after: `"other":"1"`,
		},
		"apply of what is so": {
			before: []string{text("open-same", "1")}, targets: []string{"open-same"}, body: actionBody("apply", "", text("open-same", "1")),
			outcome: api.ActionOutcomeUnchanged, audit: []string{"apply open-same unchanged"}, after: `"key":"1"`,
		},
		"dry run": {
			targets: []string{"open-dry"}, body: actionBody("apply", `, "dryRun": true`, text("open-dry", "1")), outcome: api.ActionOutcomeDone,
			says: "+  key: \"1\"", audit: []string{"apply open-dry done (dry run)"},
		},
		"ready": {
			targets: []string{"open-wait"}, body: actionBody("apply", `, "waitSeconds": 5`, text("open-wait", "1")), outcome: api.ActionOutcomeDone,
			audit: []string{"apply open-wait done (dry run)", "apply open-wait done"}, after: `"key":"1"`,
		},
		"not allowed": {
			targets: []string{"other"}, body: actionBody("apply", "", text("other", "1")), outcome: api.ActionOutcomeRefused,
			says: "no rule allows create ConfigMap " + c.namespace + "/other for caller ci", audit: []string{"apply other refused"},
		},
		"denied": {
			before: []string{text("frozen-a", "1")}, targets: []string{"frozen-a"}, body: actionBody("get", "", ref("frozen-a")),
			outcome: api.ActionOutcomeRefused, says: "team/resources/0 denies get", audit: []string{"get frozen-a refused"}, after: `"key":"1"`,
		},
		"no rights": { // The policy would let it, but it is none of the task's targets.
			body: actionBody("apply", "", text("open-strange", "1")), outcome: api.ActionOutcomeRefused,
			says: "cannot get resource", audit: []string{"apply open-strange refused"},
		},
		"condition holds": {
			targets: []string{"small-a"}, body: actionBody("apply", "", text("small-a", "1")), outcome: api.ActionOutcomeDone,
			audit: []string{"apply small-a done (dry run)", "apply small-a done"}, after: `"key":"1"`,
		},
		"condition does not hold": {
			targets: []string{"small-b"}, body: actionBody("apply", "", text("small-b", "12345")), outcome: api.ActionOutcomeRefused,
			says: "no rule allows create", audit: []string{"apply small-b refused"},
		},
		"conflict": {
			before: []string{text("open-owned", "1")}, targets: []string{"open-owned"}, body: actionBody("apply", "", text("open-owned", "2")),
			outcome: api.ActionOutcomeConflict, says: ".data.key belongs to somebody", audit: []string{"apply open-owned conflict"}, after: `"key":"1"`,
		},
		"force refused": {
			before: []string{text("open-force", "1")}, targets: []string{"open-force"}, body: actionBody("apply", `, "force": true`, text("open-force", "2")),
			outcome: api.ActionOutcomeRefused, says: "does not allow force", audit: []string{"apply open-force refused"}, after: `"key":"1"`,
		},
		"force allowed": {
			before: []string{text("forced-a", "1")}, targets: []string{"forced-a"}, body: actionBody("apply", `, "force": true`, text("forced-a", "2")),
			outcome: api.ActionOutcomeDone, audit: []string{"apply forced-a done (dry run)", "apply forced-a done"}, after: `"key":"2"`,
		},
		"delete": {
			before: []string{text("open-delete", "1")}, targets: []string{"open-delete"}, body: actionBody("delete", "", ref("open-delete")),
			outcome: api.ActionOutcomeDone, says: "-  key: \"1\"", audit: []string{"delete open-delete done (dry run)", "delete open-delete done"},
		},
		"delete of nothing": {
			targets: []string{"open-none"}, body: actionBody("delete", "", ref("open-none")), outcome: api.ActionOutcomeUnchanged,
			audit: []string{"delete open-none unchanged"},
		},
		"delete refused": {
			before: []string{text("forced-b", "1")}, targets: []string{"forced-b"}, body: actionBody("delete", "", ref("forced-b")),
			outcome: api.ActionOutcomeRefused, says: "no rule allows delete", audit: []string{"delete forced-b refused"}, after: `"key":"1"`,
		},
		"get": {
			before: []string{text("open-get", "1")}, targets: []string{"open-get"}, body: actionBody("get", "", ref("open-get")),
			outcome: api.ActionOutcomeDone, says: "allows get", audit: []string{"get open-get done"}, after: `"key":"1"`,
		},
		"get of nothing": {
			targets: []string{"open-nothing"}, body: actionBody("get", "", ref("open-nothing")), outcome: api.ActionOutcomeFailed,
			says: "There is no ConfigMap", audit: []string{"get open-nothing failed"},
		},
		"diff": {
			before:  []string{`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "` + c.namespace + `", "name": "open-diff"}}`},
			targets: []string{"open-diff"}, body: actionBody("diff", "", text("open-diff", "2")), outcome: api.ActionOutcomeDone,
			says: "+  key: \"2\"", audit: []string{"diff open-diff done"}, after: `"open-diff"`,
		},
		"unknown kind": {
			body:    actionBody("get", "", `{"apiVersion": "nothing.test/v1", "kind": "Nothing", "namespace": "`+c.namespace+`", "name": "a"}`),
			outcome: api.ActionOutcomeFailed, says: "the API server serves no kind Nothing in nothing.test/v1", audit: []string{"get a failed"},
		},
		"no namespace": {
			body:    actionBody("get", "", `{"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}`),
			outcome: api.ActionOutcomeFailed, says: "ConfigMap is a resource of a namespace", audit: []string{"get a failed"},
		},
		"of the whole cluster": {
			body:    actionBody("get", "", `{"apiVersion": "v1", "kind": "Namespace", "namespace": "`+c.namespace+`", "name": "a"}`),
			outcome: api.ActionOutcomeFailed, says: "Namespace is a resource of the whole cluster", audit: []string{"get a failed"},
		},
		"unknown field": {
			targets: []string{"open-field"},
			body:    actionBody("apply", "", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "`+c.namespace+`", "name": "open-field"}, "dta": {}}`),
			outcome: api.ActionOutcomeFailed, says: "dta: field not declared in schema", audit: []string{"apply open-field failed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, manifest := range test.before {
				c.apply("somebody", manifest)
			}
			var refs []manifest.Ref
			for _, target := range test.targets {
				refs = append(refs, c.configMap(target))
			}
			k := a.acting(c, a.policy, refs...)
			got := k.ask(t, test.body)[0]
			if got.Outcome != test.outcome || !strings.Contains(got.Error+got.Diff+got.Decision.Reason, test.says) {
				t.Errorf("got %+v", got)
			}
			if audited := k.audited(); !slices.Equal(audited, test.audit) {
				t.Errorf("the audit has %q, want %q", audited, test.audit)
			}
			if len(refs) == 0 {
				return
			}
			if live := c.live(refs[0]); !strings.Contains(live, test.after) || (live != "") != (test.after != "") {
				t.Errorf("there is %q, want one with %q", live, test.after)
			}
		})
	}
}

// What a task did can be told by the audit and by the resource's managedFields.
func TestActionIsTheTasks(t *testing.T) {
	t.Parallel()
	a := setupArena(t)
	k := a.acting(a.cluster, a.policy, a.cluster.configMap("open-a"))
	got := k.ask(t, actionBody("apply", `, "waitSeconds": 5`, a.cluster.configMapText("open-a", "1")))[0]
	if got.Ready == nil || !*got.Ready || got.DiffDigest == "" || got.Decision.Rule != "team/resources/2" || got.Decision.PolicyVersion != a.policy.Version {
		t.Errorf("got %+v", got)
	}
	if live := a.cluster.live(a.cluster.configMap("open-a")); !strings.Contains(live, `"manager":"graf-task-`+k.id.String()) {
		t.Errorf("got %s", live)
	}
	row := one[string](a.world, `SELECT concat_ws(' ', actor, attempt, verb, resource->>'kind', resource->>'namespace', force, rule, policy_version, diff_digest)
		FROM codex_task_actions WHERE task_id = $1 AND NOT dry_run`, k.id)
	if want := fmt.Sprintf("attempt 1 1 apply ConfigMap %s f team/resources/2 %s %s", a.cluster.namespace, a.policy.Version, got.DiffDigest); row != want {
		t.Errorf("got  %s\nwant %s", row, want)
	}
}

// One action that cannot be taken leaves all as it was.
func TestAllOrNothing(t *testing.T) {
	t.Parallel()
	a := setupArena(t)
	c := a.cluster
	k := a.acting(c, a.policy, c.configMap("open-a"), c.configMap("careful-a"), c.configMap("open-b"))
	got := k.ask(t, actionBody("apply", "", c.configMapText("open-a", "1"), c.configMapText("other", "1"), c.configMapText("careful-a", "1")))
	outcomes := []api.ActionOutcome{got[0].Outcome, got[1].Outcome, got[2].Outcome}
	want := []api.ActionOutcome{api.ActionOutcomeUnchanged, api.ActionOutcomeRefused, api.ActionOutcomeAwaitingApproval}
	if !slices.Equal(outcomes, want) || !strings.Contains(got[0].Error, "not all of the request") || c.live(c.configMap("open-a")) != "" {
		t.Errorf("got %+v", got)
	}
	// Reading is each by itself.
	c.apply("somebody", c.configMapText("open-b", "1"))
	got = k.ask(t, actionBody("get", "", reference(c.configMap("frozen-x")), reference(c.configMap("open-b"))))
	if got[0].Outcome != api.ActionOutcomeRefused || got[1].Outcome != api.ActionOutcomeDone || !strings.Contains(string(got[1].Manifest), `"key":"1"`) {
		t.Errorf("got %+v", got)
	}
}

// The data of a Secret is in no answer, error or row.
func TestSecretsStayHidden(t *testing.T) {
	t.Parallel()
	a := setupArena(t)
	c := a.cluster
	ref := manifest.Ref{APIVersion: "v1", Kind: "Secret", Namespace: c.namespace, Name: "open-secret"}
	k := a.acting(c, a.policy, ref)
	secret := func(field, value string) string {
		return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": %q, "name": "open-secret"}, %q: {"word": %s}}`, c.namespace, field, value)
	}
	for _, body := range []string{
		actionBody("apply", "", secret("stringData", `"swordfish-1"`)), actionBody("get", "", reference(ref)),
		actionBody("diff", `, "force": true`, secret("stringData", `"swordfish-2"`)), actionBody("apply", "", secret("data", `"swordfish-3 is no base64"`)),
		actionBody("apply", "", secret("data", `["swordfish-4"]`)), actionBody("delete", "", reference(ref)),
	} {
		_, data := a.request(http.MethodPost, k.path(), k.token, body)
		if strings.Contains(string(data), "swordfish") || strings.Contains(string(data), "c3dvcmRmaXNo") {
			t.Errorf("%s: %s", body, data)
		}
	}
	if n := one[int](a.world, "SELECT count(*) FROM codex_task_actions WHERE task_id = $1 AND codex_task_actions::text LIKE '%swordfish%'", k.id); n != 0 {
		t.Errorf("%d rows of the audit have it", n)
	}
	if !slices.Contains(k.audited(), "apply open-secret done") || !slices.Contains(k.audited(), "delete open-secret done") {
		t.Errorf("got %q", k.audited())
	}
}

// What the request itself creates first cannot be tried by a dry run.
func TestDependentsComeAfterWhatTheyNeed(t *testing.T) {
	t.Parallel()
	a := setupArena(t)
	c := a.cluster
	group := "t" + uuid.NewString()[:8] + ".example.test"
	definition := manifest.Ref{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "things." + group}
	thing := manifest.Ref{APIVersion: group + "/v1", Kind: "Thing", Namespace: c.namespace, Name: "open-thing"}
	p, err := policy.Parse([]byte(strings.ReplaceAll(rules(c.namespace), "example.test", group)))
	if err != nil {
		t.Fatal(err)
	}
	w := setup(t, c.settings(writePolicy(t, p.Text))...)
	k := w.acting(c, p, definition)
	thingText := fmt.Sprintf(`{"apiVersion": %q, "kind": "Thing", "metadata": {"namespace": %q, "name": "open-thing"}, "spec": {"size": 3}}`, thing.APIVersion, c.namespace)
	definitionText := fmt.Sprintf(`{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": %q},
		"spec": {"group": %q, "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
		"versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}`,
		definition.Name, group)
	t.Cleanup(func() {
		if err := c.admin.Remove(context.Background(), definition, kube.RemoveOptions{}); err != nil {
			t.Error(err)
		}
	})
	dry := k.ask(t, actionBody("apply", `, "dryRun": true`, thingText, definitionText))
	if dry[0].Outcome != api.ActionOutcomeDone || !strings.Contains(dry[0].Error, "Not checked by a dry run: it needs CustomResourceDefinition things."+group) || dry[1].Error != "" {
		t.Errorf("the dry run: %+v", dry)
	}
	// Grant cannot give rights on a kind that nobody serves yet.
	account := kube.RightsSpec{TaskID: k.id.String(), Attempt: 1, Suffix: kube.ActionsSuffix}.Name()
	c.apply("admin", fmt.Sprintf(`{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"namespace": %q, "name": "things"},
		"rules": [{"apiGroups": [%q], "resources": ["things"], "verbs": ["get", "create", "patch"]}]}`, c.namespace, group))
	c.apply("admin", fmt.Sprintf(`{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"namespace": %q, "name": "things"},
		"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "things"},
		"subjects": [{"kind": "ServiceAccount", "name": %q, "namespace": %q}]}`, c.namespace, account, c.namespace))
	got := k.ask(t, actionBody("apply", "", thingText, definitionText))
	if got[0].Outcome != api.ActionOutcomeDone || got[0].Error != "" || got[1].Outcome != api.ActionOutcomeDone || !strings.Contains(c.live(thing), `"size":3`) {
		t.Errorf("got %+v", got)
	}
	if audited := k.audited(); !slices.Equal(audited[2:], []string{"apply " + definition.Name + " done (dry run)", "apply open-thing done (dry run)",
		"apply " + definition.Name + " done", "apply open-thing done"}) {
		t.Errorf("the audit has %q", audited)
	}
}

// A namespace that is being deleted takes nothing new.
func TestNamespaceBeingDeleted(t *testing.T) {
	t.Parallel()
	a := setupArena(t)
	c := a.cluster
	namespace := manifest.Ref{APIVersion: "v1", Kind: "Namespace", Name: c.namespace}
	k := a.acting(c, a.policy, c.configMap("open-late"))
	// It is kept from being gone at once.
	held := strings.Replace(c.configMapText("held", "1"), `"name"`, `"finalizers": ["example.test/held"], "name"`, 1)
	c.apply("somebody", held)
	t.Cleanup(func() { c.apply("somebody", c.configMapText("held", "1")) }) // lets it go
	if err := c.admin.Remove(c.context, namespace, kube.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	got := k.ask(t, actionBody("apply", "", c.configMapText("open-late", "1")))[0]
	if got.Outcome != api.ActionOutcomeRefused || !strings.Contains(got.Error, "forbidden") || c.live(c.configMap("open-late")) != "" {
		t.Errorf("got %+v", got)
	}
}

// Without an API server the answer is 503, and the audit has that it was asked for.
func TestClusterAway(t *testing.T) {
	t.Parallel()
	away := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(away.Close)
	w := setup(t, "KUBECONFIG", writeKubeconfig(t, away.URL), "GRAF_POLICY_FILE", writePolicy(t, rules("shop")), "GRAF_KUBERNETES_TIMEOUT", "300ms")
	k := w.acting(nil, nil)
	body := actionBody("get", "", `{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "frozen-a"}`,
		`{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "a"}`, `{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "b"}`)
	status, data := w.request(http.MethodPost, k.path(), k.token, body)
	if p := wantProblem(t, status, data, problem.ErrUnavailable); !strings.Contains(p.Detail, "0 of 3 actions were done") {
		t.Errorf("it says %q", p.Detail)
	}
	if got := k.audited(); !slices.Equal(got, []string{"get frozen-a refused", "get a failed"}) {
		t.Errorf("the audit has %q", got)
	}
}

func TestRequestsForActionsRefused(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k, other, waiting, again := w.acting(nil, nil), w.running(), w.task(), w.running()
	old := w.token(again, "attempt 1")
	w.move(again, "finalizing", "queued", "launching", "running")
	good := actionBody("get", "", `{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "a"}`)
	configMap := `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "a"}, "data": {"key": "%s"}}`
	named := func(name string) string {
		return actionBody("apply", "", fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": %q}}`, name))
	}
	for name, test := range map[string]struct {
		task        task
		token, body string
		kind        *problem.Kind
		says        string
	}{
		"no token":            {k.task, "", good, problem.ErrUnauthenticated, ""},
		"API token":           {k.task, apiToken, good, problem.ErrForbidden, "task's own token"},
		"another task":        {other, k.token, good, problem.ErrForbidden, "another task"},
		"waits":               {waiting, waiting.token, good, problem.ErrConflict, "The task is queued"},
		"earlier attempt":     {again, old, good, problem.ErrConflict, "attempt 1, which is over; attempt 2 runs"},
		"5 MiB":               {k.task, k.token, actionBody("apply", "", fmt.Sprintf(configMap, strings.Repeat("x", 5<<20))), problem.ErrTooLarge, "4456448"},
		"more than 4 MiB":     {k.task, k.token, actionBody("apply", "", fmt.Sprintf(configMap, strings.Repeat("x", 4<<20))), problem.ErrInvalid, "4194304"},
		"malformed":           {k.task, k.token, `{"action": "apply", "manifests": [`, problem.ErrBadRequest, "line 1"},
		"no manifests":        {k.task, k.token, `{"action": "apply"}`, problem.ErrInvalid, "required"},
		"manifests to get":    {k.task, k.token, `{"action": "get", "manifests": [` + fmt.Sprintf(configMap, "1") + `]}`, problem.ErrInvalid, ""},
		"no resource":         {k.task, k.token, actionBody("apply", "", `{"kind": "ConfigMap"}`), problem.ErrInvalid, "/manifests/0/apiVersion"},
		"all of a kind":       {k.task, k.token, actionBody("delete", "", `{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop"}`), problem.ErrInvalid, "must name one resource"},
		"twice":               {k.task, k.token, actionBody("apply", "", fmt.Sprintf(configMap, "1"), fmt.Sprintf(configMap, "2")), problem.ErrInvalid, "there already"},
		"name with a slash":   {k.task, k.token, named("../../secrets/a"), problem.ErrInvalid, "/manifests/0"},
		"name of a folder up": {k.task, k.token, named(".."), problem.ErrInvalid, "/manifests/0"},
		"waits too long":      {k.task, k.token, strings.Replace(good, `"action"`, `"waitSeconds": 301, "action"`, 1), problem.ErrInvalid, "/waitSeconds"},
	} {
		t.Run(name, func(t *testing.T) {
			status, data := w.request(http.MethodPost, acting{task: test.task}.path(), test.token, test.body)
			wantProblem(t, status, data, test.kind)
			if !strings.Contains(string(data), test.says) {
				t.Errorf("it says %s, want %q in it", data, test.says)
			}
		})
	}
	if n := one[int](w, "SELECT count(*) FROM codex_task_actions"); n != 0 {
		t.Errorf("%d actions were taken", n)
	}
}

// Without a policy everything is refused, before the cluster is asked.
func TestNothingIsAllowedWithoutAPolicy(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.acting(nil, nil)
	got := k.ask(t, actionBody("get", "", `{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "a"}`))[0]
	if got.Outcome != api.ActionOutcomeRefused || !slices.Equal(k.audited(), []string{"get a refused"}) {
		t.Errorf("got %+v, %q", got, k.audited())
	}
}

// A change that is under way is noted, so that the task's end waits for it; one that comes after the end, or after a cancellation, is refused.
func TestChangesAreNoted(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	var a *arena
	var noted []int
	proxy := c.proxy(func(r *http.Request) {
		if r.Method == http.MethodPatch {
			noted = append(noted, one[int](a.world, "SELECT count(*) FROM codex_task_acting"))
		}
	})
	a = setupArenaOn(t, c, "KUBECONFIG", proxy)
	k := a.acting(c, a.policy, c.configMap("open-a"))
	k.ask(t, actionBody("apply", `, "dryRun": true`, c.configMapText("open-a", "1")))
	k.ask(t, actionBody("apply", "", c.configMapText("open-a", "1")))
	if !slices.Equal(noted, []int{0, 1, 1}) { // a dry run, and a change after one
		t.Errorf("noted were %v", noted)
	}
	if n := one[int](a.world, "SELECT count(*) FROM codex_task_acting"); n != 0 {
		t.Errorf("%d are noted still", n)
	}
	change := actionBody("apply", "", c.configMapText("open-a", "2"))
	a.exec("UPDATE codex_tasks SET cancel_requested_at = now(), cancel_requested_by = 'ops' WHERE id = $1", k.id)
	status, data := a.request(http.MethodPost, k.path(), k.token, change)
	wantProblem(t, status, data, problem.ErrConflict)
	k.ask(t, actionBody("get", "", reference(c.configMap("open-a")))) // which changes nothing
	a.move(k.task, "finalizing")
	status, data = a.request(http.MethodPost, k.path(), k.token, change)
	wantProblem(t, status, data, problem.ErrConflict)
}

// What is of the same name as what was looked at, but was made since, is not deleted: nobody has decided on that.
func TestDeleteOfAnotherOfItsName(t *testing.T) {
	t.Parallel()
	for name, which := range map[string]int{"before the dry run": 1, "after it": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			ref := c.configMap("open-a")
			deletes := 0
			proxy := c.proxy(func(r *http.Request) {
				if r.Method != http.MethodDelete {
					return
				}
				if deletes++; deletes != which {
					return
				}
				if err := c.admin.Remove(t.Context(), ref, kube.RemoveOptions{}); err != nil {
					t.Error(err)
				}
				c.collect(ref)
				c.apply("somebody", c.configMapText("open-a", "another"))
			})
			a := setupArenaOn(t, c, "KUBECONFIG", proxy)
			c.apply("somebody", c.configMapText("open-a", "1"))
			k := a.acting(c, a.policy, ref)
			got := k.ask(t, actionBody("delete", "", reference(ref)))
			if got[0].Outcome != api.ActionOutcomeConflict {
				t.Errorf("is %s: %s", got[0].Outcome, got[0].Error)
			}
			if live := c.live(ref); !strings.Contains(live, "another") {
				t.Errorf("there is %q, want the other", live)
			}
		})
	}
}

// What was there when the policy was asked, and so was not to be created, is not created when it goes meanwhile; nor is
// another of its name changed.
func TestApplyToWhatGoesMeanwhile(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"gone": false, "another": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			ref := c.configMap("open-a")
			patches := 0
			proxy := c.proxy(func(r *http.Request) {
				if r.Method != http.MethodPatch {
					return
				}
				if patches++; patches != 2 { // after the dry run
					return
				}
				if err := c.admin.Remove(t.Context(), ref, kube.RemoveOptions{}); err != nil {
					t.Error(err)
				}
				c.collect(ref)
				if again {
					c.apply("somebody", c.configMapText("open-a", "1"))
				}
			})
			a := setupArenaOn(t, c, "KUBECONFIG", proxy)
			c.apply("somebody", c.configMapText("open-a", "1"))
			k := a.acting(c, a.policy, ref)
			content := strings.Replace(c.configMapText("open-a", "1"), `"key"`, `"mine"`, 1)
			got := k.ask(t, actionBody("apply", "", content))
			if got[0].Outcome != api.ActionOutcomeConflict {
				t.Errorf("is %s: %s", got[0].Outcome, got[0].Error)
			}
			if live := c.live(ref); strings.Contains(live, "mine") || (live != "") != again {
				t.Errorf("there is %s", live)
			}
		})
	}
}
