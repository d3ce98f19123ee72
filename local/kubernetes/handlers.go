package kubernetes

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
)

// bodyTimeout bounds the time a client may take to send a body.
const bodyTimeout = 30 * time.Second

func (c *Cluster) create(w http.ResponseWriter, call call) error {
	if call.request.URL.Query().Has("dryRun") {
		return apierrors.NewBadRequest("the local cluster does not support dryRun")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	o := call.resource.empty()
	if err := decodeBody(call.request, o); err != nil {
		return err
	}
	if err := identify(call, o); err != nil {
		return err
	}
	if err := admit(call.resource, o); err != nil {
		return err
	}
	var pod *corev1.Pod
	err := c.store.update(func(t *transaction) (err error) {
		pod, err = insert(t, call.resource, o)
		return err
	})
	if err != nil {
		return err
	}
	var answer any = o
	if pod != nil {
		// The kubelet writes to its pod while the answer is being encoded.
		raw, err := json.Marshal(o)
		if err != nil {
			return err
		}
		answer = json.RawMessage(raw)
		c.kubelet.run(pod)
	}
	writeJSON(w, http.StatusCreated, answer)
	return nil
}

// identify checks that the object is of the type and in the namespace that the path says, and names it.
func identify(call call, o object) error {
	kind := o.GetObjectKind().GroupVersionKind()
	if want := call.resource.version.WithKind(call.resource.kind); !kind.Empty() && kind != want {
		return apierrors.NewBadRequest("the object is of kind " + kind.String() + ", the path is for " + want.String())
	}
	if call.resource.namespaced {
		if given := o.GetNamespace(); given != "" && given != call.namespace() {
			return apierrors.NewBadRequest("the object's namespace is " + given + ", the path's " + call.namespace())
		}
		o.SetNamespace(call.namespace())
	}
	if o.GetName() == "" && o.GetGenerateName() != "" {
		o.SetName(o.GetGenerateName() + rand.String(5))
	}
	return nil
}

func (c *Cluster) get(w http.ResponseWriter, call call) error {
	o := call.resource.empty()
	if err := c.store.get(call.key(), o); err != nil {
		return err
	}
	if wantsTable(call.request) {
		writeJSON(w, http.StatusOK, table(o.GetResourceVersion(), o))
		return nil
	}
	writeJSON(w, http.StatusOK, o)
	return nil
}

func (c *Cluster) list(w http.ResponseWriter, call call) error {
	matches, err := call.selection()
	if err != nil {
		return err
	}
	if watching, _ := strconv.ParseBool(call.request.URL.Query().Get("watch")); watching {
		return c.watch(w, call, matches)
	}
	objects, version, err := c.find(call.resource, call.namespace(), matches)
	if err != nil {
		return err
	}
	if wantsTable(call.request) {
		writeJSON(w, http.StatusOK, table(version, objects...))
		return nil
	}
	writeList(w, call.resource, version, objects)
	return nil
}

func writeList(w http.ResponseWriter, r *resource, version string, objects []object) {
	writeJSON(w, http.StatusOK, map[string]any{
		"apiVersion": r.version.String(), "kind": r.kind + "List",
		"metadata": map[string]any{"resourceVersion": version}, "items": objects,
	})
}

// find returns the objects that match, and the resourceVersion that they are of.
func (c *Cluster) find(r *resource, namespace string, matches selection) ([]object, string, error) {
	objects, version := []object{}, ""
	err := c.store.read(func(t *transaction) error {
		version = strconv.FormatUint(t.tx.Bucket(bucketVersions).Sequence(), 10)
		return t.each(r, namespace, func(raw []byte) error {
			o := r.empty()
			if err := decode(raw, o); err != nil {
				return err
			}
			if matches(o) {
				objects = append(objects, o)
			}
			return nil
		})
	})
	return objects, version, err
}

// selection tells which objects a list or a watch is about.
type selection func(object) bool

// selection is what the request's selectors choose.
func (c call) selection() (selection, error) {
	query := c.request.URL.Query()
	byLabel, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest("labelSelector: " + err.Error())
	}
	byField, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest("fieldSelector: " + err.Error())
	}
	for _, requirement := range byField.Requirements() {
		if requirement.Field != "metadata.name" && requirement.Field != "metadata.namespace" {
			return nil, apierrors.NewBadRequest("fieldSelector: the local cluster knows metadata.name and " +
				"metadata.namespace, not " + requirement.Field)
		}
	}
	return func(o object) bool {
		return byLabel.Matches(labels.Set(o.GetLabels())) &&
			byField.Matches(fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()})
	}, nil
}

func (c *Cluster) delete(w http.ResponseWriter, call call) error {
	options, err := deleteOptions(call.request)
	if err != nil {
		return err
	}
	if err := c.erase(call.key(), options); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: call.key().name, Group: call.resource.version.Group, Kind: call.resource.name},
	})
	return nil
}

// deleteCollection deletes what matches in a namespace, one object after the other, and answers with what it was.
func (c *Cluster) deleteCollection(w http.ResponseWriter, call call) error {
	matches, err := call.selection()
	if err != nil {
		return err
	}
	options, err := deleteOptions(call.request)
	if err != nil {
		return err
	}
	objects, version, err := c.find(call.resource, call.namespace(), matches)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := ignoreNotFound(c.erase(keyOf(call.resource, o), options)); err != nil {
			return err
		}
	}
	writeList(w, call.resource, version, objects)
	return nil
}

// deleteOptions are those of the body, with the propagation policy of the query where the body has none.
func deleteOptions(r *http.Request) (metav1.DeleteOptions, error) {
	options := metav1.DeleteOptions{}
	if err := decodeBody(r, &options); err != nil {
		return options, err
	}
	if options.PropagationPolicy == nil {
		options.PropagationPolicy = new(metav1.DeletionPropagation(r.URL.Query().Get("propagationPolicy")))
	}
	if *options.PropagationPolicy == metav1.DeletePropagationOrphan || len(options.DryRun) > 0 || r.URL.Query().Has("dryRun") {
		return options, apierrors.NewBadRequest("the local cluster supports neither dryRun nor orphaned dependents")
	}
	return options, nil
}

// erase deletes an object with what it owns, and ends the processes of those pods.
func (c *Cluster) erase(k key, options metav1.DeleteOptions) error {
	var stop []types.UID
	err := c.store.update(func(t *transaction) (err error) {
		if err := precondition(t, k, options.Preconditions); err != nil {
			return err
		}
		stop, err = erase(t, k, *options.PropagationPolicy == metav1.DeletePropagationForeground)
		return err
	})
	if err != nil {
		return err
	}
	for _, uid := range stop {
		c.kubelet.stop(uid)
	}
	return nil
}

func precondition(t *transaction, k key, want *metav1.Preconditions) error {
	if want == nil {
		return nil
	}
	o := k.resource.empty()
	if err := t.get(k, o); err != nil {
		return err
	}
	if want.UID != nil && *want.UID != o.GetUID() {
		return apierrors.NewConflict(k.resource.group(), k.name, errUID)
	}
	if want.ResourceVersion != nil && *want.ResourceVersion != o.GetResourceVersion() {
		return apierrors.NewConflict(k.resource.group(), k.name, errResourceVersion)
	}
	return nil
}

// podLog serves what is kept of a pod's output, oldest first.
func (c *Cluster) podLog(w http.ResponseWriter, call call) error {
	if follow, _ := strconv.ParseBool(call.request.URL.Query().Get("follow")); follow {
		return apierrors.NewBadRequest("the local cluster does not support following a log")
	}
	pod := &corev1.Pod{}
	if err := c.store.get(call.key(), pod); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain")
	return copyLog(w, c.kubelet.folders.log(string(pod.UID)))
}
