package submit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/problem"
)

// taskRequested takes a submission that came as an event. Its answer is the
// event task.submitted; what is refused ends as a dead letter with the reason.
func (h *handler) taskRequested(ctx context.Context, e event.Event) error {
	if err := h.enabled(); err != nil {
		return err
	}
	caller, ok := h.config.EventSources[e.Source()]
	if !ok {
		return problem.ErrForbidden.With("Source %q may not submit tasks: list it in GRAF_EVENT_SOURCES as source=caller.", e.Source())
	}
	if err := h.rate.Admit(ctx, caller); err != nil {
		return err
	}
	request, err := h.requestIn(e)
	if err != nil {
		return err
	}
	receipt, err := h.submitter.Submit(ctx, Submission{
		Caller: caller, Key: eventKey(e), Request: request, EventSource: e.Source(), EventID: e.ID(),
	})
	if err != nil {
		return inEvent(err)
	}
	h.log.InfoContext(ctx, "task requested by event", "taskId", receipt.TaskID, "caller", caller,
		"source", e.Source(), "eventId", e.ID(), "repeated", receipt.Repeated)
	return nil
}

// requestIn is the submission that is the event's data.
func (h *handler) requestIn(e event.Event) (api.TaskSubmission, error) {
	var request api.TaskSubmission
	if media, _, err := mime.ParseMediaType(e.DataContentType()); e.DataContentType() != "" && (err != nil || media != "application/json") {
		return request, problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/datacontenttype", Detail: "must be application/json"})
	}
	if len(e.Data()) > api.MaxSubmissionBytes {
		return request, problem.ErrTooLarge.With("The event's data must be at most %d bytes.", api.MaxSubmissionBytes)
	}
	if err := h.validator.Decode(e.Data(), api.SchemaTaskSubmission, &request); err != nil {
		return request, inEvent(err)
	}
	if request.IdempotencyKey != "" {
		return request, problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/data" + pointerKey,
			Detail: "must be left out: the event's source and id are its key"})
	}
	return request, nil
}

// inEvent makes pointers into a request pointers into the event that brought it.
func inEvent(err error) error {
	if errors.Is(err, problem.ErrBadRequest) {
		return problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/data", Detail: problem.Of(err).Detail})
	}
	fields := problem.FieldErrors(err)
	if len(fields) == 0 {
		return err
	}
	moved := make([]problem.FieldError, len(fields))
	for i, field := range fields {
		moved[i] = problem.FieldError{Pointer: "/data" + field.Pointer, Detail: field.Detail}
		if field.Pointer == pointerKey {
			moved[i].Pointer = "/id"
		}
	}
	return problem.ErrInvalid.Fields(moved...)
}

// eventKey is the idempotency key of an event: its source and id, which name an
// event by the CloudEvents specification. They may be of any length, so it is
// their digest. A task's GET shows it; the log joins it with source and id.
func eventKey(e event.Event) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", e.Source(), e.ID()))
	return "cloudevent:" + base64.RawURLEncoding.EncodeToString(sum[:])
}
