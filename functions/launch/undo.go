package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

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

const (
	// undoSuffix ends the name of the identity that a task is taken back as.
	undoSuffix = "-undo"
	// undoTries is how often it is tried while others change the same resources.
	undoTries = 5
	// regrantPause is the least time between two grants of the same rights.
	regrantPause = 200 * time.Millisecond
)

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
	u := &undoing{
		launcher: l, task: task, pairs: pairs, dry: undo.DryRun,
		identity: undoIdentity(task, l.execution.Namespace, pairs), shown: map[manifest.Ref]api.UndoneResource{},
	}
	if err := l.resources.Grant(ctx, u.identity); err != nil {
		return undone{}, "", err
	}
	defer l.forget(ctx, u.identity)
	if u.acting, err = l.resources.As(u.identity.Namespace, u.identity.Name()); err != nil {
		return undone{}, "", err
	}
	for try := 1; ; try++ {
		result, status, err := u.try(ctx)
		if errors.Is(err, kube.ErrConflict) && try < undoTries {
			continue // Somebody has changed a resource since it was read.
		}
		if u.begun {
			err = errors.Join(err, l.audit(ctx, task, "undo", u.done, err))
		}
		return result, status, err
	}
}

// undoing is a request to take a task back while it is carried out.
type undoing struct {
	launcher *Launcher
	acting   *kube.Client // as identity
	identity kube.RightsSpec
	// regranted is when the identity's rights were last given anew.
	regranted time.Time
	task      query.Task
	pairs     []manifest.Pair
	dry       bool
	// begun is whether anything may have been changed; done is what was, and shown what is said of it.
	begun bool
	done  []manifest.Ref
	shown map[manifest.Ref]api.UndoneResource
}

// try takes the task back from how its resources are now. kube.ErrConflict: they were changed meanwhile.
func (u *undoing) try(ctx context.Context) (undone, string, error) {
	var reversals []reversal
	if err := u.granted(ctx, func() (err error) {
		reversals, err = plan(ctx, u.acting, u.pairs, u.task.ManifestSalt)
		return err
	}); err != nil {
		return undone{}, "", err
	}
	result, possible, err := show(reversals, u.task.ManifestSalt)
	if err != nil {
		return undone{}, "", err
	}
	planned := map[manifest.Ref]api.UndoneResource{}
	for i, r := range reversals {
		if earlier, done := u.shown[r.Ref]; done {
			result.Resources[i] = earlier
		}
		planned[r.Ref] = result.Resources[i]
	}
	if !possible {
		result.Reason = "Somebody has changed the same fields since, or values were not kept: see the resources. Nothing was changed."
		if len(u.done) > 0 {
			result.Reason = fmt.Sprintf("Somebody has changed the same fields meanwhile: see the resources. %d were changed.", len(u.done))
		}
		return result, "refused", nil
	}
	u.begun = !u.dry
	err = u.revertAll(ctx, reversals, true, nil)
	if err == nil && !u.dry {
		err = u.revertAll(ctx, reversals, false, func(ref manifest.Ref) {
			u.done, u.shown[ref] = append(u.done, ref), planned[ref]
		})
	}
	return result, "done", err
}

// granted does what needs the identity's rights. They are given anew should they be gone: to finalize's sweep they are
// those of an attempt that has ended, and another request to take the task back, which has the same, may end first.
func (u *undoing) granted(ctx context.Context, do func() error) error {
	return onceGranted(ctx, func() error {
		err := do()
		if !errors.Is(err, kube.ErrForbidden) || time.Since(u.regranted) < regrantPause {
			return err
		}
		u.regranted = time.Now()
		if again := u.launcher.resources.Grant(ctx, u.identity); again != nil && !errors.Is(again, kube.ErrConflict) {
			return again
		}
		return err
	})
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
func (u *undoing) revertAll(ctx context.Context, reversals []reversal, dry bool, done func(manifest.Ref)) error {
	ordered := slices.Clone(reversals)
	slices.SortStableFunc(ordered, func(a, b reversal) int { return kube.CompareForUndo(a.Reversion, b.Reversion) })
	for _, r := range ordered {
		err := u.granted(ctx, func() error {
			return u.acting.Revert(ctx, r.Reversion, r.live, kube.FieldManager(u.task.ID.String()), dry)
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
