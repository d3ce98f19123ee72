package kubernetes

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// wantsTable reports whether the client, kubectl, asks for rows to print.
func wantsTable(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), "application/json;as=Table;v=v1;g=meta.k8s.io")
}

// table shows objects as kubectl prints them.
func table(version string, objects ...object) metav1.Table {
	t := metav1.Table{
		TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "Table"},
		ListMeta: metav1.ListMeta{ResourceVersion: version},
		ColumnDefinitions: []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name"}, {Name: "Status", Type: "string"}, {Name: "Age", Type: "string"},
		},
		Rows: []metav1.TableRow{},
	}
	for _, o := range objects {
		age := duration.HumanDuration(time.Since(o.GetCreationTimestamp().Time))
		t.Rows = append(t.Rows, metav1.TableRow{
			Cells: []any{o.GetName(), statusOf(o), age}, Object: runtime.RawExtension{Object: partial(o)},
		})
	}
	return t
}

func eventTable(r *resource, o any) any {
	typed, ok := o.(object)
	if raw, isRaw := o.(json.RawMessage); isRaw {
		typed = r.empty()
		ok = json.Unmarshal(raw, typed) == nil
	}
	if !ok {
		return o
	}
	return table(typed.GetResourceVersion(), typed)
}

// partial is an object without what a table does not need.
func partial(o object) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
		ObjectMeta: metav1.ObjectMeta{
			Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), Labels: o.GetLabels(),
			ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp(),
		},
	}
}

func statusOf(o object) string {
	switch o := o.(type) {
	case *batchv1.Job:
		return jobStatus(o)
	case *corev1.Pod:
		return podStatus(o)
	case *corev1.Namespace:
		return string(o.Status.Phase)
	}
	return ""
}

func jobStatus(job *batchv1.Job) string {
	switch {
	case job.DeletionTimestamp != nil:
		return "Terminating"
	case job.Status.Succeeded > 0:
		return "Complete"
	case jobFinished(job):
		return "Failed"
	}
	return "Running"
}

func podStatus(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "Terminating"
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Terminated != nil {
			return status.State.Terminated.Reason
		}
		if status.State.Waiting != nil {
			return status.State.Waiting.Reason
		}
	}
	return string(pod.Status.Phase)
}
