package finalize

import (
	"encoding/json"
	"strings"

	"github.com/graf-run/graf/shared/event"
)

// typeResource begins the types of the events that have a whole resource as their data.
const typeResource = "dev.knative.apiserver.resource."

// reduced is what a dead letter keeps of a resource: what tells which it is, and lets a consumer that is sent the event
// again see whether to look at it. The rest may be secret: the environment of a Job's container has the agent's keys,
// an annotation may repeat it, and a Revision's message may have the end of a log.
type reduced struct {
	APIVersion string          `json:"apiVersion,omitempty"`
	Kind       string          `json:"kind,omitempty"`
	Metadata   reducedMetadata `json:"metadata"`
	Spec       struct {
		Replicas *int64 `json:"replicas,omitempty"`
	} `json:"spec,omitzero"`
	Status reducedStatus `json:"status,omitzero"`
}

type reducedMetadata struct {
	Name              string            `json:"name,omitempty"`
	Namespace         string            `json:"namespace,omitempty"`
	UID               string            `json:"uid,omitempty"`
	Labels            map[string]string `json:"labels,omitempty"`
	Generation        int64             `json:"generation,omitempty"`
	DeletionTimestamp string            `json:"deletionTimestamp,omitempty"`
}

// reducedStatus is of a Job, a Workflow, a Deployment or a Revision.
type reducedStatus struct {
	Phase              string             `json:"phase,omitempty"`
	Ready              int64              `json:"ready,omitempty"`
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Replicas           int64              `json:"replicas,omitempty"`
	UpdatedReplicas    int64              `json:"updatedReplicas,omitempty"`
	AvailableReplicas  int64              `json:"availableReplicas,omitempty"`
	Conditions         []reducedCondition `json:"conditions,omitempty"`
}

type reducedCondition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// reduce leaves of an event about a resource what a dead letter keeps of it. Of data that is no resource nothing is left:
// nobody could read it, but for the secrets in it.
func reduce(e *event.Event) {
	if !strings.HasPrefix(e.Type(), typeResource) {
		return
	}
	var resource reduced
	err := json.Unmarshal(e.DataEncoded, &resource)
	e.DataEncoded, e.DataBase64 = nil, false
	if err != nil {
		return
	}
	if encoded, err := json.Marshal(resource); err == nil {
		e.DataEncoded = encoded
	}
}
