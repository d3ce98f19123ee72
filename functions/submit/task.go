package submit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/telemetry"
)

// pointerKey leads to the idempotency key in a request.
const pointerKey = "/idempotencyKey"

// saltBytes is the length of the salt for the digests of Secrets' values.
const saltBytes = 16

// newTask makes the rows of a task, before any transaction.
func newTask(ctx context.Context, p *policy.Policy, s Submission) (*newTaskRows, error) {
	request := withDefaults(s.Request)
	digest, err := requestDigest(request)
	if err != nil {
		return nil, err
	}
	if s.RetryOf != nil {
		digest = retryDigest(*s.RetryOf, digest)
	}
	agent, resources, err := encodeParts(request)
	if err != nil {
		return nil, err
	}
	id := uuid.Must(uuid.NewV7())
	t := &newTaskRows{row: query.InsertSubmissionParams{
		ID: id, Caller: s.Caller, IdempotencyKey: cmp.Or(s.Key, id.String()), RequestDigest: digest,
		UpdatedBy: actor, Prompt: request.Prompt, TargetResources: resources,
		Namespaces:        distinct(request.TargetResources, func(r api.ResourceReference) string { return r.Namespace }),
		ResourceKinds:     distinct(request.TargetResources, func(r api.ResourceReference) string { return r.Kind }),
		OrchestrationMode: string(request.OrchestrationMode), Agent: agent,
		//nolint:gosec // The document bounds these three.
		Priority: int16(*request.Priority), TimeoutSeconds: int32(*request.TimeoutSeconds), MaxAttempts: int16(*request.MaxAttempts),
		Tags: request.Tags, Metadata: request.Metadata,
		ManifestSalt: s.salt, TraceParent: telemetry.TraceParent(ctx),
		Status: string(api.TaskStatusQueued), Project: request.Project, RetryOf: s.RetryOf,
	}}
	if t.row.ManifestSalt == nil {
		t.row.ManifestSalt = salt()
	}
	if request.Budget != nil {
		t.row.BudgetTokens, t.row.BudgetUsd = request.Budget.Tokens, request.Budget.Usd
	}
	t.memory = memory.Task{ID: id, Namespaces: t.row.Namespaces, ResourceKinds: t.row.ResourceKinds, Tags: t.row.Tags}
	t.parts = []memory.Part{{Kind: memory.KindPrompt, Text: request.Prompt}}
	t.approvals = []approvalRow{}
	if s.IssueToken {
		t.token, t.row.TokenHash = auth.NewTaskToken()
	}
	return t, t.addManifests(p, request)
}

// addManifests takes the manifests for what they are, and has the policy decide.
func (t *newTaskRows) addManifests(p *policy.Policy, request api.TaskSubmission) (err error) {
	var applied []manifest.Object
	if request.Apply {
		applied, err = t.addApplied(request.Manifests)
	} else {
		err = t.addSnapshot(request.Manifests)
	}
	if err != nil {
		return err
	}
	if err := t.ask(p, request, applied); err != nil {
		return err
	}
	if len(t.approvals) > 0 {
		t.row.Status = string(api.TaskStatusAwaitingApproval)
	}
	if t.row.Approvals, err = json.Marshal(t.approvals); err != nil {
		return fmt.Errorf("encode approvals: %w", err)
	}
	return nil
}

// addSnapshot takes the state before the run, canonical and without the values
// of Secrets, as a snapshot and as memories.
func (t *newTaskRows) addSnapshot(manifests []api.Manifest) error {
	t.row.SnapshotID = uuid.Must(uuid.NewV7())
	if len(manifests) == 0 {
		return nil
	}
	objects, err := canonical(manifests, t.row.ManifestSalt)
	if err != nil {
		return err
	}
	if t.row.SnapshotManifests, err = json.Marshal(objects); err != nil {
		return fmt.Errorf("encode manifests: %w", err)
	}
	t.row.SnapshotDigest = manifest.Digest(objects)
	// As launch will: what it could not hand to the agent is refused now.
	files, err := manifest.Files(objects)
	if err != nil {
		return problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/manifests", Detail: err.Error()})
	}
	for i, object := range objects {
		t.parts = append(t.parts, memory.Part{
			Kind: memory.KindBefore, Number: int64(i), Text: files[i].YAML,
			Metadata: map[string]any{"resource": object.Ref},
		})
	}
	return nil
}

// canonical brings manifests into canonical form, lists taken apart. Errors name
// each bad one.
func canonical(manifests []api.Manifest, salt []byte) ([]manifest.Object, error) {
	objects := make([]manifest.Object, 0, len(manifests))
	seen := map[manifest.Ref]int{}
	var fields []problem.FieldError
	refuse := func(i int, detail string) {
		fields = append(fields, problem.FieldError{Pointer: "/manifests/" + strconv.Itoa(i), Detail: detail})
	}
	for i, raw := range manifests {
		resources, err := parseManifest(raw, salt)
		if err != nil {
			refuse(i, err.Error())
		}
		for _, object := range resources {
			if earlier, ok := seen[object.Ref.Identity()]; ok {
				refuse(i, fmt.Sprintf("%s is in manifest %d already; send each resource once", object.Ref, earlier))
				continue
			}
			seen[object.Ref.Identity()] = i
			objects = append(objects, object)
		}
	}
	if len(fields) > 0 {
		return nil, problem.ErrInvalid.Fields(fields...)
	}
	return objects, nil
}

func parseManifest(raw api.Manifest, salt []byte) ([]manifest.Object, error) {
	value, err := decodeExact(raw)
	if err != nil {
		return nil, err
	}
	content, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("must be an object")
	}
	return manifest.Resources(content, salt)
}

// withDefaults fills in what the document says of fields that are left out, so
// that a request means the same whether it spells them out or not.
func withDefaults(r api.TaskSubmission) api.TaskSubmission {
	r.IdempotencyKey = ""
	r.Agent = agentWithDefaults(r.Agent)
	r.OrchestrationMode = cmp.Or(r.OrchestrationMode, api.DefaultOrchestrationMode)
	if r.Priority == nil {
		r.Priority = new(api.DefaultPriority)
	}
	if r.TimeoutSeconds == nil {
		r.TimeoutSeconds = new(api.DefaultTimeoutSeconds)
	}
	if r.MaxAttempts == nil {
		r.MaxAttempts = new(api.DefaultMaxAttempts)
	}
	if r.Tags == nil {
		r.Tags = []string{}
	}
	if r.TargetResources == nil {
		r.TargetResources = []api.ResourceReference{}
	}
	if len(r.Metadata) == 0 {
		r.Metadata = json.RawMessage("{}")
	}
	return r
}

// requestDigest tells requests apart: SHA-256 over JSON with sorted keys, in
// which neither white space nor the order of keys matters.
func requestDigest(r api.TaskSubmission) ([]byte, error) {
	encoded, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	value, err := decodeExact(encoded)
	if err != nil {
		return nil, fmt.Errorf("read the request back: %w", err)
	}
	if encoded, err = json.Marshal(value); err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	sum := sha256.Sum256(encoded)
	return sum[:], nil
}

func encodeParts(r api.TaskSubmission) (agent, resources json.RawMessage, err error) {
	if agent, err = json.Marshal(r.Agent); err != nil {
		return nil, nil, fmt.Errorf("encode the agent: %w", err)
	}
	if resources, err = json.Marshal(r.TargetResources); err != nil {
		return nil, nil, fmt.Errorf("encode the target resources: %w", err)
	}
	return agent, resources, nil
}

// decodeExact decodes JSON without rounding its numbers.
func decodeExact(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	return value, err
}

// distinct is what field has in resources, each once, sorted, without "".
func distinct(resources []api.ResourceReference, field func(api.ResourceReference) string) []string {
	values := make([]string, 0, len(resources))
	for _, resource := range resources {
		if value := field(resource); value != "" {
			values = append(values, value)
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

func salt() []byte {
	b := make([]byte, saltBytes)
	_, _ = rand.Read(b) // Never fails, by its documentation.
	return b
}

// actor is who this function is in the audit.
const actor = "graf/submit"
