package callback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/telemetry"
)

const (
	// servedWithin is how long what needs a definition or a namespace of the same
	// request is tried until the API server serves it.
	servedWithin = 15 * time.Second
	serveRetry   = 250 * time.Millisecond
	// actingReserve is how much longer than its time a request may be under way: for the API server to do what it was
	// asked for last, and for the audit.
	actingReserve = 10 * time.Second
	// maxShown bounds the manifests of one answer, in bytes.
	maxShown = 8 << 20
)

// Operator carries out in the cluster what running tasks ask for.
type Operator struct {
	pool     *pgxpool.Pool
	outbox   *outbox.Outbox
	cluster  *kube.Client
	policies *policy.Store
	// maxApprovals bounds the open approvals of one task.
	maxApprovals int
	// namespace is where the tasks' service accounts are.
	namespace string
}

// Acted is what became of a request.
type Acted struct {
	// Results are in the order of the request.
	Results []api.ActionResult
	work    *work
}

// work is a request while it is carried out.
type work struct {
	pool    *pgxpool.Pool
	outbox  *outbox.Outbox
	cluster *kube.Client // with the rights of the task, and no others
	policy  *policy.Policy
	task    policy.Task
	taskID  uuid.UUID
	attempt int16
	salt    []byte
	actor   string
	request api.ActionRequest
	steps   []*step // in the order of the request
	shown   int     // bytes of manifests in the answer
	// maxApprovals bounds the task's open approvals.
	maxApprovals int
}

// Act decides each action by the policy in force, carries it out with the task's own
// rights, and writes it to the audit. What changes resources is tried by dry runs
// first: unless all of it can be done, nothing is. Errors are problem.ErrConflict if
// the attempt does not run, ErrInvalid for manifests that cannot be read, and
// ErrUnavailable if the cluster or the database does not answer; what was done until
// then is in the audit, and the same request can be sent again.
func (o *Operator) Act(ctx context.Context, reporter Reporter, request api.ActionRequest) (acted *Acted, err error) {
	ctx, span := telemetry.Start(ctx, "act")
	defer telemetry.End(span, &err)
	w, err := o.begin(ctx, reporter, request)
	if err != nil {
		return nil, err
	}
	if w.changes() && !request.DryRun {
		limited, end, err := o.note(ctx, w)
		if err != nil {
			return nil, err
		}
		defer end()
		ctx = limited
	}
	if err := w.run(ctx); err != nil {
		return nil, w.unavailable(err)
	}
	acted = &Acted{work: w}
	for _, s := range w.steps {
		acted.Results = append(acted.Results, s.result)
		s.content = nil // Not kept while waiting.
	}
	return acted, nil
}

func (o *Operator) begin(ctx context.Context, reporter Reporter, request api.ActionRequest) (*work, error) {
	row, err := query.New(o.pool).GetActing(ctx, reporter.TaskID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, problem.ErrNotFound.With("There is no task %s.", reporter.TaskID)
	}
	if err != nil {
		return nil, fmt.Errorf("read task %s: %w", reporter.TaskID, postgres.Classify(err))
	}
	if err := mayAct(row, reporter); err != nil {
		return nil, err
	}
	steps, err := readSteps(request, reporter.Salt)
	if err != nil {
		return nil, err
	}
	inForce, _, err := o.policies.Current(ctx) // The store logs what is wrong with the file.
	if err != nil {
		return nil, err
	}
	account := kube.RightsSpec{TaskID: reporter.TaskID.String(), Attempt: int(row.Attempt), Suffix: kube.ActionsSuffix}.Name()
	cluster, err := o.cluster.As(o.namespace, account)
	if err != nil {
		return nil, err
	}
	return &work{
		pool: o.pool, outbox: o.outbox, maxApprovals: o.maxApprovals, cluster: cluster, policy: inForce, taskID: reporter.TaskID, attempt: row.Attempt, salt: reporter.Salt,
		actor: reporter.String(), request: request, steps: steps,
		task: policy.Task{
			Caller: row.Caller, Project: row.Project, ID: reporter.TaskID.String(), Tags: row.Tags,
			Priority: int(row.Priority), Mode: row.OrchestrationMode,
		},
	}, nil
}

// note notes that a request is under way, for finalize to wait for its end, which it brings about after actionTimeout.
func (o *Operator) note(ctx context.Context, w *work) (limited context.Context, end func(), err error) {
	q, id := query.New(o.pool), uuid.Must(uuid.NewV7())
	limited, cancel := context.WithTimeout(ctx, actionTimeout)
	noted, err := q.BeginActing(ctx, query.BeginActingParams{
		ID: id, Span: actionTimeout + actingReserve, TaskID: w.taskID, Attempt: w.attempt,
	})
	if err == nil && noted == 0 {
		err = problem.ErrConflict.With("The task's attempt has ended meanwhile, or is to be cancelled; changes are for tasks that run.")
	}
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("note actions of task %s: %w", w.taskID, postgres.Classify(err))
	}
	return limited, func() {
		cancel()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
		defer cancel()
		if err := q.EndActing(ctx, id); err != nil {
			slog.WarnContext(ctx, "the end of actions is not noted; they count as under way for a while", "task", w.taskID, "error", err)
		}
	}, nil
}

// mayAct reports whether there is an execution to act for. One may run, and ask, in
// the moment before launch has said that its task does.
func mayAct(row query.GetActingRow, reporter Reporter) error {
	status := api.TaskStatus(row.Status)
	if status != api.TaskStatusRunning && (status != api.TaskStatusLaunching || reporter.Attempt == 0) {
		return problem.ErrConflict.With("The task is %s; actions are for tasks that run.", row.Status)
	}
	if reporter.Attempt != 0 && reporter.Attempt != int(row.Attempt) {
		return problem.ErrConflict.With("The token is that of attempt %d, which is over; attempt %d runs.", reporter.Attempt, row.Attempt)
	}
	return nil
}

// run takes the steps. Its errors are those that end the whole request.
func (w *work) run(ctx context.Context) error {
	steps := w.ordered()
	for _, s := range steps {
		if err := w.check(ctx, s); err != nil {
			s.settle(api.ActionOutcomeFailed, err.Error())
			return errors.Join(err, w.audit(ctx, w.request.DryRun, settled(steps, true)...))
		}
	}
	if !w.changes() {
		return w.audit(ctx, w.request.DryRun, steps...)
	}
	if held := withhold(steps); held || w.request.DryRun {
		for _, s := range steps {
			s.settle(api.ActionOutcomeDone, s.unchecked)
		}
		return w.audit(ctx, w.request.DryRun, steps...)
	}
	return w.change(ctx, steps)
}

// changes says whether the request is to change anything, dry run or not.
func (w *work) changes() bool {
	return w.request.Action == api.ActionVerbApply || w.request.Action == api.ActionVerbDelete
}

// ordered are the steps in the order in which they can be taken: what others need
// goes first when it is applied, and last when it is deleted.
func (w *work) ordered() []*step {
	if !w.changes() {
		return w.steps
	}
	kinds := make([]map[string]any, len(w.steps))
	for i, s := range w.steps {
		kinds[i] = map[string]any{"kind": s.ref.Kind, "step": s}
	}
	kube.SortForApply(kinds) // which looks at the kinds alone
	ordered := make([]*step, len(kinds))
	for i, kind := range kinds {
		ordered[i], _ = kind["step"].(*step)
	}
	if w.request.Action == api.ActionVerbDelete {
		slices.Reverse(ordered)
	}
	return ordered
}

// withhold leaves all as it is if any step cannot be taken, and says whether so.
func withhold(steps []*step) bool {
	stands := slices.ContainsFunc(steps, func(s *step) bool {
		return s.settled && s.result.Outcome != api.ActionOutcomeUnchanged
	})
	if stands {
		for _, s := range steps {
			s.settle(api.ActionOutcomeUnchanged, "Left as it is, because not all of the request can be done.")
		}
	}
	return stands
}

// change carries out what was checked. That it is about to is written to the audit
// first, and what became of each step after it: if the process dies in between, the
// audit still says what was under way.
func (w *work) change(ctx context.Context, steps []*step) error {
	due := settled(steps, false)
	if err := errors.Join(w.audit(ctx, false, settled(steps, true)...), w.announce(ctx, due)); err != nil {
		return err
	}
	for i, s := range due {
		unavailable := w.take(ctx, s)
		if unavailable != nil {
			s.settle(api.ActionOutcomeFailed, unavailable.Error())
		}
		if err := errors.Join(unavailable, w.audit(ctx, false, s)); err != nil {
			return err
		}
		if s.result.Outcome != api.ActionOutcomeDone {
			for _, later := range due[i+1:] {
				later.settle(api.ActionOutcomeUnchanged, "Left as it is, because "+s.ref.String()+" could not be changed.")
			}
			return w.audit(ctx, false, due[i+1:]...)
		}
	}
	return nil
}

// settled are the steps that have their outcome, or those that have none.
func settled(steps []*step, is bool) []*step {
	return slices.DeleteFunc(slices.Clone(steps), func(s *step) bool { return s.settled != is })
}

// take makes the change of one step.
func (w *work) take(ctx context.Context, s *step) error {
	var after []manifest.Object
	if w.request.Action == api.ActionVerbDelete {
		if err := w.cluster.Remove(ctx, s.ref, kube.RemoveOptions{UID: s.uid}); err != nil {
			return s.fail(err)
		}
	} else {
		applied, err := w.applyOnceServed(ctx, s)
		if err != nil {
			return s.fail(err)
		}
		if after, err = w.canonical(applied); err != nil {
			return s.fail(err)
		}
	}
	s.show(manifest.Compare(s.before, after))
	s.settle(api.ActionOutcomeDone, "")
	return nil
}

// applyOnceServed applies a manifest. What needs something that the request itself
// has just created waits for the API server to know it.
func (w *work) applyOnceServed(ctx context.Context, s *step) (*unstructured.Unstructured, error) {
	for until := time.Now().Add(servedWithin); ; {
		applied, err := w.cluster.Apply(ctx, s.content, w.applyOptions(s, false))
		if s.unchecked == "" || !errors.Is(err, kube.ErrNotFound) || time.Now().After(until) {
			return applied, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(serveRetry):
		}
	}
}

// applyOptions have only that changed which was found: what is gone by now would be created, which was not decided.
func (w *work) applyOptions(s *step, dryRun bool) kube.ApplyOptions {
	return kube.ApplyOptions{
		FieldManager: kube.FieldManager(w.taskID.String()), Force: w.request.Force, UID: s.uid, DryRun: dryRun,
	}
}

// unavailable is the answer of a request that could not be carried out to its end.
func (w *work) unavailable(err error) error {
	if !errors.Is(err, kube.ErrUnavailable) {
		return err
	}
	done := 0
	for _, s := range w.steps {
		if s.settled && s.result.Outcome == api.ActionOutcomeDone {
			done++
		}
	}
	return problem.ErrUnavailable.With("The cluster does not answer; %d of %d actions were done. Send the same request again later.",
		done, len(w.steps)).Because(err)
}
