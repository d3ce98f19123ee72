// Package problem is the one place where an error becomes an answer: it has the
// kinds of error that Graf's functions return, the HTTP status of each, and
// RFC 9457 documents made from them.
//
// Code returns an error that wraps one of the kinds, most simply by
//
//	return problem.ErrConflict.With("task %s has ended", id)
//
// and the handler hands it to [Write]. What wraps no kind is a fault of ours:
// status 500, logged in full, told to nobody.
package problem

// ContentType is the media type of a Problem.
const ContentType = "application/problem+json"

// Problem is an RFC 9457 problem document.
type Problem struct {
	// Type is a URN that stays the same for a kind of problem.
	Type string `json:"type"`
	// Title names the kind for a reader.
	Title string `json:"title"`
	// Status is the HTTP status.
	Status int `json:"status"`
	// Detail says what is wrong with this request and how to mend it.
	Detail string `json:"detail,omitempty"`
	// Instance is the URN of the request, by which the log knows it.
	Instance string `json:"instance,omitempty"`
	// Errors has one entry for each bad field.
	Errors []FieldError `json:"errors,omitempty"`
}

// FieldError is what is wrong with one field of a request.
type FieldError struct {
	// Pointer is the field's RFC 6901 pointer into the body; empty for the
	// whole body.
	Pointer string `json:"pointer,omitempty"`
	// Parameter is the name of a path, query or header parameter, in place of
	// a pointer.
	Parameter string `json:"parameter,omitempty"`
	// Detail says what the field must be.
	Detail string `json:"detail"`
}
