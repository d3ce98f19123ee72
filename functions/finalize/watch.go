package finalize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/postgres/query"
)

// Kinds of Knative Serving. What a Service's spec has becomes is a Revision, which has the Service's name in a label.
const (
	servingVersion = "serving.knative.dev/v1"
	labelService   = "serving.knative.dev/service"
	kindService    = "Service"
	kindRevision   = "Revision"
)

// handleChange takes up an event of an ApiServerSource: that of an execution by next, that of another resource by
// telling the tasks that have to do with it.
func (f *Finalizer) handleChange(next delivery.HandlerFunc) delivery.HandlerFunc {
	return func(ctx context.Context, e event.Event) error {
		if o := watched(e.Data()); o != nil {
			return f.handleResource(ctx, e.Type(), o)
		}
		return next(ctx, e)
	}
}

// watched reads a Deployment or a Revision; nil if it is none, or has a name that none can have.
func watched(data []byte) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(data); err != nil {
		return nil
	}
	if len(validation.IsDNS1123Subdomain(o.GetName())) > 0 || len(validation.IsDNS1123Label(o.GetNamespace())) > 0 {
		return nil
	}
	switch o.GetAPIVersion() + " " + o.GetKind() {
	case "apps/v1 Deployment", servingVersion + " " + kindRevision:
		return o
	}
	return nil
}

// handleResource tells the tasks that may read a resource how it is, which it asks the cluster: who may send events may
// not thereby make tasks believe things. What the event says only spares the question where it is no news.
func (f *Finalizer) handleResource(ctx context.Context, eventType string, hint *unstructured.Unstructured) error {
	tasks, err := f.readers(ctx, hint)
	if err != nil || len(tasks) == 0 {
		return err
	}
	said := noteOf(hint, eventType)
	return f.tell(ctx, tasks, said, func(ctx context.Context) (note, bool, error) {
		live, err := f.resources.Live(ctx, said.Ref)
		switch {
		case errors.Is(err, kube.ErrForbidden), errors.Is(err, kube.ErrInvalid):
			f.log.WarnContext(ctx, "a resource that is watched cannot be read", "resource", said.Ref, "error", err)
			return note{}, false, nil
		case err != nil:
			return note{}, false, fmt.Errorf("look at %s: %w", said.Ref, err)
		case live == nil:
			return note{Ref: said.Ref, Change: deleted}, true, nil
		case live.GetLabels()[labelService] != hint.GetLabels()[labelService]:
			return note{}, false, nil // it was forged: the tasks were found by that label
		}
		now := noteOf(live, event.TypeResourceUpdate)
		if said.Change == added && said.UID == now.UID {
			now.Change = added
		}
		return now, true, nil
	})
}

// noteOf is what there is to tell of a resource after an event of this type.
func noteOf(o *unstructured.Unstructured, eventType string) note {
	ref := manifest.Ref{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
	if eventType == event.TypeResourceDelete {
		return note{Ref: ref, Change: deleted}
	}
	r := kube.ReadinessOf(o)
	n := note{
		Ref: ref, UID: string(o.GetUID()), Generation: o.GetGeneration(), Change: changed,
		Ready: r.Ready, Failed: r.Failed, Message: noteText(r.Message),
	}
	if eventType == event.TypeResourceAdd {
		n.Change = added
	}
	return n
}

// readers are the tasks under way that may read a resource by name or by its kind; or, if it is a Revision, its Service.
// A task changes nothing else: what it applies is among its grants, and its accounts have no other rights.
func (f *Finalizer) readers(ctx context.Context, o *unstructured.Unstructured) ([]uuid.UUID, error) {
	concerned := func(t grant.Target) bool { return includes(t, o) }
	tasks, err := f.listReaders(ctx, o.GetKind(), o.GetNamespace(), concerned)
	service := o.GetLabels()[labelService]
	if err != nil || o.GetKind() != kindRevision || service == "" {
		return tasks, err
	}
	owner := &unstructured.Unstructured{Object: map[string]any{"apiVersion": servingVersion, "kind": kindService}}
	owner.SetNamespace(o.GetNamespace())
	owner.SetName(service)
	others, err := f.listReaders(ctx, kindService, o.GetNamespace(), func(t grant.Target) bool {
		// Of a Service that is not at hand no label is known.
		return t.LabelSelector == "" && includes(t, owner) && !concerned(t)
	})
	return append(tasks, others...), err
}

func (f *Finalizer) listReaders(ctx context.Context, kind, namespace string, concerned func(grant.Target) bool) ([]uuid.UUID, error) {
	inCluster, err := json.Marshal([]map[string]string{{"kind": kind}})
	if err != nil {
		return nil, fmt.Errorf("encode a target: %w", err)
	}
	inNamespace, err := json.Marshal([]map[string]string{{"kind": kind, "namespace": namespace}})
	if err != nil {
		return nil, fmt.Errorf("encode a target: %w", err)
	}
	rows, err := query.New(f.pool).ListReaders(ctx, inNamespace, inCluster)
	if err != nil {
		return nil, fmt.Errorf("list the tasks that may read a %s of %s: %w", kind, namespace, err)
	}
	var tasks []uuid.UUID
	for _, row := range rows {
		grants, err := grant.Parse(row.Grants)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", row.ID, err)
		}
		for _, target := range grant.Readable(grants) {
			if concerned(target) {
				tasks = append(tasks, row.ID)
				break
			}
		}
	}
	return tasks, nil
}

// includes tells whether a resource is a target, or one of those that a target without a name stands for. Groups count,
// not their versions.
func includes(t grant.Target, o *unstructured.Unstructured) bool {
	version, err := schema.ParseGroupVersion(t.APIVersion)
	if err != nil || version.Group != o.GroupVersionKind().Group || t.Kind != o.GetKind() {
		return false
	}
	if t.Name != "" {
		return t.Name == o.GetName() && t.Namespace == o.GetNamespace()
	}
	selector, err := labels.Parse(t.LabelSelector)
	return err == nil && (t.Namespace == "" || t.Namespace == o.GetNamespace()) && selector.Matches(labels.Set(o.GetLabels()))
}

// tellRunning tells a task that its attempt's pod runs, which is more than that it was launched.
func (f *Finalizer) tellRunning(ctx context.Context, task uuid.UUID, hint kube.Observation) error {
	if !hint.Running {
		return nil
	}
	said := f.executionNote(task, hint)
	return f.tell(ctx, []uuid.UUID{task}, said, func(ctx context.Context) (note, bool, error) {
		o, err := f.observe(ctx, task, hint.Attempt, hint.Execution.Kind)
		return f.executionNote(task, o), o.Running && !o.Finished(), err
	})
}

// tellFailure tells a task that an attempt has failed, of which it may get another. Should that be cut off, the task's
// attempts have it all the same.
func (f *Finalizer) tellFailure(ctx context.Context, task query.Task, o kube.Observation) {
	if o.Phase == kube.PhaseSucceeded || task.CancelRequestedAt != nil {
		return
	}
	o.Execution.Kind = kube.KindFor(task.OrchestrationMode) // also of one that is gone
	said := f.executionNote(task.ID, o)
	err := f.tell(ctx, []uuid.UUID{task.ID}, said, func(context.Context) (note, bool, error) { return said, true, nil })
	if err != nil {
		f.log.WarnContext(ctx, "the failure of an attempt is not on its task's stream", "task", task.ID, "error", err)
	}
}

// executionNote is what there is to tell of an attempt's execution, which has the name that it must have.
func (f *Finalizer) executionNote(task uuid.UUID, o kube.Observation) note {
	n := note{
		Ref: kube.Execution{
			Kind: o.Execution.Kind, Namespace: f.config.Namespace, Name: kube.JobName(task.String(), o.Attempt),
		}.Ref(),
		Change: changed, Message: "its pod runs",
	}
	if o.Finished() {
		n.Failed, n.Message = true, o.Reason
		if o.Message != "" {
			n.Message += ": " + o.Message
		}
	}
	if o.Reason == reasonGone {
		n.Change = deleted
	}
	n.Message = noteText(n.Message)
	return n
}
