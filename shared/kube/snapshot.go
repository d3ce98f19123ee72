package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/manifest"
)

const (
	// readers bounds the reads of one snapshot that are under way at once.
	readers = 16
	// MaxSnapshot bounds the resources of one snapshot.
	MaxSnapshot = manifest.MaxObjects
)

// Target names the resources that a snapshot is of.
type Target = grant.Target

// Snapshot is the live state of targets.
type Snapshot struct {
	// Objects are in canonical form, by name, each once.
	Objects []manifest.Object
	// Absent are the targets with a name that there was no resource for.
	Absent []manifest.Ref
}

// Snapshot reads the live state of targets. salt keeps the values of Secrets from being guessed by their digests: see
// [manifest.New]. A target of a kind that the API server does not serve is absent. More resources than MaxSnapshot, or more
// bytes of manifests than [Config] allows, are ErrInvalid.
func (c *Client) Snapshot(ctx context.Context, targets []Target, salt []byte) (Snapshot, error) {
	read := make([]Snapshot, len(targets))
	// Once one read has failed no other begins. Those under way are not cut off: client-go would write of each, past the
	// structured log, that its answer could not be read.
	var group errgroup.Group
	var failed atomic.Bool
	room := &room{max: c.snapshotBytes}
	group.SetLimit(readers)
	for i, target := range targets {
		group.Go(func() (err error) {
			if failed.Load() {
				return nil
			}
			if read[i], err = c.read(ctx, target, salt, room); err != nil {
				failed.Store(true)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Snapshot{}, err
	}
	return merge(read)
}

// room is what the manifests of a snapshot may take.
type room struct {
	max  int64
	used atomic.Int64
}

// take takes the room of an object; ErrInvalid if there is no more.
func (r *room) take(object manifest.Object) error {
	if r.used.Add(int64(len(object.JSON()))) > r.max {
		return fmt.Errorf("%w: the targets have more than %d bytes of manifests (GRAF_SNAPSHOT_MAX_BYTES): name fewer, or give a label selector",
			ErrInvalid, r.max)
	}
	return nil
}

func merge(parts []Snapshot) (Snapshot, error) {
	var all Snapshot
	seen := map[manifest.Ref]bool{}
	for _, part := range parts {
		all.Absent = append(all.Absent, part.Absent...)
		for _, object := range part.Objects {
			if identity := object.Ref.Identity(); !seen[identity] {
				seen[identity] = true
				all.Objects = append(all.Objects, object)
			}
		}
	}
	if len(all.Objects) > MaxSnapshot {
		return Snapshot{}, fmt.Errorf("%w: the targets match %d resources, at most %d are allowed: name fewer",
			ErrInvalid, len(all.Objects), MaxSnapshot)
	}
	slices.SortFunc(all.Objects, func(a, b manifest.Object) int { return manifest.CompareRefs(a.Ref, b.Ref) })
	slices.SortFunc(all.Absent, manifest.CompareRefs)
	all.Absent = slices.Compact(all.Absent)
	return all, nil
}

func (c *Client) read(ctx context.Context, target Target, salt []byte, room *room) (Snapshot, error) {
	absent := Snapshot{}
	if target.Name != "" {
		absent.Absent = []manifest.Ref{{APIVersion: target.APIVersion, Kind: target.Kind, Namespace: target.Namespace, Name: target.Name}}
	}
	client, err := c.resource(ctx, target)
	if errors.Is(err, ErrNotFound) {
		return absent, nil
	}
	if err != nil {
		return Snapshot{}, err
	}
	if target.Name == "" {
		return list(ctx, client, target, salt, room)
	}
	found, err := client.Get(ctx, target.Name, metav1.GetOptions{})
	err = classify(fmt.Sprintf("read %s", absent.Absent[0]), err)
	if errors.Is(err, ErrNotFound) {
		return absent, nil
	}
	if err != nil {
		return Snapshot{}, err
	}
	object, err := manifest.New(found.Object, salt)
	if err != nil {
		return Snapshot{}, fmt.Errorf("%w: %s: %w", ErrInvalid, absent.Absent[0], err)
	}
	return Snapshot{Objects: []manifest.Object{object}}, room.take(object)
}

func list(ctx context.Context, client dynamic.ResourceInterface, target Target, salt []byte, room *room) (Snapshot, error) {
	operation := fmt.Sprintf("list %s in %q", target.Kind, target.Namespace)
	var found Snapshot
	options := metav1.ListOptions{LabelSelector: target.LabelSelector, Limit: pageSize}
	for {
		page, err := client.List(ctx, options)
		err = classify(operation, err)
		if errors.Is(err, ErrNotFound) { // Its kind was removed since the discovery.
			return Snapshot{}, nil
		}
		if err != nil {
			return Snapshot{}, err
		}
		for _, item := range page.Items {
			object, err := manifest.New(item.Object, salt)
			if err != nil {
				return Snapshot{}, fmt.Errorf("%s: %w: %w", operation, ErrInvalid, err)
			}
			if err := room.take(object); err != nil {
				return Snapshot{}, err
			}
			found.Objects = append(found.Objects, object)
		}
		if len(found.Objects) > MaxSnapshot {
			return Snapshot{}, fmt.Errorf("%s: %w: more than %d resources match: give a label selector",
				operation, ErrInvalid, MaxSnapshot)
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return found, nil
		}
	}
}

// resource is where a target's objects are. A name that no object can have, or a namespace that the kind cannot have, or
// lacks, is ErrInvalid.
func (c *Client) resource(ctx context.Context, target Target) (dynamic.ResourceInterface, error) {
	for _, name := range []string{target.Namespace, target.Name} {
		// client-go refuses it, too, but as an error that looks like an API server that is away.
		if faults := path.IsValidPathSegmentName(name); len(faults) > 0 {
			return nil, fmt.Errorf("%w: the name %q %s", ErrInvalid, name, strings.Join(faults, ", "))
		}
	}
	mapping, err := c.Resolve(ctx, target.APIVersion, target.Kind)
	if err != nil {
		return nil, err
	}
	client := c.dynamic.Resource(mapping.Resource)
	switch {
	case !mapping.Namespaced && target.Namespace != "":
		return nil, fmt.Errorf("%w: %s is a resource of the whole cluster: leave out the namespace %q", ErrInvalid, target.Kind, target.Namespace)
	case mapping.Namespaced && target.Namespace == "":
		return nil, fmt.Errorf("%w: %s is a resource of a namespace: name it", ErrInvalid, target.Kind)
	case mapping.Namespaced:
		return client.Namespace(target.Namespace), nil
	}
	return client, nil
}

// object is where one object is, of which all that names it must be given.
func (c *Client) object(ctx context.Context, ref manifest.Ref) (dynamic.ResourceInterface, error) {
	for field, value := range map[string]string{"apiVersion": ref.APIVersion, "kind": ref.Kind, "metadata.name": ref.Name} {
		if value == "" {
			return nil, fmt.Errorf("%w: %s is missing", ErrInvalid, field)
		}
	}
	return c.resource(ctx, Target{APIVersion: ref.APIVersion, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name})
}

// refOf names an object for errors.
func refOf(o *unstructured.Unstructured) manifest.Ref {
	return manifest.Ref{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}
