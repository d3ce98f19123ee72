//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/graf-run/graf/shared/api"
)

// resourceSource is the ApiServerSource of component watch.
const resourceSource = "graf-resources"

var apiServerSources = schema.GroupVersionResource{Group: "sources.knative.dev", Version: "v1", Resource: "apiserversources"}

// label says whether the arena is watched.
func (a *arena) label(t *testing.T, value string) {
	t.Helper()
	a.change(t, namespaces, "", a.namespace, func(o *unstructured.Unstructured) {
		labels := o.GetLabels()
		labels["graf.dev/watch"] = value
		o.SetLabels(labels)
	})
}

// watched has Graf watch the arena, until the test ends.
func (a *arena) watched(t *testing.T) {
	t.Helper()
	a.createAll(t, "../deploy/components/watch-namespace/rights.yaml")
	a.label(t, "true")
	// Before the rights go, without which the source is not ready.
	t.Cleanup(func() {
		a.label(t, "false")
		a.awaitWatched(t, false)
	})
	a.awaitWatched(t, true)
}

func (a *arena) awaitWatched(t *testing.T, want bool) {
	t.Helper()
	eventually(t, "the source takes up the arena, or leaves it", func() bool {
		source := a.awaitReady(t, apiServerSources, graf, resourceSource)
		names, _, _ := unstructured.NestedStringSlice(source.Object, "status", "namespaces")
		return slices.Contains(names, a.namespace) == want
	})
}

// told is what a task was told of resources of a kind so far.
func (a *arena) told(t *testing.T, id uuid.UUID, kind string) []api.ResourceChange {
	t.Helper()
	var page api.EventPage
	if a.call(t, http.MethodGet, a.urls["callback"]+"/v1/codex/tasks/"+id.String()+"/events?limit=100", nil, &page) != nil {
		return nil // the caller asks again
	}
	return changesIn(t, page.Events, kind)
}

func changesIn(t *testing.T, events []api.TaskEvent, kind string) []api.ResourceChange {
	t.Helper()
	var changes []api.ResourceChange
	for _, e := range events {
		if e.EventType != api.EventTypeResource {
			continue
		}
		var change api.ResourceChange
		must(t, json.Unmarshal(e.Content, &change))
		if change.Kind == kind {
			changes = append(changes, change)
		}
	}
	return changes
}

// probe changes the Deployment in a way that makes nothing of it, until the task is told of it: the source's
// pod is ready before it watches.
func (a *arena) probe(t *testing.T, id uuid.UUID) {
	t.Helper()
	eventually(t, "the task is told of the Deployment as it is", func() bool {
		a.change(t, deployments, a.namespace, "web", func(o *unstructured.Unstructured) {
			o.SetLabels(map[string]string{"graf.test/probe": uuid.NewString()}) // an annotation would be another generation
		})
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(glance) {
			if len(a.told(t, id, "Deployment")) > 0 {
				return true
			}
		}
		return false
	})
}

// TestWatch has a container scale a Deployment, which its stream shows getting on, as it does the Revision of a
// Knative Service; that of a task which may not read them shows neither.
func TestWatch(t *testing.T) {
	a := newArena(t)
	a.watched(t)
	gates := a.newGates(t)
	web := a.targets()[0]
	service := api.ResourceReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Namespace: a.namespace, Name: "api"}
	a.giveServices(t)
	created := a.submit(t, a.acting(t, []api.ResourceReference{web, service},
		step{Name: "start", Gate: gates.at("start")}, a.changes()[0], step{Name: "gate", Gate: gates.at("go")}))
	stranger := a.submit(t, a.acting(t, []api.ResourceReference{a.configMap("settings")}, step{Name: "gate", Gate: gates.at("go")}))
	streams := make(chan []api.TaskEvent, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		events, err := a.follow(ctx, created.TaskID)
		if err != nil {
			t.Errorf("stream: %v", err)
		}
		streams <- events
	}()
	a.awaitPod(t, created.TaskID)
	a.awaitPod(t, stranger.TaskID)
	a.probe(t, created.TaskID)
	a.create(t, functions, a.object(service.APIVersion, service.Kind, service.Name, "spec", object{
		"template": object{"spec": object{"containers": []any{object{"image": image(t), "command": []any{"/app", "hang"}}}}},
	}))
	eventually(t, "the task is told of its Service's Revision", func() bool { return len(a.told(t, created.TaskID, "Revision")) > 0 })
	gates.unlock("start")
	eventually(t, "the task is told that its Deployment is ready again", func() bool {
		changes := a.told(t, created.TaskID, "Deployment")
		return len(changes) > 2 && changes[len(changes)-1].Ready
	})
	gates.unlock("go")
	a.awaitStatus(t, created.TaskID, api.TaskStatusSucceeded)
	a.awaitStatus(t, stranger.TaskID, api.TaskStatusSucceeded)
	a.checkTold(t, <-streams)
	if n := len(a.told(t, stranger.TaskID, "Deployment")) + len(a.told(t, stranger.TaskID, "Revision")); n > 0 {
		t.Errorf("a task that may not read them is told %d times", n)
	}
	a.checkNothingLeft(t)
}

// giveServices lets launch give the right to get Knative Services of the arena.
func (a *arena) giveServices(t *testing.T) {
	t.Helper()
	role := a.object(roles.GroupVersion().String(), "Role", "services", "rules", nil)
	role["rules"] = []any{object{"apiGroups": []any{functions.Group}, "resources": []any{functions.Resource}, "verbs": []any{"get"}}}
	a.create(t, roles, role)
	binding := a.object(roles.GroupVersion().String(), "RoleBinding", "services", "roleRef", object{
		"apiGroup": roles.Group, "kind": "Role", "name": "services",
	})
	binding["subjects"] = []any{object{"kind": "ServiceAccount", "name": "graf-launch", "namespace": graf}}
	a.create(t, roleBindings, binding)
}

// checkTold fails unless the live stream tells how the Deployment got from one generation to the next, and
// that the task's pod runs.
func (a *arena) checkTold(t *testing.T, events []api.TaskEvent) {
	t.Helper()
	changes := changesIn(t, events, "Deployment")
	last := len(changes) - 1
	if last < 2 {
		t.Fatalf("the stream tells of the Deployment: %+v", changes)
	}
	first, now := changes[0], changes[last]
	if !first.Ready || !now.Ready || now.Generation <= first.Generation || now.Namespace != a.namespace || now.Name != "web" {
		t.Errorf("the Deployment was %+v, and is %+v", first, now)
	}
	if !slices.ContainsFunc(changes, func(c api.ResourceChange) bool { return !c.Ready && c.Message != "" && c.Generation == now.Generation }) {
		t.Errorf("nothing is told of its way there: %+v", changes)
	}
	if executions := changesIn(t, events, "Job"); len(executions) != 1 || executions[0].Failed {
		t.Errorf("of the task's Job is told: %+v", executions)
	}
}
