package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/budget"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/redact"
	"github.com/graf-run/graf/shared/retry"
	"github.com/graf-run/graf/shared/snapshot"
	"github.com/graf-run/graf/shared/telemetry"
)

// actor is the function's name in the audit.
const actor = "graf/launch"

// cluster starts and stops executions; *kube.Client is the real one.
type cluster interface {
	Launch(ctx context.Context, spec kube.JobSpec) (kube.Execution, error)
	Delete(ctx context.Context, execution kube.Execution) error
}

// Launcher gives tasks a slot and starts their executions.
type Launcher struct {
	pool    *pgxpool.Pool
	outbox  *outbox.Outbox
	slots   *limiter.Slots
	bucket  *retry.Bucket
	cluster cluster
	// resources is the same cluster, for those tasks that may act in it.
	resources *kube.Client
	recaller  recaller
	execution ExecutionConfig
	// attempts is after how many failed launches a task fails.
	attempts int
	log      *slog.Logger
}

// launchAdmitted starts the attempt that was given a slot, by its limiter.AttemptID.
func (l *Launcher) launchAdmitted(ctx context.Context, attemptID string) error {
	id, attempt, err := limiter.ParseAttemptID(attemptID)
	if err != nil {
		return err
	}
	taskID, err := uuid.Parse(id)
	if err != nil {
		return fmt.Errorf("slots: %q is not a task: %w", id, err)
	}
	task, err := query.New(l.pool).GetTask(ctx, taskID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read task %s: %w", taskID, err)
	}
	queued := task.Status == "queued" && int(task.Attempt)+1 == attempt
	launching := task.Status == "launching" && int(task.Attempt) == attempt
	switch {
	case (queued || launching) && task.OrchestrationMode == modeTemporal:
		return l.requestExecution(ctx, task, attempt)
	case queued:
		return l.begin(ctx, task)
	case launching:
		return l.start(ctx, task)
	}
	// Cancelled or gone on in the meantime: its slot is free again.
	_, err = l.slots.Release(ctx, attemptID)
	return err
}

// begin prepares a task's next attempt and starts it.
func (l *Launcher) begin(ctx context.Context, task query.Task) error {
	ctx = telemetry.WithTraceParent(ctx, task.TraceParent)
	in, prepared, err := l.prepare(ctx, task)
	if err != nil || !prepared {
		return err
	}
	task.Attempt++
	return l.launch(ctx, task, in)
}

// prepare recalls what earlier tasks taught and moves the task to launching with
// its enriched prompt. false: another launch was faster, or the task was
// cancelled; launchAdmitted of the winner, or the sweep, looks after the slot.
func (l *Launcher) prepare(ctx context.Context, task query.Task) (launchInput, bool, error) {
	attempt := task.Attempt + 1
	previous, err := l.previousFailure(ctx, task)
	if err != nil {
		return launchInput{}, false, err
	}
	recalled := l.recaller.recall(ctx, task)
	token, hash := auth.NewTaskToken()
	params := query.BeginAttemptParams{
		UpdatedBy: actor, TaskID: task.ID, Attempt: attempt, TokenHash: hash,
		Prompt:     enrich(task.Prompt, recalled.hits, previous),
		RecallMode: recalled.mode, RecallReason: recalled.reason,
	}
	for i, hit := range recalled.hits {
		params.Ranks = append(params.Ranks, int16(i+1))
		params.MemoryIds = append(params.MemoryIds, hit.MemoryID)
		params.Scores = append(params.Scores, float32(hit.Score))
	}
	if _, err := query.New(l.pool).BeginAttempt(ctx, params); errors.Is(err, pgx.ErrNoRows) {
		return launchInput{}, false, nil
	} else if err != nil {
		return launchInput{}, false, fmt.Errorf("begin attempt %d of task %s: %w", attempt, task.ID, err)
	}
	return launchInput{
		prompt: params.Prompt, token: token, memories: len(recalled.hits), mode: recalled.mode,
	}, true, nil
}

// start carries on a launch that was cut off: the prompt is stored, the token
// is not, so the container is given another.
func (l *Launcher) start(ctx context.Context, task query.Task) error {
	ctx = telemetry.WithTraceParent(ctx, task.TraceParent)
	q := query.New(l.pool)
	attempt, err := q.GetAttempt(ctx, task.ID, task.Attempt)
	if err != nil {
		return fmt.Errorf("read attempt %d of task %s: %w", task.Attempt, task.ID, err)
	}
	memories, err := q.CountRecalls(ctx, task.ID, task.Attempt)
	if err != nil {
		return fmt.Errorf("count the memories of task %s: %w", task.ID, err)
	}
	token, hash := auth.NewTaskToken()
	if err := q.InsertToken(ctx, hash, task.ID, fmt.Sprintf("attempt %d", task.Attempt)); err != nil {
		return fmt.Errorf("store a token of task %s: %w", task.ID, err)
	}
	return l.launch(ctx, task, launchInput{
		prompt: attempt.Prompt, token: token, memories: int(memories), mode: attempt.RecallMode,
	})
}

// resume carries on a launch if it still holds its slot, and otherwise lets it
// wait for one.
func (l *Launcher) resume(ctx context.Context, task query.Task) error {
	id := limiter.AttemptID(task.ID.String(), int(task.Attempt))
	err := l.rebuilding(ctx, func() error { return l.slots.Extend(ctx, id, time.Now().Add(staleAge)) })
	switch {
	case errors.Is(err, limiter.ErrNotHeld):
		if err := l.noteSlot(ctx, task, nil); err != nil {
			return err
		}
		return l.enqueueAndAdmit(ctx,
			waiting(task.ID, task.Caller, task.Namespaces, task.Priority, task.Attempt, task.CreatedAt))
	case err != nil:
		return err
	case task.OrchestrationMode == modeTemporal:
		return l.requestExecution(ctx, task, int(task.Attempt))
	}
	return l.start(ctx, task)
}

type launchInput struct {
	prompt   string
	token    string
	memories int
	mode     string
}

// launch starts the execution of a task that is launching and holds a slot. It
// may be done twice: the execution is the same.
func (l *Launcher) launch(ctx context.Context, task query.Task, in launchInput) error {
	if task.CancelRequestedAt != nil {
		return l.abandon(ctx, task)
	}
	deadline := time.Now().Add(time.Duration(task.TimeoutSeconds) * time.Second)
	held, err := l.keepSlot(ctx, task, deadline.Add(finalizeReserve))
	if err != nil || !held {
		return err
	}
	working, cancel := untilSettling(ctx)
	defer cancel()
	if working.Err() != nil { // Others have taken the delivery's time: this is no try.
		return context.Cause(working)
	}
	execution, err := l.execute(working, task, in, deadline)
	switch {
	case errors.Is(err, errElsewhere):
		return nil // Should that one be cut off, it is caught as any launch is.
	case err != nil && working.Err() != nil: // whatever it was in the middle of
		return l.retryLater(ctx, task, errors.Join(context.Cause(working), err))
	case hopeless(err):
		return l.fail(ctx, task, err)
	case errors.Is(err, kube.ErrUnavailable), errors.Is(err, kube.ErrConflict):
		return l.retryLater(ctx, task, err)
	case err != nil:
		return err
	}
	return l.started(ctx, task, in, execution, deadline)
}

// settleTime is what a launch keeps of its delivery's time, to note how it went: one that is only cut off is tried for ever.
const settleTime = 4 * time.Second

func untilSettling(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, bounded := ctx.Deadline(); bounded {
		return context.WithDeadlineCause(ctx, end.Add(-settleTime), errTooLong)
	}
	return context.WithCancel(ctx)
}

var errTooLong = errors.New("the cluster took too long")

// execute readies the cluster for the attempt and makes its execution.
func (l *Launcher) execute(ctx context.Context, task query.Task, in launchInput, deadline time.Time) (kube.Execution, error) {
	account, err := l.provision(ctx, task)
	if errors.Is(err, kube.ErrConflict) {
		return kube.Execution{}, fmt.Errorf("%w: %w", errUnready, err)
	}
	if err != nil {
		return kube.Execution{}, err
	}
	spec, err := l.spec(ctx, task, in, deadline)
	if err != nil {
		return kube.Execution{}, err
	}
	spec.ServiceAccount = account
	return l.cluster.Launch(ctx, spec)
}

// hopeless tells of errors that another try would not mend.
func hopeless(err error) bool {
	return errors.Is(err, kube.ErrInvalid) || errors.Is(err, kube.ErrForbidden) || errors.Is(err, kube.ErrNotFound) ||
		errors.Is(err, errUnreadable) || errors.Is(err, errBudgetSpent) || errors.Is(err, errUnready)
}

// errUnready says that something in the cluster stands against the task: others manage what its manifests would change, or
// a namespace is being removed.
var errUnready = errors.New("the cluster cannot be readied for the task")

// errBudgetSpent says that earlier attempts have left nothing of the task's budget.
var errBudgetSpent = errors.New("the budget is spent")

// errUnreadable says that what was stored of a task cannot be given to an execution.
var errUnreadable = errors.New("what is stored of the task cannot be used")

func (l *Launcher) spec(ctx context.Context, task query.Task, in launchInput, deadline time.Time) (kube.JobSpec, error) {
	agent, err := agentOf(task)
	if err != nil {
		return kube.JobSpec{}, err
	}
	manifests, err := l.beforeManifests(ctx, task)
	if err != nil {
		return kube.JobSpec{}, err
	}
	left, err := l.budget(ctx, task)
	if err != nil {
		return kube.JobSpec{}, err
	}
	_, runnerImage := l.execution.runner()
	base := "/v1/codex/tasks/" + task.ID.String()
	return kube.JobSpec{
		Kind: kube.KindFor(task.OrchestrationMode), WorkflowTemplate: l.execution.workflowTemplate(task),
		TaskID: task.ID.String(), Attempt: int(task.Attempt), Namespace: l.execution.Namespace,
		Image: l.execution.image(agent), RunnerImage: runnerImage, Command: l.execution.command(agent, len(manifests) > 0),
		Env: agent.Env, SecretEnv: secretEnv(agent),
		Prompt: in.prompt, CallbackToken: in.token,
		CallbackURL: strings.TrimRight(l.execution.CallbackBaseURL, "/") + base + "/events",
		MemoryURL:   strings.TrimRight(l.execution.MemoryBaseURL, "/") + base + "/memory",
		ActionsURL:  strings.TrimRight(l.execution.CallbackBaseURL, "/") + base + "/actions",
		Manifests:   manifests, TraceParent: task.TraceParent, Budget: left, ModelPrices: l.execution.ModelPrices.text,
		Timeout: time.Duration(task.TimeoutSeconds) * time.Second, Deadline: deadline,
		// What the runner needs for artifacts and last reports comes after the agent's own time.
		GracePeriod: l.execution.GracePeriod + afterStop + 2*lastReports, TTL: l.execution.TTL,
		Requests: agent.Requests, Limits: agent.Limits,
	}, nil
}

// budget is what is left of a task's budget for its present attempt.
func (l *Launcher) budget(ctx context.Context, task query.Task) (kube.Budget, error) {
	used, spent, err := budget.Check(ctx, query.New(l.pool), task.ID, task.BudgetTokens, task.BudgetUsd)
	if err != nil {
		return kube.Budget{}, err
	}
	if spent != "" {
		return kube.Budget{}, fmt.Errorf("%w: %s", errBudgetSpent, spent)
	}
	var left kube.Budget
	if task.BudgetTokens != nil {
		left.Tokens = new(*task.BudgetTokens - used.InputTokens - used.OutputTokens)
	}
	if task.BudgetUsd != nil {
		left.USD = new(*task.BudgetUsd - used.Usd)
	}
	return left, nil
}

// beforeManifests are the task's resources as they were, a file each.
func (l *Launcher) beforeManifests(ctx context.Context, task query.Task) (map[string][]byte, error) {
	raw, err := query.New(l.pool).GetBeforeManifests(ctx, task.ID, snapshot.Live)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifests of task %s: %w", task.ID, err)
	}
	objects, err := manifest.Parse(raw, task.ManifestSalt)
	if err != nil {
		return nil, fmt.Errorf("%w: the manifests: %w", errUnreadable, err)
	}
	files, err := manifest.Files(objects)
	if err != nil {
		return nil, fmt.Errorf("%w: the manifests %w", errUnreadable, err)
	}
	contents := make(map[string][]byte, len(files))
	for _, file := range files {
		contents[file.Name] = []byte(file.YAML)
	}
	return contents, nil
}

// started moves the task to running and announces it. If the execution has
// ended already, finalize was faster and there is nothing left to say.
func (l *Launcher) started(ctx context.Context, task query.Task, in launchInput,
	execution kube.Execution, deadline time.Time,
) error {
	var cancelled, late bool
	err := l.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		row, err := tx.StartAttempt(ctx, query.StartAttemptParams{
			UpdatedBy: actor, DeadlineAt: &deadline, TaskID: task.ID, Attempt: task.Attempt,
			Kind: &execution.Kind, Name: &execution.Name, Namespace: &execution.Namespace, Uid: &execution.UID,
		})
		if late = errors.Is(err, pgx.ErrNoRows); late {
			return nil
		}
		if err != nil {
			return err
		}
		cancelled = row.CancelRequestedAt != nil
		tx.Announce(event.NewTask(ctx, event.TypeTaskStarted, event.SourceLaunch, task.ID, event.TaskStarted{
			TaskID: task.ID, Attempt: int(task.Attempt), Execution: event.Execution(execution),
			MemoryUsed: in.memories, RecallMode: in.mode, StartedAt: time.Now().UTC(), DeadlineAt: deadline.UTC(),
		}))
		return nil
	})
	if err != nil {
		return fmt.Errorf("mark task %s as running: %w", task.ID, err)
	}
	if late {
		if cancelled, err = l.givenUp(ctx, task); err != nil {
			return err
		}
	}
	if cancelled {
		return l.cluster.Delete(ctx, execution)
	}
	return nil
}

// retryLater puts the launch into the retry bucket: the task keeps its slot and
// its attempt, and waits. After the last try it fails.
func (l *Launcher) retryLater(ctx context.Context, task query.Task, cause error) error {
	failures, err := query.New(l.pool).CountLaunchFailure(ctx, task.ID, task.Attempt)
	if err != nil {
		return fmt.Errorf("count a failed launch of task %s: %w", task.ID, errors.Join(err, cause))
	}
	if int(failures) >= l.attempts {
		return l.fail(ctx, task, fmt.Errorf("given up after %d tries: %w", failures, cause))
	}
	id := limiter.AttemptID(task.ID.String(), int(task.Attempt))
	due, _, err := l.bucket.Schedule(ctx, id, int(failures), redact.Text(cause.Error()))
	if err != nil {
		return fmt.Errorf("schedule the launch of task %s: %w", task.ID, errors.Join(err, cause))
	}
	l.log.WarnContext(ctx, "launch put off", "task", task.ID, "failures", failures, "due", due, "error", redact.Text(cause.Error()))
	return nil
}

// fail ends a task whose execution cannot be started, and frees its slot.
func (l *Launcher) fail(ctx context.Context, task query.Task, cause error) error {
	class, reason := "infrastructure", "the execution could not be started: "+redact.Text(postgres.Text(cause.Error()))
	if errors.Is(cause, errBudgetSpent) {
		class, reason = "budget", cause.Error()
	}
	failed := false
	err := l.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		now, err := tx.LockTask(ctx, task.ID)
		if err != nil {
			return err
		}
		if now.CancelRequestedAt != nil {
			class, reason = "cancelled", cancellation(now)
		}
		ended, err := tx.FailLaunch(ctx, query.FailLaunchParams{
			UpdatedBy: actor, FailureClass: &class, FailureReason: &reason, TaskID: task.ID, Attempt: task.Attempt,
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // It went on without this, and holds its slot.
		}
		if err != nil {
			return err
		}
		// Before the event that has launch look for a free slot.
		tx.AfterCommit(func(ctx context.Context) { l.release(ctx, task.ID, int(task.Attempt)) })
		if err := tx.FailAttempt(ctx, query.FailAttemptParams{
			FailureClass: &class, FailureReason: &reason, TaskID: task.ID, Attempt: task.Attempt,
		}); err != nil {
			return err
		}
		failed = true
		return tx.AnnounceFinished(ctx, event.SourceLaunch, ended)
	})
	if err != nil {
		return fmt.Errorf("fail task %s: %w", task.ID, errors.Join(err, cause))
	}
	if failed {
		l.removeFailed(ctx, task, cause)
		l.revoke(ctx, task)
	}
	return nil
}

// removeFailed removes the execution that an earlier try of a failed launch may have made. One of another's has the name of
// an attempt if there is a conflict; of a task that was cancelled it is removed already.
func (l *Launcher) removeFailed(ctx context.Context, task query.Task, cause error) {
	if errors.Is(cause, kube.ErrConflict) || errors.Is(cause, errCancelled) {
		return
	}
	if err := l.cluster.Delete(ctx, l.executionOf(task)); err != nil {
		l.log.WarnContext(ctx, "an execution may be left; the sweep will remove it", "task", task.ID, "error", err)
	}
}

// executionOf names the execution of a task's present attempt, whether or not there is one.
func (l *Launcher) executionOf(task query.Task) kube.Execution {
	return kube.Execution{
		Kind: kube.KindFor(task.OrchestrationMode), Name: kube.JobName(task.ID.String(), int(task.Attempt)),
		Namespace: l.execution.Namespace,
	}
}

// release gives an attempt's slot back. If Redis is away the sweep does it.
func (l *Launcher) release(ctx context.Context, task uuid.UUID, attempt int) {
	_, err := l.slots.Release(ctx, limiter.AttemptID(task.String(), attempt))
	if err != nil && !errors.Is(err, limiter.ErrRebuild) {
		l.log.WarnContext(ctx, "slot not released; the sweep will", "task", task, "error", err)
	}
}

// previousFailure is how the attempt before this one failed, for a first one the task that it runs again; empty if there
// is neither.
func (l *Launcher) previousFailure(ctx context.Context, task query.Task) (failure, error) {
	switch {
	case task.Attempt == 0 && task.RetryOf != nil:
		old, err := query.New(l.pool).GetTask(ctx, *task.RetryOf)
		if err != nil {
			return failure{}, fmt.Errorf("read task %s, which task %s runs again: %w", *task.RetryOf, task.ID, err)
		}
		return failure{task: old.ID.String(), class: orEmpty(old.FailureClass), reason: orEmpty(old.FailureReason)}, nil
	case task.Attempt == 0:
		return failure{}, nil
	}
	attempt, err := query.New(l.pool).GetAttempt(ctx, task.ID, task.Attempt)
	if err != nil {
		return failure{}, fmt.Errorf("read attempt %d of task %s: %w", task.Attempt, task.ID, err)
	}
	return failure{
		attempt: int(task.Attempt), maxAttempts: int(task.MaxAttempts),
		class: orEmpty(attempt.FailureClass), reason: orEmpty(attempt.FailureReason),
	}, nil
}
