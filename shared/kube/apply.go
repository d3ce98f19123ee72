package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/graf-run/graf/shared/manifest"
)

// FieldManager is the name that a task's changes have in managedFields.
func FieldManager(taskID string) string { return "graf-task-" + taskID }

// ApplyOptions say how a manifest is applied.
type ApplyOptions struct {
	// FieldManager owns the fields of the manifest from then on.
	FieldManager string
	// Force takes over fields that others own; without it they are a *ConflictError.
	Force bool
	// UID is that of the resource to be changed: another of its name, or none, is ErrConflict. "" is whichever there is, or
	// a new one.
	UID types.UID
	// DryRun has the API server do all but store the result.
	DryRun bool
}

// FieldConflict is a field that somebody else owns.
type FieldConflict struct {
	// Field is its path as the API server writes it: .spec.replicas.
	Field string `json:"field"`
	// Owner is the field manager: kubectl-client-side-apply.
	Owner string `json:"owner"`
}

// ConflictError says that a manifest has other values for fields that others own. It is of kind ErrConflict.
type ConflictError struct {
	Ref       manifest.Ref
	Conflicts []FieldConflict
}

// Error names each field and its owner.
func (e *ConflictError) Error() string {
	parts := make([]string, len(e.Conflicts))
	for i, c := range e.Conflicts {
		parts[i] = c.Field + " belongs to " + c.Owner
	}
	return fmt.Sprintf("apply %s: %v: %s", e.Ref, ErrConflict, strings.Join(parts, ", "))
}

// Unwrap is ErrConflict.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// Apply applies one manifest by server-side apply and returns the resource as it is then, or would be.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/
func (c *Client) Apply(ctx context.Context, content map[string]any, options ApplyOptions) (*unstructured.Unstructured, error) {
	object := (&unstructured.Unstructured{Object: content}).DeepCopy()
	object.SetManagedFields(nil) // The API server refuses a manifest that says whose its fields are.
	object.SetResourceVersion("")
	// That of an export would make every cluster but its own refuse it.
	object.SetUID(options.UID)
	ref := refOf(object)
	client, err := c.object(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", ref, err)
	}
	data, err := object.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w: %w", ref, ErrInvalid, err)
	}
	applied, err := client.Patch(ctx, ref.Name, types.ApplyPatchType, data, metav1.PatchOptions{
		FieldManager: options.FieldManager, Force: &options.Force, DryRun: dryRun(options.DryRun), FieldValidation: "Strict",
	})
	if conflicts := conflictsOf(err); len(conflicts) > 0 {
		return nil, &ConflictError{Ref: ref, Conflicts: conflicts}
	}
	if options.UID != "" && isOfAnother(err) {
		return nil, fmt.Errorf("apply %s: %w: it was deleted meanwhile, and there is another of its name", ref, ErrConflict)
	}
	return applied, classify("apply "+ref.String(), err)
}

// isOfAnother tells of the error of a manifest whose uid is not the resource's: to the API server, it would change it.
func isOfAnother(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Details != nil &&
		slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}

// RemoveOptions say how a resource is deleted.
type RemoveOptions struct {
	// UID is that of the resource to be deleted: another of its name is ErrConflict, and stays. "" is whichever there is.
	UID types.UID
	// DryRun has the API server do all but delete it.
	DryRun bool
}

// Remove deletes one resource in the foreground: what it owns goes first. One that is not there is no error.
func (c *Client) Remove(ctx context.Context, ref manifest.Ref, options RemoveOptions) error {
	client, err := c.object(ctx, ref)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", ref, err)
	}
	foreground := metav1.DeletePropagationForeground
	how := metav1.DeleteOptions{PropagationPolicy: &foreground, DryRun: dryRun(options.DryRun)}
	if options.UID != "" {
		how.Preconditions = metav1.NewUIDPreconditions(string(options.UID))
	}
	err = client.Delete(ctx, ref.Name, how)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return classify("delete "+ref.String(), err)
}

func dryRun(dry bool) []string {
	if dry {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// owner finds the field manager in the message of a conflict: conflict with "kubectl" using apps/v1.
var owner = regexp.MustCompile(`conflict with "([^"]*)"`)

func conflictsOf(err error) []FieldConflict {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	var conflicts []FieldConflict
	for _, cause := range status.Status().Details.Causes {
		if cause.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		conflict := FieldConflict{Field: cause.Field, Owner: cause.Message}
		if found := owner.FindStringSubmatch(cause.Message); found != nil {
			conflict.Owner = found[1]
		}
		conflicts = append(conflicts, conflict)
	}
	return conflicts
}

// applyOrder has the kinds that others need before them. Kinds that are not listed come after those that are, but
// before what would act on them: webhooks.
var applyOrder = map[string]int{
	"Namespace": 1, "CustomResourceDefinition": 2, "PriorityClass": 3, "StorageClass": 3, "RuntimeClass": 3,
	"ResourceQuota": 4, "LimitRange": 4, "ServiceAccount": 5,
	"ClusterRole": 6, "Role": 6, "ClusterRoleBinding": 7, "RoleBinding": 7,
	"Secret": 8, "ConfigMap": 8, "PersistentVolume": 9, "PersistentVolumeClaim": 10, "Service": 11, "NetworkPolicy": 11,
}

const (
	orderOther   = 20
	orderWebhook = 30
)

func order(kind string) int {
	switch {
	case strings.HasSuffix(kind, "WebhookConfiguration"), strings.HasPrefix(kind, "ValidatingAdmissionPolicy"):
		return orderWebhook
	case applyOrder[kind] > 0:
		return applyOrder[kind]
	default:
		return orderOther
	}
}

// SortForApply puts manifests into the order in which they can be applied: namespaces, definitions of custom resources,
// rights, configuration, workloads. Deleting goes the other way.
func SortForApply(manifests []map[string]any) {
	slices.SortStableFunc(manifests, func(a, b map[string]any) int {
		kindA, _ := a["kind"].(string)
		kindB, _ := b["kind"].(string)
		return cmp.Compare(order(kindA), order(kindB))
	})
}
