package callback

import (
	"context"
	"time"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/policy"
)

// Await waits until what was applied is ready, as long as that and ctx last, and puts
// into the results whether it is, or what it still waits for. To watch a resource is
// for the policy to allow, too.
func (a *Acted) Await(ctx context.Context, wait time.Duration) {
	if wait == 0 || a.work.request.Action != api.ActionVerbApply || a.work.request.DryRun {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for i, s := range a.work.steps {
		result := &a.Results[i]
		if result.Error != "" || result.Outcome != api.ActionOutcomeDone && result.Outcome != api.ActionOutcomeUnchanged {
			continue
		}
		state := a.work.await(ctx, s)
		result.Ready = &state.Ready
		if !state.Ready {
			result.Error = s.withoutSecrets("Not ready: " + state.Message)
		}
	}
}

func (w *work) await(ctx context.Context, s *step) kube.Readiness {
	decision := w.policy.Decide(policy.Action{Task: w.task, Verb: policy.VerbWatch, Resource: s.resource()})
	if !decision.Allowed {
		return kube.Readiness{Message: decision.Reason}
	}
	state, err := w.cluster.Await(ctx, s.ref, func(kube.Readiness) {})
	if err != nil && (ctx.Err() == nil || state.Message == "") {
		return kube.Readiness{Message: err.Error()}
	}
	return state
}
