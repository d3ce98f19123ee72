package kubernetes_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"

	"github.com/graf-run/graf/local/kubernetes"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kube/conformance"
)

const (
	jobsPath    = "/apis/batch/v1/namespaces/" + namespace + "/jobs"
	secretsPath = "/api/v1/namespaces/" + namespace + "/secrets"
	podsPath    = "/api/v1/namespaces/" + namespace + "/pods"
)

// Parts of Jobs' pod templates.
const (
	noop           = `"containers": [{"name": "c", "command": ["true"]}]`
	waitsForSecret = `"containers": [{"name": "c", "command": ["sh", "-c", "test \"$WORD\" = hello"],
		"env": [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "late", "key": "word"}}}]}]`
)

func jobJSON(name, pod string) string {
	return fmt.Sprintf(`{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": %q, "labels": {
		"graf.dev/task-id": "t", "graf.dev/attempt": "1"}}, "spec": {"backoffLimit": 0, "activeDeadlineSeconds": 60,
		"template": {"spec": {"restartPolicy": "Never", %s}}}}`, name, pod)
}

// call sends a request with the cluster's token and returns the answer's status and body.
func call(t *testing.T, cluster *kubernetes.Cluster, method, path, body string) (int, string) {
	t.Helper()
	return callAs(t, cluster, cluster.Token(), method, path, "application/json", body)
}

func callAs(t *testing.T, cluster *kubernetes.Cluster, token, method, path, kind, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(conformance.Context(t), method, cluster.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", kind)
	response, err := clientOf(t, cluster).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// clientOf trusts the cluster's certificate.
func clientOf(t *testing.T, cluster *kubernetes.Cluster) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cluster.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func create(t *testing.T, cluster *kubernetes.Cluster, path, body string) metav1.PartialObjectMetadata {
	t.Helper()
	var created metav1.PartialObjectMetadata
	code, answer := call(t, cluster, http.MethodPost, path, body)
	if err := json.Unmarshal([]byte(answer), &created); err != nil || code != http.StatusCreated {
		t.Fatalf("POST %s: %d %s", path, code, answer)
	}
	return created
}

func createJob(t *testing.T, cluster *kubernetes.Cluster, name, pod string) kube.Execution {
	t.Helper()
	created := create(t, cluster, jobsPath, jobJSON(name, pod))
	return kube.Execution{Kind: "Job", Name: name, Namespace: namespace, UID: string(created.UID)}
}

func createSecret(t *testing.T, cluster *kubernetes.Cluster, name string) {
	t.Helper()
	create(t, cluster, secretsPath, fmt.Sprintf(`{"metadata": {"name": %q}, "stringData": {"word": "hello"}}`, name))
}

func TestPodWaitsForItsSecret(t *testing.T) {
	t.Parallel()
	cluster := start(t, options(t.TempDir(), nil))
	job := createJob(t, cluster, "early", waitsForSecret)
	if _, pods := call(t, cluster, http.MethodGet, podsPath, ""); !strings.Contains(pods, `"phase":"Pending"`) {
		t.Errorf("the pod does not wait: %s", pods)
	}
	createSecret(t, cluster, "late")
	target := targetOf(cluster)
	if end := target.AwaitEnd(conformance.Context(t), t, job); end.Phase != kube.PhaseSucceeded {
		t.Errorf("got %+v", end)
	}
}

func TestPendingPodEnds(t *testing.T) {
	t.Parallel()
	cluster := start(t, options(t.TempDir(), nil))
	job := createJob(t, cluster, "never", waitsForSecret)
	if err := targetOf(cluster).Client(t).Delete(conformance.Context(t), job); err != nil {
		t.Fatal(err)
	}
	late := createJob(t, cluster, "overdue", waitsForSecret+`, "volumes": []}}, "activeDeadlineSeconds": 1, "x": {"y": {"z": 1`)
	target := targetOf(cluster)
	if end := target.AwaitEnd(conformance.Context(t), t, late); end.Phase != kube.PhaseDeadlineExceeded {
		t.Errorf("got %+v", end)
	}
}

func TestTimeToLive(t *testing.T) {
	t.Parallel()
	notify, taken := recorder()
	cluster := start(t, options(t.TempDir(), notify))
	target := targetOf(cluster)
	spec := target.Spec("exit 0")
	spec.TTL = time.Second
	conformance.Launch(t, target.Client(t), spec)
	for _, want := range []string{kubernetes.VerbAdd, kubernetes.VerbUpdate, kubernetes.VerbDelete} {
		if got := next(t, taken); got.verb != want {
			t.Fatalf("got %+v, want %s", got, want)
		}
	}
	for _, path := range []string{jobsPath, podsPath, secretsPath} {
		if _, left := call(t, cluster, http.MethodGet, path, ""); !strings.Contains(left, `"items":[]`) {
			t.Errorf("%s: %s", path, left)
		}
	}
}

func TestMissingOwner(t *testing.T) {
	t.Parallel()
	cluster := start(t, options(t.TempDir(), nil))
	create(t, cluster, secretsPath, `{"metadata": {"name": "orphan", "ownerReferences": [
		{"apiVersion": "batch/v1", "kind": "Job", "name": "gone", "uid": "gone"}]}}`)
	if code, _ := call(t, cluster, http.MethodGet, secretsPath+"/orphan", ""); code != http.StatusNotFound {
		t.Errorf("an object whose owner is gone stays: %d", code)
	}
}

func TestLimitOfPods(t *testing.T) {
	t.Parallel()
	o := options(t.TempDir(), nil)
	o.MaxPods = 1
	target, path := targetOf(start(t, o)), pipe(t)
	client := target.Client(t)
	first := conformance.Launch(t, client, target.Spec("exec 3>"+path+"; echo running >&3; sleep 600"))
	reader := awaitRunning(t, path)
	second := conformance.Launch(t, client, target.Spec("exit 0"))
	if got, err := client.Termination(conformance.Context(t), second); err != nil || got.Reason != "ContainerCreating" {
		t.Errorf("the second pod does not wait: %+v, %v", got, err)
	}
	if err := client.Delete(conformance.Context(t), first); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, reader)
	if end := target.AwaitEnd(conformance.Context(t), t, second); end.Phase != kube.PhaseSucceeded {
		t.Errorf("got %+v", end)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	cluster := start(t, options(t.TempDir(), nil))
	createSecret(t, cluster, "taken")
	escape := `"containers": [{"name": "c", "command": ["true"]}], "volumes": [
		{"name": "v", "secret": {"secretName": "s", "items": [{"key": "k", "path": "../../k"}]}}]`
	for name, c := range map[string]struct {
		method, path, body string
		code               int
		message            string
	}{
		"unknown object":    {"GET", jobsPath + "/none", "", 404, `jobs.batch \"none\" not found`},
		"unknown namespace": {"POST", "/api/v1/namespaces/none/secrets", `{"metadata": {"name": "s"}}`, 404, "namespaces"},
		"unknown type":      {"GET", "/apis/apps/v1/deployments", "", 404, "does not serve"},
		"name is taken":     {"POST", secretsPath, `{"metadata": {"name": "taken"}}`, 409, "AlreadyExists"},
		"no name":           {"POST", secretsPath, `{}`, 422, "metadata.name"},
		"bad key":           {"POST", secretsPath, `{"metadata": {"name": "s"}, "stringData": {"../k": ""}}`, 422, "data["},
		"other kind":        {"POST", secretsPath, `{"kind": "Pod", "apiVersion": "v1"}`, 400, "the path is for"},
		"other namespace":   {"POST", secretsPath, `{"metadata": {"namespace": "default"}}`, 400, "namespace"},
		"malformed":         {"POST", jobsPath, `{"spec": `, 400, "JSON"},
		"wrong type":        {"POST", jobsPath, `{"spec": 1}`, 400, "JSON"},
		"too large":         {"POST", secretsPath, `{"a": "` + strings.Repeat("a", 3<<20) + `"}`, 413, "limit"},
		"no command":        {"POST", jobsPath, jobJSON("j", `"containers": [{"name": "c"}]`), 422, "command"},
		"two containers":    {"POST", jobsPath, jobJSON("j", `"containers": [{}, {}]`), 422, "one container"},
		"escaping volume":   {"POST", jobsPath, jobJSON("j", escape), 422, "without .."},
		"label selector":    {"GET", jobsPath + "?labelSelector=" + url.QueryEscape("a in b"), "", 400, "labelSelector"},
		"field selector":    {"GET", jobsPath + "?fieldSelector=status.x%3D1", "", 400, "metadata.name"},
		"future version":    {"GET", jobsPath + "?watch=1&resourceVersion=x", "", 400, "resourceVersion"},
		"update":            {"PUT", secretsPath + "/taken", `{}`, 405, "MethodNotAllowed"},
		"dry run":           {"POST", secretsPath + "?dryRun=All", `{"metadata": {"name": "s"}}`, 400, "dryRun"},
		"dry deletion":      {"DELETE", secretsPath + "/taken?dryRun=All", "", 400, "dryRun"},
		"orphaning":         {"DELETE", secretsPath + "/taken", `{"propagationPolicy": "Orphan"}`, 400, "orphaned"},
		"orphaning all":     {"DELETE", secretsPath + "?propagationPolicy=Orphan", "", 400, "orphaned"},
		"deleting some":     {"DELETE", secretsPath + "?labelSelector=" + url.QueryEscape("a in b"), "", 400, "labelSelector"},
		"precondition":      {"DELETE", secretsPath + "/taken", `{"preconditions": {"uid": "x"}}`, 409, "another uid"},
		"namespace removal": {"DELETE", "/api/v1/namespaces/default", "", 405, "MethodNotAllowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, answer := call(t, cluster, c.method, c.path, c.body)
			var status metav1.Status
			if err := json.Unmarshal([]byte(answer), &status); err != nil || status.Kind != "Status" {
				t.Fatalf("%d: no Status but %q", code, answer)
			}
			if code != c.code || int(status.Code) != c.code || !strings.Contains(answer, c.message) {
				t.Errorf("%d %s, want %d with %q", code, answer, c.code, c.message)
			}
		})
	}
}

func TestUnauthorized(t *testing.T) {
	t.Parallel()
	cluster := start(t, options(t.TempDir(), nil))
	for _, token := range []string{"", "wrong", cluster.Token() + "x"} {
		for _, path := range []string{jobsPath, "/version", "/api", "/unknown"} {
			code, answer := callAs(t, cluster, token, http.MethodGet, path, "application/json", "")
			if code != http.StatusUnauthorized || !strings.Contains(answer, "Unauthorized") {
				t.Errorf("%s with token %q: %d %s", path, token, code, answer)
			}
		}
	}
	if code, answer := callAs(t, cluster, cluster.Token(), http.MethodPost, secretsPath,
		"application/vnd.kubernetes.protobuf", "x"); code != http.StatusUnsupportedMediaType {
		t.Errorf("protobuf: %d %s", code, answer)
	}
}

func TestOldWatchExpires(t *testing.T) {
	t.Parallel()
	o := options(t.TempDir(), nil)
	stop(t, start(t, o))
	cluster := start(t, o)
	code, answer := call(t, cluster, http.MethodGet, jobsPath+"?watch=1&resourceVersion=1", "")
	if code != http.StatusGone || !strings.Contains(answer, "Expired") {
		t.Errorf("%d %s", code, answer)
	}
}

func TestForegroundDelete(t *testing.T) {
	t.Parallel()
	notify, taken := recorder()
	cluster, path := start(t, options(t.TempDir(), notify)), pipe(t)
	target := targetOf(cluster)
	execution := conformance.Launch(t, target.Client(t), target.Spec(stubborn(path)))
	reader := awaitRunning(t, path)
	code, answer := call(t, cluster, http.MethodDelete, jobsPath+"/"+execution.Name+"?propagationPolicy=Foreground", "")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, answer)
	}
	awaitGone(t, reader)
	for {
		if got := next(t, taken); got.verb == kubernetes.VerbDelete {
			break
		} else if got.verb == kubernetes.VerbUpdate && !got.job.Deleting {
			t.Errorf("got %+v", got)
		}
	}
}

func TestDiscoveryAndKubeconfig(t *testing.T) {
	t.Parallel()
	cluster := start(t, options(t.TempDir(), nil))
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := cluster.WriteKubeconfig(path); err != nil {
		t.Fatal(err)
	}
	config, err := kube.Config{Kubeconfig: path, Timeout: time.Minute}.REST()
	if err != nil {
		t.Fatal(err)
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, list := range lists {
		for _, resource := range list.APIResources {
			served[list.GroupVersion+"/"+resource.Name] = true
		}
	}
	for _, want := range []string{"batch/v1/jobs", "v1/pods", "v1/secrets", "v1/configmaps", "v1/namespaces"} {
		if !served[want] {
			t.Errorf("%s is not in %v", want, served)
		}
	}
}
