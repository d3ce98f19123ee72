package callback

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
)

// checkTimeout bounds the putting together of an artifact and the reading of its bytes, to check them.
const checkTimeout = 5 * time.Minute

// postParts offers uploads of an artifact's parts.
func (h *handler) postParts(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	task, id, err := h.uploading(ctx, r, api.OperationUploadParts)
	if err != nil {
		return err
	}
	var request api.PartsRequest
	if err := h.validator.DecodeBody(r, api.OperationUploadParts, api.MaxPartsBytes, &request); err != nil {
		return err
	}
	offer, err := h.parts.Offer(ctx, task, id, request.Parts)
	if err != nil {
		return err
	}
	access.Note(ctx, slog.Int("stored", len(offer.Stored)), slog.Int("uploads", len(offer.Uploads)))
	api.Answer(w, r, http.StatusOK, offer)
	return nil
}

// completeArtifact puts an artifact together. What has begun is brought to its end, also if the client goes away.
func (h *handler) completeArtifact(w http.ResponseWriter, r *http.Request) error {
	asking, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	task, id, err := h.uploading(asking, r, api.OperationCompleteArtifact)
	if err != nil {
		return err
	}
	if err := extendDeadlines(w, checkTimeout+answerTimeout); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), checkTimeout)
	defer stop()
	if err := h.parts.Complete(ctx, task, id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// uploading is the artifact that a reporter uploads, for their own task and not too often.
func (h *handler) uploading(ctx context.Context, r *http.Request, operation string) (task, id uuid.UUID, err error) {
	reporter, err := h.reporter(ctx, r)
	if err != nil {
		return task, id, err
	}
	if id, err = api.IDFrom(r, "artifactId"); err != nil {
		return task, id, err
	}
	access.Note(ctx, slog.String("artifactId", id.String()))
	return reporter.TaskID, id, h.validator.Parameters(r, operation, nil)
}
