package callback

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/redact"
)

// step is one action of a request.
type step struct {
	ref manifest.Ref
	// content is the manifest that is to be applied; nil for other actions.
	content map[string]any
	// before is the resource as it was found: none or one.
	before []manifest.Object
	// uid is that of the resource as it was found.
	uid types.UID
	// unchecked says why there was no dry run; "" if there was.
	unchecked string
	// summary says in words what would change.
	summary string
	// settled is whether the result has its outcome, which stays.
	settled bool
	result  api.ActionResult
}

// readSteps reads what is to be done to what. Its error is problem.ErrInvalid.
func readSteps(request api.ActionRequest, salt []byte) ([]*step, error) {
	var steps []*step
	var fields []problem.FieldError
	seen := map[manifest.Ref]bool{}
	add := func(pointer string, s *step, err error) {
		if err == nil {
			err = validName(s.ref)
		}
		if err == nil && seen[s.ref.Identity()] {
			err = errors.New("names a resource that is there already")
		}
		if err != nil {
			fields = append(fields, problem.FieldError{Pointer: pointer, Detail: redact.Text(err.Error())})
			return
		}
		seen[s.ref.Identity()] = true
		s.result.Resource = api.ResourceReference{
			APIVersion: s.ref.APIVersion, Kind: s.ref.Kind, Namespace: s.ref.Namespace, Name: s.ref.Name,
		}
		steps = append(steps, s)
	}
	for i, raw := range request.Manifests {
		s, err := readManifest(raw, salt)
		add("/manifests/"+strconv.Itoa(i), s, err)
	}
	for i, r := range request.Resources {
		ref := manifest.Ref{APIVersion: r.APIVersion, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
		add("/resources/"+strconv.Itoa(i), &step{ref: ref}, nil)
	}
	if len(fields) > 0 {
		return nil, problem.ErrInvalid.Fields(fields...)
	}
	return steps, nil
}

// readManifest reads numbers as Kubernetes does, which policies' expressions count on.
func readManifest(raw api.Manifest, salt []byte) (*step, error) {
	var content map[string]any
	if err := json.Unmarshal(raw, &content); err != nil {
		return nil, err
	}
	object, err := manifest.New(content, salt)
	if err != nil {
		return nil, err
	}
	return &step{ref: object.Ref, content: content}, nil
}

// validName refuses what would name something else as part of a URL.
func validName(ref manifest.Ref) error {
	if ref.Name == "" {
		return errors.New("must name one resource")
	}
	for field, name := range map[string]string{"name": ref.Name, "namespace": ref.Namespace} {
		if faults := path.IsValidPathSegmentName(name); len(faults) > 0 {
			return fmt.Errorf("%s %s", field, faults[0])
		}
	}
	return nil
}

// resource is how policies name it.
func (s *step) resource() policy.Resource {
	return policy.Resource{APIGroup: s.ref.Identity().APIVersion, Kind: s.ref.Kind, Namespace: s.ref.Namespace, Name: s.ref.Name}
}

// settle gives the step its outcome, if it has none yet. The text is for people.
func (s *step) settle(outcome api.ActionOutcome, text string) {
	if s.settled {
		return
	}
	s.settled, s.result.Outcome, s.result.Error = true, outcome, postgres.Text(s.withoutSecrets(text))
}

// fail settles the step by an error of the cluster. This is the one place that tells
// which outcome is whose. An error that is not about this step, but about the cluster
// as a whole, comes back.
func (s *step) fail(err error) error {
	conflict, isConflict := errors.AsType[*kube.ConflictError](err)
	switch {
	// Quotas among them, which may be free again for a Job that waits, but not for whoever asks now.
	case errors.Is(err, kube.ErrForbidden), apierrors.IsForbidden(err):
		s.settle(api.ActionOutcomeRefused, err.Error())
	case errors.Is(err, kube.ErrUnavailable):
		return err
	case isConflict:
		for _, c := range conflict.Conflicts {
			s.result.Conflicts = append(s.result.Conflicts, api.FieldConflict{Field: c.Field, Owner: c.Owner})
		}
		s.settle(api.ActionOutcomeConflict, err.Error())
	case errors.Is(err, kube.ErrConflict):
		s.settle(api.ActionOutcomeConflict, err.Error())
	default: // kube.ErrInvalid, kube.ErrNotFound, and what cannot be read.
		s.settle(api.ActionOutcomeFailed, err.Error())
	}
	return nil
}

// withoutSecrets takes secrets out of a text. The API server may quote the data of a
// Secret that it does not take.
func (s *step) withoutSecrets(text string) string {
	if s.ref.Kind == "Secret" {
		for _, field := range []string{"data", "stringData"} {
			text = withoutValues(text, s.content[field])
		}
	}
	return redact.Text(text)
}

// withoutValues takes the scalars of a value out of a text, as they are and as Go
// quotes them.
func withoutValues(text string, value any) string {
	switch value := value.(type) {
	case nil:
	case map[string]any:
		for _, item := range value {
			text = withoutValues(text, item)
		}
	case []any:
		for _, item := range value {
			text = withoutValues(text, item)
		}
	default:
		if plain := fmt.Sprint(value); plain != "" {
			text = strings.ReplaceAll(text, strings.Trim(strconv.Quote(plain), `"`), redact.Mark)
			text = strings.ReplaceAll(text, plain, redact.Mark)
		}
	}
	return text
}

// show puts a difference into the result.
func (s *step) show(diff manifest.Diff) {
	s.summary = redact.Text(diff.Summary) // It may be stored, for an approver.
	s.result.Diff, s.result.DiffDigest = diff.Unified, ""
	if !diff.Empty() {
		s.result.DiffDigest = diff.Digest
	}
}
