package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/redact"
	"github.com/graf-run/graf/shared/snapshot"
)

const (
	// grantedWithin is how long rights that were just given are waited for: the API server's authorizer reads them
	// from a watch.
	grantedWithin = 5 * time.Second
	grantedRetry  = 5 * time.Millisecond
	// applyTimeout bounds the applying of a task's manifests, and applyReserve is how much longer a launch has them to
	// itself: for the API server to do what it was asked for last.
	applyTimeout = time.Minute
	applyReserve = 10 * time.Second
)

// errElsewhere says that another launch of the same attempt is under way, which goes on.
var errElsewhere = errors.New("another launch applies the manifests of the task")

// provision readies the cluster for an attempt of a task that may act there. It makes the attempt's two identities, that
// of its container and that of its actions; before the first attempt it then reads the task's resources, and applies
// its manifests. It returns the container's service account, "" for none. Doing it again changes nothing.
func (l *Launcher) provision(ctx context.Context, task query.Task) (account string, err error) {
	grants, err := grant.Parse(task.Grants)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if !slices.ContainsFunc(grants, func(g grant.Grant) bool { return len(g.All()) > 0 }) {
		return l.execution.ServiceAccount, nil
	}
	container, actions := kube.Identities(task.ID.String(), int(task.Attempt), l.execution.Namespace, grants)
	err = l.resources.Grant(ctx, container, actions)
	var missing *kube.MissingError // The task's own manifests may make the namespaces.
	if err != nil && (task.Attempt > 1 || !errors.As(err, &missing)) {
		return "", err
	}
	if task.Attempt == 1 {
		if err := l.prepareCluster(ctx, task, grants, missing, container, actions); err != nil {
			return "", err
		}
	}
	if len(container.Rights) == 0 {
		return l.execution.ServiceAccount, nil
	}
	return container.Name(), nil
}

// prepareCluster reads the task's resources and applies its manifests, as the identity of its actions, and grants the rights
// in the namespaces that were missing.
func (l *Launcher) prepareCluster(
	ctx context.Context, task query.Task, grants []grant.Grant, missing *kube.MissingError, container, actions kube.RightsSpec,
) error {
	acting, err := l.resources.As(actions.Namespace, actions.Name())
	if err != nil {
		return err
	}
	if err := l.readBefore(ctx, task, acting, grants, missing); err != nil {
		return err
	}
	grantAnew := func(ctx context.Context) error {
		err := l.resources.GrantAnew(ctx, container, actions)
		var still *kube.MissingError
		if errors.As(err, &still) { // None of the manifests makes it: see below.
			return nil
		}
		return err
	}
	if err := l.applyManifests(ctx, task, acting, grantAnew); err != nil || missing == nil {
		return err
	}
	return l.resources.Grant(ctx, container, actions)
}

// revoke takes away what provision has given. finalize's sweep knows an attempt's rights by its service accounts, which
// may not have come to be.
func (l *Launcher) revoke(ctx context.Context, task query.Task) {
	grants, err := grant.Parse(task.Grants)
	if namespaces := grant.Namespaces(grants); err == nil && len(namespaces) > 0 {
		err = l.resources.Revoke(ctx, task.ID.String(), int(task.Attempt), l.execution.Namespace, namespaces)
	}
	if err != nil {
		l.log.WarnContext(ctx, "rights not taken away; the sweep will", "task", task.ID, "error", err)
	}
}

// onceGranted does what needs rights that were just given.
func onceGranted(ctx context.Context, do func() error) error {
	for until := time.Now().Add(grantedWithin); ; {
		err := do()
		if !errors.Is(err, kube.ErrForbidden) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(grantedRetry):
		}
	}
}

// readBefore stores the resources as they are before the task does anything, and as memories. What is in a missing
// namespace, where nothing can be read, is absent.
func (l *Launcher) readBefore(
	ctx context.Context, task query.Task, acting *kube.Client, grants []grant.Grant, missing *kube.MissingError,
) error {
	targets := grant.Readable(grants)
	q := query.New(l.pool)
	if known, err := q.HasLiveSnapshot(ctx, task.ID, snapshot.Before, 0); err != nil || known || len(targets) == 0 {
		return err
	}
	there, absent := splitMissing(targets, missing)
	var state kube.Snapshot
	err := onceGranted(ctx, func() (err error) {
		state, err = acting.Snapshot(ctx, there, task.ManifestSalt)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the resources of task %s: %w", task.ID, err)
	}
	state.Absent = append(state.Absent, absent...)
	slices.SortFunc(state.Absent, manifest.CompareRefs)
	parts := make([]memory.Part, len(state.Objects))
	for i, object := range state.Objects {
		parts[i] = memory.Part{
			Kind: memory.KindBefore, Number: int64(i), Text: object.YAML(), Metadata: map[string]any{"resource": object.Ref},
		}
	}
	err = pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		q := query.New(tx)
		if err := snapshot.Store(ctx, q, task.ID, snapshot.Before, 0, state); err != nil {
			return err
		}
		return memory.Write(ctx, q, memory.Task{
			ID: task.ID, Namespaces: task.Namespaces, ResourceKinds: task.ResourceKinds, Tags: task.Tags,
		}, parts...)
	})
	if err != nil {
		return fmt.Errorf("store the state before task %s: %w", task.ID, err)
	}
	return nil
}

// splitMissing separates the targets that can be read from those with a name in missing namespaces.
func splitMissing(targets []grant.Target, missing *kube.MissingError) (there []grant.Target, absent []manifest.Ref) {
	for _, t := range targets {
		switch {
		case missing == nil || !slices.Contains(missing.Namespaces, t.Namespace):
			there = append(there, t)
		case t.Name != "":
			absent = append(absent, manifest.Ref{APIVersion: t.APIVersion, Kind: t.Kind, Namespace: t.Namespace, Name: t.Name})
		}
	}
	return there, absent
}

// applyManifests applies what the task's submitter asked for, all that can be as a dry run first. It calls grantAnew once
// the namespaces and definitions that the rest needs are there.
func (l *Launcher) applyManifests(
	ctx context.Context, task query.Task, acting *kube.Client, grantAnew func(context.Context) error,
) error {
	stored, err := query.New(l.pool).GetAppliedManifests(ctx, task.ID)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && stored.Applied {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the manifests of task %s: %w", task.ID, err)
	}
	var manifests []map[string]any
	// As Kubernetes reads numbers: not all as fractions.
	if err := utiljson.Unmarshal(stored.Manifests, &manifests); err != nil {
		return fmt.Errorf("%w: the manifests: %w", errUnreadable, err)
	}
	return l.once(ctx, task, func(ctx context.Context) error { return l.apply(ctx, task, acting, manifests, grantAnew) })
}

// once has nobody else apply a task's manifests meanwhile, nor once it is done. errElsewhere: another launch does, or has.
func (l *Launcher) once(ctx context.Context, task query.Task, apply func(context.Context) error) error {
	q := query.New(l.pool)
	limited, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	until, err := q.BeginApplying(ctx, applyTimeout+applyReserve, task.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return errElsewhere
	}
	if err != nil {
		return fmt.Errorf("take the manifests of task %s: %w", task.ID, err)
	}
	failure := apply(limited)
	if err := q.EndApplying(context.WithoutCancel(ctx), failure == nil, task.ID, &until); err != nil {
		return errors.Join(failure, fmt.Errorf("give back the manifests of task %s: %w", task.ID, err))
	}
	return failure
}

func (l *Launcher) apply(
	ctx context.Context, task query.Task, acting *kube.Client, manifests []map[string]any, grantAnew func(context.Context) error,
) error {
	options := kube.ApplyOptions{FieldManager: kube.FieldManager(task.ID.String())}
	var applied []manifest.Ref
	err := onceGranted(ctx, func() (err error) {
		applied, err = acting.ApplyAll(ctx, manifests, options, grantAnew)
		return err
	})
	return errors.Join(err, l.audit(ctx, task, "apply", applied, err))
}

// audit notes what was done in the cluster on a task's behalf, and with what it ended if that was an error.
func (l *Launcher) audit(ctx context.Context, task query.Task, verb string, done []manifest.Ref, failure error) error {
	params := query.InsertActionsParams{TaskID: task.ID, Attempt: task.Attempt, Actor: actor, Verb: verb}
	add := func(resource any, outcome, reason string) error {
		encoded, err := json.Marshal(resource)
		if err != nil {
			return fmt.Errorf("encode an action: %w", err)
		}
		params.Resources, params.Outcomes = append(params.Resources, encoded), append(params.Outcomes, outcome)
		params.Rules, params.Reasons = append(params.Rules, task.PolicyRule), append(params.Reasons, reason)
		params.PolicyVersions = append(params.PolicyVersions, orEmpty(task.PolicyVersion))
		params.DiffDigests = append(params.DiffDigests, "")
		return nil
	}
	for _, ref := range done {
		if err := add(ref, "done", ""); err != nil {
			return err
		}
	}
	if failure != nil {
		outcome := "failed"
		if errors.Is(failure, kube.ErrConflict) {
			outcome = "conflict"
		}
		if err := add(map[string]string{"count": strconv.Itoa(len(done))}, outcome, postgres.Text(redact.Text(failure.Error()))); err != nil {
			return err
		}
	}
	if len(params.Resources) == 0 {
		return nil
	}
	if err := query.New(l.pool).InsertActions(context.WithoutCancel(ctx), params); err != nil {
		return fmt.Errorf("audit task %s: %w", task.ID, err)
	}
	return nil
}

func orEmpty(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
