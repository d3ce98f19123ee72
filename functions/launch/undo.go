package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/redact"
)

// undoSuffix ends the name of the identity that a task is taken back as.
const undoSuffix = "-undo"

func (l *Launcher) handleUndoRequested(ctx context.Context, e event.Event) error {
	data, err := delivery.Data[event.TaskUndoRequested](e)
	if err != nil {
		return err
	}
	q := query.New(l.pool)
	undo, err := q.GetUndo(ctx, data.UndoID)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && undo.FinishedAt != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read undo %s: %w", data.UndoID, err)
	}
	task, err := q.GetTask(ctx, undo.TaskID)
	if err != nil {
		return fmt.Errorf("read task %s: %w", undo.TaskID, err)
	}
	return l.Undo(ctx, task, undo)
}

// reversal is what is to be done with one resource.
type reversal struct {
	manifest.Reversion
	live *unstructured.Unstructured
}

// Undo takes back what a task changed, or shows what that would be, and stores the outcome. A cluster that is away is
// an error: the request is delivered again. What was taken back already needs no second time.
func (l *Launcher) Undo(ctx context.Context, task query.Task, undo query.Undo) error {
	result, status, err := l.undo(ctx, task, undo)
	switch {
	case errors.Is(err, kube.ErrUnavailable), err != nil && !hopeless(err) && !errors.Is(err, kube.ErrConflict):
		return fmt.Errorf("undo task %s: %w", task.ID, err)
	case err != nil:
		status, result.Reason = "failed", postgres.Text(redact.Text(err.Error()))
	}
	encoded, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode the outcome of undo %s: %w", undo.ID, err)
	}
	if err := query.New(l.pool).FinishUndo(ctx, status, encoded, undo.ID); err != nil {
		return fmt.Errorf("store the outcome of undo %s: %w", undo.ID, err)
	}
	return nil
}

// undone is the part of an api.Undo that is stored as its result.
type undone struct {
	Reason    string               `json:"reason,omitempty"`
	Resources []api.UndoneResource `json:"resources"`
}

func (l *Launcher) undo(ctx context.Context, task query.Task, undo query.Undo) (undone, string, error) {
	pairs, err := l.changed(ctx, task)
	if err != nil {
		return undone{}, "", err
	}
	identity := undoIdentity(task, l.execution.Namespace, pairs)
	if err := l.resources.Grant(ctx, identity); err != nil {
		return undone{}, "", err
	}
	defer l.forget(ctx, identity)
	acting, err := l.resources.As(identity.Namespace, identity.Name())
	if err != nil {
		return undone{}, "", err
	}
	var reversals []reversal
	if err := onceGranted(ctx, func() (err error) {
		reversals, err = plan(ctx, acting, pairs, task.ManifestSalt)
		return err
	}); err != nil {
		return undone{}, "", err
	}
	result, possible, err := show(reversals, task.ManifestSalt)
	if err != nil {
		return undone{}, "", err
	}
	if !possible {
		result.Reason = "Somebody has changed the same fields since, or values were not kept: see the resources. Nothing was changed."
		return result, "refused", nil
	}
	if undo.DryRun {
		err := revertAll(ctx, acting, reversals, task.ID.String(), true, nil)
		return result, "done", err
	}
	var done []manifest.Ref
	err = revertAll(ctx, acting, reversals, task.ID.String(), true, nil)
	if err == nil {
		err = revertAll(ctx, acting, reversals, task.ID.String(), false, func(ref manifest.Ref) { done = append(done, ref) })
	}
	return result, "done", errors.Join(err, l.audit(ctx, task, "undo", done, err))
}

// changed is what the task changed, by resource.
func (l *Launcher) changed(ctx context.Context, task query.Task) ([]manifest.Pair, error) {
	row, err := query.New(l.pool).GetLiveChange(ctx, task.ID)
	if err != nil {
		return nil, fmt.Errorf("read the snapshots of task %s: %w", task.ID, err)
	}
	before, err := manifest.Parse(row.Before, task.ManifestSalt)
	if err != nil {
		return nil, fmt.Errorf("%w: the state before: %w", errUnreadable, err)
	}
	after, err := manifest.Parse(row.After, task.ManifestSalt)
	if err != nil {
		return nil, fmt.Errorf("%w: the state after: %w", errUnreadable, err)
	}
	return manifest.Changed(before, after), nil
}

// undoIdentity may do what it takes, with those resources alone; that its requester may was checked by submit.
func undoIdentity(task query.Task, namespace string, pairs []manifest.Pair) kube.RightsSpec {
	spec := kube.RightsSpec{TaskID: task.ID.String(), Attempt: int(task.Attempt), Namespace: namespace, Suffix: undoSuffix}
	verbs := map[manifest.Op][]string{
		manifest.Created: {"get", "delete"}, manifest.Deleted: {"get", "create"}, manifest.Modified: {"get", "update"},
	}
	for _, p := range pairs {
		ref := p.Ref()
		right := kube.Right{APIVersion: ref.APIVersion, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, Verbs: verbs[p.Op()]}
		if p.Op() == manifest.Deleted { // The name of what is to be created cannot be a condition.
			right.Verbs = []string{"get"}
			spec.Rights = append(spec.Rights, kube.Right{
				APIVersion: ref.APIVersion, Kind: ref.Kind, Namespace: ref.Namespace, Verbs: []string{"create"},
			})
		}
		spec.Rights = append(spec.Rights, right)
	}
	return spec
}

// forget takes the identity's rights away again; should that be cut off, finalize's sweep does it.
func (l *Launcher) forget(ctx context.Context, identity kube.RightsSpec) {
	var namespaces []string
	for _, r := range identity.Rights {
		if !slices.Contains(namespaces, r.Namespace) {
			namespaces = append(namespaces, r.Namespace)
		}
	}
	err := l.resources.Revoke(context.WithoutCancel(ctx), identity.TaskID, identity.Attempt, identity.Namespace, namespaces)
	if err != nil {
		l.log.WarnContext(ctx, "rights not taken away; the sweep will", "task", identity.TaskID, "error", err)
	}
}

// plan reads the resources as they are now and says how each goes back.
func plan(ctx context.Context, acting *kube.Client, pairs []manifest.Pair, salt []byte) ([]reversal, error) {
	reversals := make([]reversal, 0, len(pairs))
	for _, p := range pairs {
		live, err := acting.Live(ctx, p.Ref())
		if err != nil {
			return nil, err
		}
		var content map[string]any
		if live != nil {
			content = live.Object
		}
		r, err := manifest.Revert(p.Before, p.After, content, salt)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", kube.ErrInvalid, err)
		}
		reversals = append(reversals, reversal{r, live})
	}
	return reversals, nil
}

// show says for each resource what becomes of it, and whether all of it can be done.
func show(reversals []reversal, salt []byte) (undone, bool, error) {
	result, possible := undone{Resources: []api.UndoneResource{}}, true
	operations := map[manifest.Op]api.UndoOperation{
		manifest.Created: api.UndoOperationCreated, manifest.Deleted: api.UndoOperationDeleted,
		manifest.Modified: api.UndoOperationRestored,
	}
	for _, r := range reversals {
		shown := api.UndoneResource{
			Resource: api.ResourceReference{
				APIVersion: r.Ref.APIVersion, Kind: r.Ref.Kind, Namespace: r.Ref.Namespace, Name: r.Ref.Name,
			},
			Operation: operations[r.Op], Lost: r.Lost,
		}
		if r.Nothing && r.Possible() {
			shown.Operation = api.UndoOperationUnchanged
		}
		for _, c := range r.Conflicts {
			shown.Conflicts = append(shown.Conflicts, c.Path)
		}
		if !r.Possible() {
			possible = false
		} else if !r.Nothing {
			diff, err := r.diff(salt)
			if err != nil {
				return undone{}, false, err
			}
			shown.Diff = diff
		}
		result.Resources = append(result.Resources, shown)
	}
	return result, possible, nil
}

// diff is the resource as it is against what it becomes.
func (r reversal) diff(salt []byte) (string, error) {
	var now, then []manifest.Object
	for content, objects := range map[*[]manifest.Object]map[string]any{&now: liveContent(r.live), &then: r.Content} {
		if objects == nil {
			continue
		}
		object, err := manifest.New(objects, salt)
		if err != nil {
			return "", fmt.Errorf("%w: %s: %w", kube.ErrInvalid, r.Ref, err)
		}
		*content = append(*content, object)
	}
	return manifest.Compare(now, then).Unified, nil
}

func liveContent(live *unstructured.Unstructured) map[string]any {
	if live == nil {
		return nil
	}
	return live.Object
}

// revertAll carries reversals out: what others need comes back first, and what was created goes last.
func revertAll(ctx context.Context, acting *kube.Client, reversals []reversal, task string, dry bool, done func(manifest.Ref)) error {
	ordered := slices.Clone(reversals)
	slices.SortStableFunc(ordered, func(a, b reversal) int { return kube.CompareForUndo(a.Reversion, b.Reversion) })
	for _, r := range ordered {
		err := onceGranted(ctx, func() error {
			return acting.Revert(ctx, r.Reversion, r.live, kube.FieldManager(task), dry)
		})
		if err != nil {
			return err
		}
		if done != nil && !r.Nothing {
			done(r.Ref)
		}
	}
	return nil
}
