package kubernetes

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// maxBodyBytes is the API server's own limit for a request.
const maxBodyBytes = 3 << 20

// handler routes the API. Every path asks for the bearer token.
func (c *Cluster) handler() http.Handler {
	mux := http.NewServeMux()
	registerDiscovery(mux)
	for _, r := range resources {
		all := apiRoot(r.version) + "/" + r.name
		within := all
		if r.namespaced {
			within = apiRoot(r.version) + "/namespaces/{namespace}/" + r.name
			mux.Handle("GET "+all, c.serveResource(r, c.list))
		}
		mux.Handle("GET "+within, c.serveResource(r, c.list))
		mux.Handle("POST "+within, c.serveResource(r, c.create))
		mux.Handle("GET "+within+"/{name}", c.serveResource(r, c.get))
		if r != namespaceResource {
			mux.Handle("DELETE "+within, c.serveResource(r, c.deleteCollection))
			mux.Handle("DELETE "+within+"/{name}", c.serveResource(r, c.delete))
		}
	}
	mux.Handle("GET /api/v1/namespaces/{namespace}/pods/{name}/log", c.serveResource(podResource, c.podLog))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { writeError(w, unknownPath(r)) })
	return c.authenticate(mux)
}

func apiRoot(version schema.GroupVersion) string {
	if version.Group == "" {
		return "/api/" + version.Version
	}
	return "/apis/" + version.String()
}

// authenticate compares digests, so that the time it takes tells nothing about the token.
func (c *Cluster) authenticate(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(c.token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			writeError(w, apierrors.NewUnauthorized("Unauthorized"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// call is a request for one resource or one object of it.
type call struct {
	resource *resource
	request  *http.Request
}

func (c call) key() key {
	return key{c.resource, c.namespace(), c.request.PathValue("name")}
}

func (c call) namespace() string { return c.request.PathValue("namespace") }

func (c *Cluster) serveResource(r *resource, serve func(http.ResponseWriter, call) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if err := serve(w, call{r, request}); err != nil {
			writeError(w, err)
		}
	})
}

func unknownPath(r *http.Request) error {
	for _, known := range resources {
		rest, ours := strings.CutPrefix(r.URL.Path, apiRoot(known.version)+"/")
		if steps := strings.Split(rest, "/"); ours && len(steps) > 2 && steps[0] == namespaceResource.name {
			rest = steps[2]
		}
		if name, _, _ := strings.Cut(rest, "/"); ours && name == known.name {
			return apierrors.NewMethodNotSupported(known.group(), strings.ToLower(r.Method))
		}
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the local cluster does not serve " + r.URL.Path,
	}}
}

// decodeBody reads a JSON body into value. An empty body leaves value as it is.
func decodeBody(r *http.Request, value any) error {
	kind := r.Header.Get("Content-Type")
	if kind != "" && !strings.HasPrefix(kind, "application/json") {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType,
			Reason: metav1.StatusReasonUnsupportedMediaType, Message: "send application/json, not " + kind,
		}}
	}
	body := http.MaxBytesReader(nil, r.Body, maxBodyBytes)
	err := json.NewDecoder(body).Decode(value)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d bytes", maxBodyBytes))
	case err != nil && r.ContentLength != 0:
		return apierrors.NewBadRequest("the body is not JSON of the right types: " + err.Error())
	}
	return nil
}

func writeError(w http.ResponseWriter, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	writeJSON(w, int(status.Code), status)
}

func writeJSON(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value) // the client is gone; there is nobody to tell
}
