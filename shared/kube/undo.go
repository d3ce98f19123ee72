package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/manifest"
)

// Live reads one resource as it is. One that is not there, or of a kind that there is not, is nil.
func (c *Client) Live(ctx context.Context, ref manifest.Ref) (*unstructured.Unstructured, error) {
	client, err := c.object(ctx, ref)
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // nothing is there, and that is no error
	}
	if err != nil {
		return nil, err
	}
	live, err := client.Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // nothing is there, and that is no error
	}
	return live, classify("read "+ref.String(), err)
}

// Revert carries out a reversion that was made from live, if nobody has changed the resource since: otherwise it is
// ErrConflict, and the reversion is to be made again.
func (c *Client) Revert(ctx context.Context, r manifest.Reversion, live *unstructured.Unstructured, fieldManager string, dry bool) error {
	if r.Nothing {
		return nil
	}
	operation := fmt.Sprintf("revert %s", r.Ref)
	client, err := c.object(ctx, r.Ref)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	content := (&unstructured.Unstructured{Object: r.Content}).DeepCopy()
	switch r.Op {
	case manifest.Created:
		_, err = client.Create(ctx, content, metav1.CreateOptions{FieldManager: fieldManager, DryRun: dryRun(dry)})
	case manifest.Deleted:
		uid, version := live.GetUID(), live.GetResourceVersion()
		foreground := metav1.DeletePropagationForeground
		err = client.Delete(ctx, r.Ref.Name, metav1.DeleteOptions{
			PropagationPolicy: &foreground, DryRun: dryRun(dry),
			Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
		})
	case manifest.Modified: // content has the resource version of live
		_, err = client.Update(ctx, content, metav1.UpdateOptions{FieldManager: fieldManager, DryRun: dryRun(dry)})
	}
	if r.Op != manifest.Created && apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: %w: it was deleted meanwhile: %w", operation, ErrConflict, err)
	}
	return classify(operation, err)
}

// CompareForUndo orders reversions so that each finds what it needs: what is created again comes first, a namespace before
// what is in it, and what is deleted goes last, the other way round.
func CompareForUndo(a, b manifest.Reversion) int {
	rank := map[manifest.Op]int{manifest.Created: 0, manifest.Modified: 1, manifest.Deleted: 2}
	byKind := cmp.Compare(order(a.Ref.Kind), order(b.Ref.Kind))
	if a.Op == manifest.Deleted {
		byKind = -byKind
	}
	return cmp.Or(cmp.Compare(rank[a.Op], rank[b.Op]), byKind)
}
