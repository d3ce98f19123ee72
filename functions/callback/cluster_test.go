package callback_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/policy"
)

// writeKubeconfig writes one for a server that asks for no credentials.
func writeKubeconfig(t testing.TB, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": [{"name": "c", "cluster": {"server": %q}}], "users": [{"name": "c", "user": {}}],
		"contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}`, server)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// cluster is a namespace of a real API server, which is the test's own.
type cluster struct {
	t         testing.TB
	context   context.Context
	server    *kubetest.Cluster
	admin     *kube.Client
	namespace string
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	server := kubetest.Open(t)
	return &cluster{t: t, context: ctx, server: server, admin: server.Client(t), namespace: server.Namespace}
}

func content(t testing.TB, text string) map[string]any {
	t.Helper()
	return decode[map[string]any](t, []byte(text))
}

// apply applies a manifest as somebody else than a task.
func (c *cluster) apply(fieldManager, text string) {
	c.t.Helper()
	_, err := c.admin.Apply(c.context, content(c.t, text), kube.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		c.t.Fatal(err)
	}
}

// live is a resource as it is, "" if there is none, or it is being deleted.
func (c *cluster) live(ref manifest.Ref) string {
	c.t.Helper()
	o, err := c.admin.Live(c.context, ref)
	if err != nil {
		c.t.Fatal(err)
	}
	if o == nil || o.GetDeletionTimestamp() != nil {
		return ""
	}
	text, err := json.Marshal(o.Object)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// configMap is one of the test's namespace.
func (c *cluster) configMap(name string) manifest.Ref {
	return manifest.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: c.namespace, Name: name}
}

// configMapText is its manifest.
func (c *cluster) configMapText(name, value string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": %q, "name": %q}, "data": {"key": %q}}`,
		c.namespace, name, value)
}

// settings are those of a function that carries out actions in the namespace.
func (c *cluster) settings(policyFile string) []string {
	return []string{"KUBECONFIG", c.server.Config().Kubeconfig, "GRAF_EXECUTION_NAMESPACE", c.namespace, "GRAF_POLICY_FILE", policyFile}
}

// collect removes what is deleted in the foreground, as nobody collects garbage here.
func (c *cluster) collect(ref manifest.Ref) {
	c.t.Helper()
	resource := c.server.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(ref.Namespace)
	_, err := resource.Patch(c.context, ref.Name, types.MergePatchType, []byte(`{"metadata": {"finalizers": null}}`), metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		c.t.Error(err)
	}
}

// proxy is the kubeconfig of the API server behind one that shows each request first.
func (c *cluster) proxy(show func(*http.Request)) string {
	c.t.Helper()
	settings, err := c.server.Config().REST()
	if err != nil {
		c.t.Fatal(err)
	}
	transport, err := rest.TransportFor(settings)
	if err != nil {
		c.t.Fatal(err)
	}
	target, err := url.Parse(settings.Host)
	if err != nil {
		c.t.Fatal(err)
	}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			show(r.In)
			r.SetURL(target)
		},
		Transport: transport,
	})
	c.t.Cleanup(server.Close)
	return writeKubeconfig(c.t, server.URL)
}

func writePolicy(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func resourceOf(ref manifest.Ref) policy.Resource {
	return policy.Resource{APIGroup: ref.Identity().APIVersion, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
}

// grant makes the identity of a task's first attempt.
func (c *cluster) grant(p *policy.Policy, taskID uuid.UUID, suffix string, refs ...manifest.Ref) kube.RightsSpec {
	c.t.Helper()
	var targets []grant.Target
	for _, ref := range refs {
		targets = append(targets, grant.Target{APIVersion: ref.APIVersion, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name})
	}
	grants := p.Grants(policy.Task{Caller: "ci", ID: taskID.String(), Mode: "direct", Priority: 5, Tags: []string{"demo"}}, targets)
	spec, actions := kube.Identities(taskID.String(), 1, c.namespace, grants)
	if suffix == kube.ActionsSuffix {
		spec = actions
	}
	if err := c.admin.Grant(c.context, spec); err != nil {
		c.t.Fatal(err)
	}
	c.awaitRights(spec)
	return spec
}

// awaitRights waits until the API server, which learns of roles by watching them, knows the rights.
func (c *cluster) awaitRights(spec kube.RightsSpec) {
	c.t.Helper()
	client := c.as(spec)
	for _, right := range spec.Rights {
		for slices.Contains(right.Verbs, policy.VerbGet) {
			_, err := client.Live(c.context, manifest.Ref{APIVersion: right.APIVersion, Kind: right.Kind, Namespace: right.Namespace, Name: right.Name})
			if err == nil {
				break
			}
			if !errors.Is(err, kube.ErrForbidden) {
				c.t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (c *cluster) as(spec kube.RightsSpec) *kube.Client {
	c.t.Helper()
	client, err := c.admin.As(spec.Namespace, spec.Name())
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// acting is a task whose execution asks for actions.
type acting struct {
	task
	w *world
}

// acting makes a task that runs, with rights on the resources.
func (w *world) acting(c *cluster, p *policy.Policy, refs ...manifest.Ref) acting {
	w.t.Helper()
	k := w.running()
	k.token = w.token(k, "attempt 1")
	if c != nil {
		c.grant(p, k.id, kube.ActionsSuffix, refs...)
	}
	return acting{task: k, w: w}
}

func (a acting) path() string { return "/v1/codex/tasks/" + a.id.String() + "/actions" }

// ask sends a request that must be answered with results.
func (a acting) ask(t testing.TB, body string) []api.ActionResult {
	t.Helper()
	status, data := a.w.request(http.MethodPost, a.path(), a.token, body)
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, data)
	}
	return decode[api.ActionResults](t, data).Results
}

// audited lists what the audit has of the task, as "verb name outcome", dry runs marked.
func (a acting) audited() []string {
	return one[[]string](a.w, `SELECT coalesce(array_agg(verb || ' ' || (resource->>'name') || ' ' || outcome ||
		CASE WHEN dry_run THEN ' (dry run)' ELSE '' END ORDER BY id), '{}') FROM codex_task_actions WHERE task_id = $1`, a.id)
}

// request is a body for an action, on manifests or on references.
func actionBody(action, rest string, items ...string) string {
	field := "manifests"
	if action == "get" || action == "delete" {
		field = "resources"
	}
	return fmt.Sprintf(`{"action": %q, %q: [%s]%s}`, action, field, strings.Join(items, ","), rest)
}

func reference(ref manifest.Ref) string {
	text := fmt.Sprintf(`{"apiVersion": %q, "kind": %q, "name": %q`, ref.APIVersion, ref.Kind, ref.Name)
	if ref.Namespace != "" {
		text += fmt.Sprintf(`, "namespace": %q`, ref.Namespace)
	}
	return text + "}"
}
