package callback

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
)

// auditTimeout bounds the writing of the audit, which is done also when the time for
// the actions is up.
const auditTimeout = 5 * time.Second

// audit writes what became of the steps.
func (w *work) audit(ctx context.Context, dryRun bool, steps ...*step) error {
	return w.write(ctx, dryRun, steps, func(s *step) (api.ActionOutcome, string) {
		if s.result.Error != "" {
			return s.result.Outcome, s.result.Error
		}
		return s.result.Outcome, s.result.Decision.Reason
	})
}

// announce writes that the steps were tried and are about to be made. The audit takes
// no changes, so that this is a row of its own: a dry run with the digest of the change.
// If none follows it for the same resource, nobody could say what became of it, and the
// resource's managedFields tell whether the task did change it.
func (w *work) announce(ctx context.Context, steps []*step) error {
	return w.write(ctx, true, steps, func(s *step) (api.ActionOutcome, string) {
		if s.unchecked != "" {
			return api.ActionOutcomeDone, s.unchecked + " It is about to be done."
		}
		return api.ActionOutcomeDone, "The dry run before it is done."
	})
}

func (w *work) write(ctx context.Context, dryRun bool, steps []*step, tell func(*step) (api.ActionOutcome, string)) error {
	if len(steps) == 0 {
		return nil
	}
	rows := query.InsertActionsParams{
		TaskID: w.taskID, Attempt: w.attempt, Actor: w.actor, Verb: string(w.request.Action), DryRun: dryRun, Force: w.request.Force,
	}
	for _, s := range steps {
		resource, err := json.Marshal(s.ref)
		if err != nil {
			return fmt.Errorf("audit %s: %w", s.ref, err)
		}
		outcome, reason := tell(s)
		rows.Resources = append(rows.Resources, resource)
		rows.Outcomes = append(rows.Outcomes, string(outcome))
		rows.Rules = append(rows.Rules, s.result.Decision.Rule)
		rows.PolicyVersions = append(rows.PolicyVersions, w.policy.Version)
		rows.Reasons = append(rows.Reasons, postgres.Text(reason))
		rows.DiffDigests = append(rows.DiffDigests, s.result.DiffDigest)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	if err := query.New(w.pool).InsertActions(ctx, rows); err != nil {
		return fmt.Errorf("audit actions of task %s: %w", w.taskID, postgres.Classify(err))
	}
	return nil
}
