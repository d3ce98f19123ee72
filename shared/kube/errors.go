package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kinds of failure that a caller acts on. Every error of a call to the API server wraps exactly one of them.
var (
	// ErrNotFound: the object, or its namespace, does not exist.
	ErrNotFound = errors.New("not found in the cluster")
	// ErrForbidden: the API server does not let the caller do this. Retrying does not help.
	ErrForbidden = errors.New("the cluster refuses the caller")
	// ErrInvalid: the request itself is wrong. Retrying does not help.
	ErrInvalid = errors.New("invalid for the cluster")
	// ErrConflict: the name is taken by something else, often an older object that is still being removed, or its
	// namespace is being removed. A later retry may succeed.
	ErrConflict = errors.New("conflict in the cluster")
	// ErrUnavailable: no answer, too many requests, a quota that is used up, credentials that hold no more, or a fault of
	// the API server. Retry with backoff, in another process if need be: the token of a pod that is being killed dies
	// before its process does.
	ErrUnavailable = errors.New("the cluster is unavailable")
)

// namespaceTerminating is why nothing can be made in a namespace that is being removed.
const namespaceTerminating metav1.CauseType = "NamespaceTerminating"

// contentFaults are in the messages of faults of the API server that are the object's: it has a field that its kind has
// not, a value that its field cannot have, or more than etcd takes.
var contentFaults = []string{
	"failed to create typed patch object", "failed to convert new object",
	"etcdserver: request is too large", "trying to send message larger than max",
}

// classify wraps err with what was tried and with the kind of failure it is.
func classify(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", operation, kindOf(err), err)
}

func kindOf(err error) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return ErrUnavailable
	}
	switch code := status.Status().Code; {
	case code == 404:
		return ErrNotFound
	case code == 403:
		return kindOfForbidden(err)
	case code == 409:
		return ErrConflict
	case code == 500 && faultOfContent(err):
		return ErrInvalid
	case code == 401 || code == 429 || code == 408 || code < 400 || code >= 500:
		return ErrUnavailable
	default:
		return ErrInvalid
	}
}

// kindOfForbidden tells what may be allowed later from what is not this client's to do.
func kindOfForbidden(err error) error {
	switch {
	case strings.Contains(err.Error(), "exceeded quota"):
		return ErrUnavailable
	case apierrors.HasStatusCause(err, namespaceTerminating):
		return ErrConflict
	}
	return ErrForbidden
}

func faultOfContent(err error) bool {
	return slices.ContainsFunc(contentFaults, func(text string) bool { return strings.Contains(err.Error(), text) })
}
