package kube_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/manifest"
)

func TestReadinessOf(t *testing.T) {
	t.Parallel()
	const (
		deployment  = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {generation: 2}\nspec: {replicas: 2}\n"
		statefulSet = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {generation: 2}\n"
		daemonSet   = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {generation: 1}\n"
		pod         = "apiVersion: v1\nkind: Pod\n"
		service     = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {generation: 2}\n"
	)
	for name, c := range map[string]struct {
		text          string
		ready, failed bool
		message       string
	}{
		"deployment, new":     {deployment, false, false, "has not seen the change"},
		"deployment of none":  {strings.Replace(deployment, "replicas: 2", "replicas: 0", 1), false, false, "has not seen the change"},
		"deployment, stale":   {deployment + "status: {observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2}", false, false, "has not seen the change"},
		"deployment, rolling": {deployment + "status: {observedGeneration: 2, replicas: 3, updatedReplicas: 2, availableReplicas: 2}", false, false, "1 of 3 old replicas"},
		"deployment, few":     {deployment + "status: {observedGeneration: 2, replicas: 1, updatedReplicas: 1, availableReplicas: 1}", false, false, "1 of 2 replicas are updated"},
		"deployment, slow":    {deployment + "status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 1}", false, false, "1 of 2 replicas are available"},
		"deployment, done":    {deployment + "status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2}", true, false, ""},
		"deployment, stuck": {deployment + "status: {observedGeneration: 2, conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: m}]}",
			false, true, "ProgressDeadlineExceeded: m"},
		"statefulset, done":      {statefulSet + "status: {observedGeneration: 2, replicas: 1, updatedReplicas: 1, availableReplicas: 1}", true, false, ""},
		"statefulset, rolling":   {statefulSet + "status: {observedGeneration: 2, replicas: 1, updatedReplicas: 0, availableReplicas: 1}", false, false, "old replicas"},
		"statefulset, partition": {statefulSet + "spec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 2}}}\nstatus: {observedGeneration: 2, replicas: 3, updatedReplicas: 1, availableReplicas: 3}", true, false, ""},
		"statefulset, on delete": {statefulSet + "spec: {updateStrategy: {type: OnDelete}}\nstatus: {observedGeneration: 2, replicas: 1, updatedReplicas: 0, availableReplicas: 1}", true, false, ""},
		"replicaset, done":       {"apiVersion: apps/v1\nkind: ReplicaSet\nstatus: {observedGeneration: 1, replicas: 1, availableReplicas: 1}", true, false, ""},
		"daemonset, new":         {daemonSet + "status: {desiredNumberScheduled: 0}", false, false, "has not seen the change"},
		"daemonset, rolling":     {daemonSet + "status: {observedGeneration: 1, desiredNumberScheduled: 2, updatedNumberScheduled: 1, numberAvailable: 2}", false, false, "1 of 2 replicas are updated"},
		"daemonset, on delete":   {daemonSet + "spec: {updateStrategy: {type: OnDelete}}\nstatus: {observedGeneration: 1, desiredNumberScheduled: 2, numberAvailable: 2}", true, false, ""},
		"job, running":           {"apiVersion: batch/v1\nkind: Job\nstatus: {active: 1}", false, false, "it runs"},
		"job, done":              {"apiVersion: batch/v1\nkind: Job\nstatus: {conditions: [{type: Complete, status: 'True'}]}", true, false, ""},
		"job, failed":            {"apiVersion: batch/v1\nkind: Job\nstatus: {conditions: [{type: Failed, status: 'True', reason: DeadlineExceeded}]}", false, true, "DeadlineExceeded"},
		"pod, new":               {pod + "status: {phase: Pending}", false, false, "no condition Ready"},
		"pod, not ready":         {pod + "status: {phase: Running, conditions: [{type: Ready, status: 'False', reason: ContainersNotReady}]}", false, false, "ContainersNotReady"},
		"pod, ready":             {pod + "status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}", true, false, ""},
		"pod, done":              {pod + "status: {phase: Succeeded, conditions: [{type: Ready, status: 'False'}]}", true, false, ""},
		"pod, failed":            {pod + "status: {phase: Failed, message: evicted}", false, true, "it failed: evicted"},
		"claim, pending":         {"apiVersion: v1\nkind: PersistentVolumeClaim\nstatus: {phase: Pending}", false, false, "its phase is Pending"},
		"namespace":              {"apiVersion: v1\nkind: Namespace\nstatus: {phase: Active}", true, false, ""},
		"definition, new":        {"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition", false, false, "no condition Established"},
		"definition":             {"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nstatus: {conditions: [{type: NamesAccepted, status: 'True'}, {type: Established, status: 'True'}]}", true, false, ""},
		"knative, new":           {service, false, false, "no condition Ready"},
		"knative, stale":         {service + "status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}]}", false, false, "has not seen the change"},
		"knative, not ready":     {service + "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False', reason: RevisionMissing, message: m}]}", false, false, "RevisionMissing: m"},
		"knative, ready":         {service + "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}]}", true, false, ""},
		"config map":             {"apiVersion: v1\nkind: ConfigMap", true, false, ""},
		"custom, no condition":   {"apiVersion: a.test/v1\nkind: Widget\nstatus: {conditions: [3]}", true, false, ""},
	} {
		got := kube.ReadinessOf(&unstructured.Unstructured{Object: decode(t, "", c.text)})
		if got.Ready != c.ready || got.Failed != c.failed || !got.Ready && !strings.Contains(got.Message, c.message) {
			t.Errorf("%s: got %+v, want ready %t, failed %t, %q", name, got, c.ready, c.failed, c.message)
		}
	}
}

// writeStatus writes a status as a controller does.
func writeStatus(t *testing.T, cluster *kubetest.Cluster, resource schema.GroupVersionResource, name, status string) {
	t.Helper()
	_, err := cluster.Dynamic.Resource(resource).Namespace(cluster.Namespace).
		Patch(t.Context(), name, types.MergePatchType, []byte(`{"status": `+status+`}`), metav1.PatchOptions{FieldManager: "controller"}, "status")
	if err != nil {
		t.Fatal(err)
	}
}

// steps writes the next status once the one before was told of.
type steps struct {
	t        *testing.T
	write    []func()
	messages []string
}

func (s *steps) progress(r kube.Readiness) {
	s.messages = append(s.messages, r.Message)
	if len(s.write) > 0 {
		next := s.write[0]
		s.write = s.write[1:]
		next()
	}
}

func TestAwait(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	create(t, cluster, deployments, deploymentText)
	status := func(text string) func() { return func() { writeStatus(t, cluster, deployments, "web", text) } }
	s := &steps{t: t, write: []func(){
		status(`{"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}`),
		status(`{"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 1}`),
		status(`{"availableReplicas": 2}`),
	}}
	got, err := cluster.Client(t).Await(t.Context(), deploymentRef(cluster), s.progress)
	want := []string{"its controller has not seen the change yet", "1 of 2 replicas are updated", "1 of 2 replicas are available", ""}
	if err != nil || !got.Ready || !slices.Equal(s.messages, want) {
		t.Errorf("got %+v, %v, after %q; want %q", got, err, s.messages, want)
	}
}

// cutting returns a client whose watches end soon after they began, and their count.
func cutting(t *testing.T, cluster *kubetest.Cluster) (*kube.Client, *atomic.Int64) {
	t.Helper()
	settings, err := cluster.Config().REST()
	if err != nil {
		t.Fatal(err)
	}
	var watches atomic.Int64
	settings.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("watch") != "true" {
				return next.RoundTrip(r)
			}
			ctx, cancel := context.WithCancel(r.Context())
			response, err := next.RoundTrip(r.WithContext(ctx))
			watches.Add(1)
			time.AfterFunc(50*time.Millisecond, cancel)
			return response, err
		})
	})
	client, err := kube.NewForConfig(settings)
	if err != nil {
		t.Fatal(err)
	}
	return client, &watches
}

func TestAwaitEnds(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client := cluster.Client(t)
	widgets := cluster.Define(t, true)
	resolveSoon(t, client, widgets)
	text := "apiVersion: " + widgets.APIVersion + "\nkind: Widget\nmetadata: {name: NAME, namespace: NS}\nstatus: {conditions: [{type: Ready, status: 'False'}]}"
	widget := func(name string) manifest.Ref {
		create(t, cluster, widgets.Resource, strings.Replace(text, "NAME", name, 1))
		writeStatus(t, cluster, widgets.Resource, name, `{"conditions": [{"type": "Ready", "status": "False", "reason": "Starting"}]}`)
		return manifest.Ref{APIVersion: widgets.APIVersion, Kind: "Widget", Namespace: cluster.Namespace, Name: name}
	}
	t.Run("custom resource", func(t *testing.T) {
		t.Parallel()
		s := &steps{write: []func(){func() {
			writeStatus(t, cluster, widgets.Resource, "custom", `{"conditions": [{"type": "Ready", "status": "True", "reason": "Done"}]}`)
		}}}
		got, err := client.Await(t.Context(), widget("custom"), s.progress)
		if err != nil || !got.Ready || !slices.Equal(s.messages, []string{"Starting", "Done"}) {
			t.Errorf("%+v, %v, %q", got, err, s.messages)
		}
	})
	t.Run("deleted", func(t *testing.T) {
		t.Parallel()
		ref := widget("deleted")
		s := &steps{write: []func(){func() {
			if err := cluster.Dynamic.Resource(widgets.Resource).Namespace(ref.Namespace).Delete(t.Context(), ref.Name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}}}
		got, err := client.Await(t.Context(), ref, s.progress)
		if err != nil || !got.Failed || got.Message != "it was deleted" {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		ref := widget("deadline")
		ctx, cancel := context.WithCancelCause(t.Context())
		late := errors.New("too late")
		got, err := client.Await(ctx, ref, func(kube.Readiness) { time.AfterFunc(100*time.Millisecond, func() { cancel(late) }) })
		if !errors.Is(err, kube.ErrUnavailable) || got.Message != "Starting" {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("watches that end", func(t *testing.T) {
		t.Parallel()
		ref := widget("short")
		short, watches := cutting(t, cluster)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			got, err := short.Await(t.Context(), ref, func(kube.Readiness) {})
			if err != nil || !got.Ready || watches.Load() < 3 {
				t.Errorf("%+v, %v, after %d watches", got, err, watches.Load())
			}
		}()
		for watches.Load() < 3 {
			select {
			case <-ended:
				t.Fatal("it did not wait")
			case <-time.After(10 * time.Millisecond):
			}
		}
		writeStatus(t, cluster, widgets.Resource, ref.Name, `{"conditions": [{"type": "Ready", "status": "True"}]}`)
		<-ended
	})
	for name, ref := range map[string]manifest.Ref{
		"no such object": {APIVersion: widgets.APIVersion, Kind: "Widget", Namespace: cluster.Namespace, Name: "none"},
		"no such kind":   {APIVersion: widgets.APIVersion, Kind: "Unicorn", Namespace: cluster.Namespace, Name: "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := client.Await(t.Context(), ref, func(kube.Readiness) {}); !errors.Is(err, kube.ErrNotFound) {
				t.Error(err)
			}
		})
	}
}
