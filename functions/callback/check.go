package callback

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/policy"
)

// check finds out whether a step can be taken, and settles it if it cannot, or if
// there is nothing to change. The verbs get and diff are done with that.
func (w *work) check(ctx context.Context, s *step) error {
	provider := w.provider(s)
	if err := w.look(ctx, s, provider != nil); err != nil || s.settled {
		return err
	}
	switch w.request.Action {
	case api.ActionVerbGet:
		w.present(s)
		return nil
	case api.ActionVerbDiff:
		if err := w.try(ctx, s); err != nil {
			return err
		}
		s.settle(api.ActionOutcomeDone, "")
		return nil
	case api.ActionVerbApply, api.ActionVerbDelete:
	}
	needed := w.decide(s, w.verbs(s)...)
	if s.settled {
		return nil
	}
	if provider != nil {
		s.unchecked = "Not checked by a dry run: it needs " + provider.ref.String() + ", which this request creates."
		s.summary = s.unchecked
	} else if err := w.try(ctx, s); err != nil || s.settled {
		return err
	}
	return w.approve(ctx, s, string(w.request.Action), needed)
}

// verbs are what a change is for the API server. It takes a server-side apply for a
// patch, also when that creates the resource.
func (w *work) verbs(s *step) []string {
	switch {
	case w.request.Action == api.ActionVerbDelete:
		return []string{policy.VerbDelete}
	case len(s.before) == 0:
		return []string{policy.VerbCreate, policy.VerbPatch}
	default:
		return []string{policy.VerbPatch}
	}
}

// look reads the resource as it is. Every action begins with it, and so has to be
// allowed to get it: a change is shown as a difference, which tells what there was.
func (w *work) look(ctx context.Context, s *step, unserved bool) error {
	needed := w.decide(s, policy.VerbGet)
	if s.settled {
		return nil
	}
	if err := w.approve(ctx, s, policy.VerbGet, needed); err != nil || s.settled {
		return err
	}
	if !unserved {
		if _, err := w.cluster.Resolve(ctx, s.ref.APIVersion, s.ref.Kind); err != nil {
			return s.fail(err)
		}
	}
	live, err := w.cluster.Live(ctx, s.ref)
	if err != nil {
		return s.fail(err)
	}
	if live != nil {
		s.uid = live.GetUID()
		if s.before, err = w.canonical(live); err != nil {
			return s.fail(err)
		}
		return nil
	}
	switch w.request.Action {
	case api.ActionVerbGet:
		s.settle(api.ActionOutcomeFailed, "There is no "+s.ref.String()+".")
	case api.ActionVerbDelete:
		s.settle(api.ActionOutcomeUnchanged, "")
	case api.ActionVerbApply, api.ActionVerbDiff:
	}
	return nil
}

// present shows the resource, the values of Secrets as digests.
func (w *work) present(s *step) {
	if w.shown += len(s.before[0].JSON()); w.shown > maxShown {
		s.settle(api.ActionOutcomeFailed, fmt.Sprintf("The answer would have more than %d bytes of manifests: get fewer at a time.", maxShown))
		return
	}
	s.result.Manifest = s.before[0].JSON()
	s.settle(api.ActionOutcomeDone, "")
}

// try has the API server make the change without keeping it, and settles the step if
// it cannot be made or changes nothing.
func (w *work) try(ctx context.Context, s *step) error {
	var after []manifest.Object
	if w.request.Action == api.ActionVerbDelete {
		if err := w.cluster.Remove(ctx, s.ref, kube.RemoveOptions{UID: s.uid, DryRun: true}); err != nil {
			return s.fail(err)
		}
	} else {
		applied, err := w.cluster.Apply(ctx, s.content, w.applyOptions(s, true))
		if err != nil {
			return s.fail(err)
		}
		if after, err = w.canonical(applied); err != nil {
			return s.fail(err)
		}
	}
	diff := manifest.Compare(s.before, after)
	s.show(diff)
	if diff.Empty() {
		s.settle(api.ActionOutcomeUnchanged, "")
	}
	return nil
}

func (w *work) canonical(o *unstructured.Unstructured) ([]manifest.Object, error) {
	object, err := manifest.New(o.Object, w.salt)
	if err != nil {
		return nil, fmt.Errorf("read what the API server answered: %w", err)
	}
	return []manifest.Object{object}, nil
}

// provider is the step of the same request that creates what another cannot be
// without: its namespace, or the definition of its kind. nil if there is none.
func (w *work) provider(s *step) *step {
	if w.request.Action != api.ActionVerbApply {
		return nil
	}
	for _, p := range w.steps {
		if p.settled || len(p.before) > 0 {
			continue
		}
		switch p.ref.Kind {
		case "Namespace":
			if p.ref.APIVersion == "v1" && p.ref.Name == s.ref.Namespace {
				return p
			}
		case "CustomResourceDefinition":
			group, _, _ := unstructured.NestedString(p.content, "spec", "group")
			kind, _, _ := unstructured.NestedString(p.content, "spec", "names", "kind")
			if group == s.ref.Identity().APIVersion && kind == s.ref.Kind {
				return p
			}
		}
	}
	return nil
}
