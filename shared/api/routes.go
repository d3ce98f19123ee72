package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/graf-run/graf/shared/problem"
)

// standardMethods are those of RFC 9110 and RFC 5789 that a path can be asked with.
var standardMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodOptions, http.MethodTrace,
}

// Routes serves operations, by their ids, at the methods and paths that the
// document gives them. Their paths refuse HTTP's other methods; other paths are
// not found, unless the caller adds them.
func (v *Validator) Routes(operations map[string]http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for id, handler := range operations {
		pattern := v.Pattern(id)
		mux.Handle(pattern, handler)
		method, path, _ := strings.Cut(pattern, " ")
		methods[path] = append(methods[path], method)
		if method == http.MethodGet { // net/http's own: whoever takes GET takes HEAD
			methods[path] = append(methods[path], http.MethodHead)
		}
	}
	for path, allowed := range methods {
		// Not the path alone: /memory/query for any method and DELETE for
		// /memory/{memoryId} would both fit, and neither better.
		for _, method := range standardMethods {
			if !slices.Contains(allowed, method) {
				mux.Handle(method+" "+path, MethodNotAllowed(allowed...))
			}
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, r, problem.ErrNotFound.With("There is nothing at this path."))
	})
	return mux
}

// MethodNotAllowed answers requests whose method is none of those allowed.
func MethodNotAllowed(allowed ...string) http.Handler {
	allow := strings.Join(slices.Sorted(slices.Values(allowed)), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		problem.Write(w, r, problem.ErrMethodNotAllowed.With("This path takes %s.", allow))
	})
}

// Answer writes body as JSON. That the client went away is no error.
func Answer(w http.ResponseWriter, r *http.Request, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		slog.DebugContext(r.Context(), "the client went away", "error", err)
	}
}
